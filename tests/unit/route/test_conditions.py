"""What a condition asks of an image, and whether contrast was given."""

from __future__ import annotations

import pytest

from dicomnode.domain.condition import Condition
from dicomnode.route.conditions import unmet, unmet_by_any
from dicomnode.route.contrast import against_contrast
from tests.studies import series


def image(**attributes: str | tuple[str, ...]):
    return series("one", slices=1, **attributes).instances[0]


@pytest.mark.parametrize(("said", "asked"), [
    ({"EchoTime": "70"}, {"EchoTime": Condition(min=70)}),
    ({"PixelSpacing": ("0.7", "0.7")}, {"PixelSpacing": Condition(max=1)}),
    ({"ContrastBolusAgent": "Iomeron"}, {"ContrastBolusAgent": Condition(present=True)}),
    ({}, {"ContrastBolusAgent": Condition(present=False)}),
    ({}, {"InversionTime": Condition(max=1000, or_absent=True)}),
    ({"InversionTime": "900"}, {"InversionTime": Condition(max=1000, or_absent=True)}),
    ({"SeriesDescription": "Ax t1 SE"}, {"SeriesDescription": Condition(contains=("T1", "MPR"), lacks=("GD",))}),
    ({"ImageType": ""}, {"ImageType": Condition(lacks=("ADC",))}),
    ({"ConvolutionKernel": "b30f "}, {"ConvolutionKernel": Condition(any_of=("B30F", "B31F"))}),
    ({"EchoTime": "90"}, {"EchoTime": ("90",)}),
])
def test_a_condition_holds(said, asked):
    assert unmet(image(**said), asked) == ()


@pytest.mark.parametrize(("said", "asked", "sentence"), [
    ({"EchoTime": "20"}, {"EchoTime": Condition(min=70)}, "EchoTime is 20, wanted at least 70"),
    ({}, {"EchoTime": Condition(min=70)}, "EchoTime is absent, wanted at least 70"),
    ({"EchoTime": "nan"}, {"EchoTime": Condition(min=70)}, "EchoTime is nan, wanted at least 70"),
    ({"PixelSpacing": ("0.7", "1.4")}, {"PixelSpacing": Condition(max=1)},
     "PixelSpacing is 0.7\\1.4, wanted at most 1"),
    ({}, {"ContrastBolusAgent": Condition(present=True)}, "ContrastBolusAgent is absent, wanted present"),
    ({"ContrastBolusAgent": "GD"}, {"ContrastBolusAgent": Condition(present=False)},
     "ContrastBolusAgent is GD, wanted absent"),
    ({"InversionTime": "2500"}, {"InversionTime": Condition(max=1000, or_absent=True)},
     "InversionTime is 2500, wanted at most 1000, or absent"),
    ({"SeriesDescription": "Li^Si T1 GD"}, {"SeriesDescription": Condition(contains=("T1",), lacks=("GD",))},
     "SeriesDescription is another, wanted text with T1 and text without GD"),
    ({"ImageType": ("ORIGINAL", "PRIMARY", "ADC")}, {"ImageType": Condition(lacks=("adc",))},
     "ImageType is ORIGINAL\\PRIMARY\\ADC, wanted text without adc"),
])
def test_a_condition_that_does_not_hold_is_a_sentence_with_value_and_bound(said, asked, sentence):
    assert unmet(image(**said), asked) == (sentence,)


def test_of_a_series_every_image_must_lie_inside():
    thin, thick = (series("s", slices=20, SliceThickness=mm).instances for mm in ("1", "5"))
    limit = {"SliceThickness": Condition(max=3)}
    assert unmet_by_any(thin, limit) == ()
    assert unmet_by_any(thick, limit) == ("SliceThickness is 5, wanted at most 3",)
    assert unmet_by_any(thin[:18] + thick[18:], limit) == (
        "SliceThickness is 5, wanted at most 3 (in 2 of 20 images)",)


@pytest.mark.parametrize(("said", "found"), [
    ({}, "without"),
    ({"ContrastBolusAgent": "NONE"}, "without"),
    ({"ContrastBolusAgent": "No"}, "without"),
    ({"ContrastBolusAgent": "Iomeron 400"}, "with"),
    ({"ContrastBolusRoute": "IV"}, "with"),
    ({"SeriesDescription": "AX T1 POST"}, "with"),
    ({"SeriesDescription": "Abdomen portal venous 3.0"}, "with"),
    ({"SeriesDescription": "胸部增强"}, "with"),
    ({"SeriesDescription": "CT C+"}, "with"),
    ({"SeriesDescription": "胸部平扫"}, "without"),
    ({"SeriesDescription": "Thorax nativ"}, "without"),
    ({"SeriesDescription": "Chest w/o contrast"}, "without"),
    ({"SeriesDescription": "Non-contrast head"}, "without"),
    ({"SeriesDescription": "C-SPINE POSTERIOR"}, "without"),
    ({"SeriesDescription": "no iv contrast"}, "without"),
    ({"SeriesDescription": "CHEST W/WO CONTRAST", "ContrastBolusAgent": "X"}, "with"),
    ({"SeriesDescription": "Liver with and without contrast", "ContrastBolusAgent": "X"}, "with"),
    ({"SeriesDescription": "Abdomen arterial", "ProtocolName": "Abdomen contrast", "ContrastBolusAgent": "X"}, "with"),
])
def test_contrast_is_told_by_attributes_and_words(said, found):
    one, other = image(**said), {"with": "without", "without": "with"}[found]
    assert against_contrast(one, found) == ()
    assert against_contrast(one, "any") == ()
    (sentence,) = against_contrast(one, other)
    assert found in sentence
    assert not any(value in sentence for value in said.values() if value not in {"No", "X"})


@pytest.mark.parametrize("words", ["Thorax nativ", "CHEST W/O CONTRAST", "Abdomen without IV contrast", "WO CONTRAST"])
def test_where_attributes_and_words_contradict_one_another_neither_is_believed(words):
    native = image(ContrastBolusAgent="Iomeron", SeriesDescription=words)
    for wanted in ("with", "without"):
        (sentence,) = against_contrast(native, wanted)
        assert "say that a contrast agent was given and its description the contrary" in sentence
