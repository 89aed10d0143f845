"""Whatever a header says, matching answers: it binds or it says why not, and never raises."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dicomnode.domain.condition import Condition
from dicomnode.domain.model import InputRole, Limits, ModelFile, Range, SpacingLimits
from dicomnode.domain.node import Route
from dicomnode.domain.study import INDEXED_KEYWORDS, SeriesRecord
from dicomnode.route.match import match
from tests.studies import series, study

ODD = ("inf", "-inf", "nan", "1e999", "1e308", "-1e308", "1e-320", "²Y", "²", "٣٣", "0", "-1", "", " ", "1_0",
       "99999999", "9" * 5000, "9" * 5000 + "Y", "FC²²", "Br٣٣", "\\", "20200101", "2020-W01", "999Y", "Y")
WISHES = {"NumberOfFrames": "most", "SliceThickness": "thinnest", "ConvolutionKernel": "soft", "EchoTime": "most",
          "SeriesDescription": "lung"}
ROLE = InputRole(role="ct", slices=Range(min=2), spacing_mm=SpacingLimits(max_between_slices=5.0, max_in_plane=2.0),
                 orientation="axial", prefer=WISHES, when={"BodyPartExamined": ("CHEST",)})
CHOOSY = replace(ROLE, role="choosy", required=False, contrast="without", when={
    "EchoTime": Condition(min=1, max=100, or_absent=True), "ImageType": Condition(lacks=("MIP",)),
    "SeriesDescription": Condition(contains=("Br",), or_absent=True), "ContrastBolusAgent": Condition(present=False),
}, prefer={"KVP": 100.0, "ConvolutionKernel": ("B31", "B30"), "ContrastBolusAgent": "absent", **WISHES})
MODEL = ModelFile(name="m", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
                  inputs=(ROLE, CHOOSY), labels=(), limits=Limits(
                      age_years=Range(min=18, max=120), when={"KVP": Condition(max=200, or_absent=True)}))
values = st.lists(st.sampled_from(ODD) | st.text(max_size=12), max_size=6).map(tuple)


def with_headers(odd: dict[str, tuple[str, ...]], every: int) -> SeriesRecord:
    plain = series("odd", slices=6)
    return replace(plain, instances=tuple(
        replace(one, attributes={**one.attributes, **odd}) if number % every == 0 else one
        for number, one in enumerate(plain.instances)))


@settings(max_examples=300, deadline=None)
@given(odd=st.dictionaries(st.sampled_from(INDEXED_KEYWORDS), values, max_size=6), every=st.integers(1, 6))
@example(odd={"NumberOfFrames": ("1e999",)}, every=1)
@example(odd={"NumberOfFrames": ("1e308",)}, every=1)
@example(odd={"NumberOfFrames": ("nan",)}, every=2)
@example(odd={"PatientAge": ("²Y",)}, every=1)
@example(odd={"PatientAge": ("9" * 5000 + "Y",)}, every=1)
@example(odd={"ImagePositionPatient": ("1e308", "-1e308", "1e308")}, every=2)
@example(odd={"ImagePositionPatient": ("nan", "0", "0"), "SpacingBetweenSlices": ("inf",)}, every=1)
@example(odd={"ImageOrientationPatient": ("1e308",) * 6}, every=1)
@example(odd={"ConvolutionKernel": ("FC²²",)}, every=1)
def test_matching_never_raises_whatever_an_indexed_attribute_says(odd, every):
    studied = study(with_headers(odd, every), series("plain", slices=6))
    (outcome,) = match(studied, [Route(name="r", model=("m",))], {"m": MODEL}, {})
    assert outcome.bindings or outcome.refusal is not None or outcome.because


@settings(max_examples=100, deadline=None)
@given(keyword=st.sampled_from(INDEXED_KEYWORDS), text=st.sampled_from(ODD) | st.text(max_size=12))
def test_a_number_of_a_header_is_finite_or_absent(keyword, text):
    (one, *_) = with_headers({keyword: (text,)}, 1).instances
    number = one.number(keyword)
    assert number is None or abs(number) < float("inf")
