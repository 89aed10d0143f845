from __future__ import annotations

import pytest

from dicomnode.domain.study import SeriesRecord
from dicomnode.route.prefer import score_parts, sharpness, total
from tests.studies import series


def best(prefer, **candidates: SeriesRecord):
    points = [total(parts) for parts in score_parts([one.instances for one in candidates.values()], prefer)]
    return list(candidates)[points.index(max(points))]


def test_thinnest_wins_and_one_that_does_not_say_loses():
    assert best({"SliceThickness": "thinnest"}, thick=series("a", SliceThickness="5"),
                thin=series("b", SliceThickness="1"), silent=series("c", SliceThickness="")) == "thin"
    assert best({"SliceThickness": "thickest"}, thick=series("a", SliceThickness="5"),
                thin=series("b", SliceThickness="1")) == "thick"


def test_the_first_wish_decides_before_the_second():
    prefer = {"SliceThickness": "thinnest", "ConvolutionKernel": "soft"}
    assert best(prefer, thin_sharp=series("a", SliceThickness="1", ConvolutionKernel="B70f"),
                thick_soft=series("b", SliceThickness="3", ConvolutionKernel="B30f")) == "thin_sharp"
    assert best(prefer, sharp=series("a", SliceThickness="1", ConvolutionKernel="B70f"),
                soft=series("b", SliceThickness="1", ConvolutionKernel="B30f")) == "soft"


def test_most_counts_slices():
    assert best({"InstanceNumber": "most"}, few=series("a", slices=20), many=series("b", slices=60)) == "many"


def test_a_text_is_looked_for_in_the_attribute():
    assert best({"SeriesDescription": "venous"}, arterial=series("a", SeriesDescription="Arterial"),
                venous=series("b", SeriesDescription="THX Venous 1.0")) == "venous"


def test_without_a_wish_all_score_alike():
    assert [total(parts) for parts in score_parts([series("a").instances, series("b").instances], {})] == [1.0, 1.0]


def test_a_number_is_come_near_to():
    near = {"SliceThickness": 1.25}
    assert best(near, thin=series("a", SliceThickness="0.5"), fit=series("b", SliceThickness="1"),
                thick=series("c", SliceThickness="3"), silent=series("d", SliceThickness="")) == "fit"


def test_of_listed_texts_the_first_that_is_met_wins():
    kernels = {"ConvolutionKernel": ("B31", "B30", "B20")}
    assert best(kernels, third=series("a", ConvolutionKernel="B20f"), second=series("b", ConvolutionKernel="B30f"),
                none=series("c", ConvolutionKernel="B70f")) == "second"


def test_an_agent_may_be_preferred_or_not():
    pair = {"native": series("a"), "given": series("b", ContrastBolusAgent="Iomeron")}
    assert best({"ContrastBolusAgent": "present"}, **pair) == "given"
    assert best({"ContrastBolusAgent": "absent"}, **pair) == "native"


def test_a_score_says_its_parts_and_no_description():
    wishes = {"SliceThickness": "thinnest", "SeriesDescription": "lung", "InstanceNumber": "most"}
    thin, thick = score_parts([series("a", SliceThickness="1", SeriesDescription="Li^Si lung").instances,
                               series("b", SliceThickness="5", slices=50).instances], wishes)
    assert [(part.keyword, part.wish, part.value, part.points) for part in thin] == [
        ("SliceThickness", "thinnest", "1", 1.0), ("SeriesDescription", "lung", "another", 1.0),
        ("InstanceNumber", "most", "40 slices", 0.0)]
    assert total(thin) == 1 + 0.01
    assert total(thick) == pytest.approx(0.0001)


@pytest.mark.parametrize(("soft", "sharp"), [
    ("B30f", "B70f"), ("Br40d", "Bl57d"), ("STANDARD", "LUNG"), ("SOFT", "BONEPLUS"), ("FC13", "FC51"), ("B", "D"),
    ("I31f", "I70f"), ("H20s", "H60s"),
])
def test_kernels_of_the_makers_are_told_apart(soft, sharp):
    assert sharpness(soft) < sharpness(sharp)


def test_a_kernel_with_its_strength_beside_it_is_known_by_its_name():
    """Siemens writes the strength of iterative reconstruction as a second value."""
    assert best({"ConvolutionKernel": "soft"}, bone=series("a", ConvolutionKernel="B70f"),
                iterative=series("b", ConvolutionKernel=("Br40d", "3"))) == "iterative"
    assert best({"ConvolutionKernel": "sharp"}, soft=series("a", ConvolutionKernel="B30f"),
                iterative=series("b", ConvolutionKernel=("Br64d", "3"))) == "iterative"


def test_an_unknown_kernel_is_not_guessed():
    assert sharpness("XYZ") is None
    assert best({"ConvolutionKernel": "soft"}, unknown=series("a", ConvolutionKernel="XYZ"),
                known=series("b", ConvolutionKernel="B30f")) == "known"
