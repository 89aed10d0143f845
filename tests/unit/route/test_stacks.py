"""A series of several phases is judged by the places that it has, where the model takes one phase of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, Label, ModelFile, Range, SpacingLimits
from dicomnode.domain.node import Route
from dicomnode.domain.study import SeriesRecord
from dicomnode.errors import NoSuitableSeries
from dicomnode.route.match import match
from dicomnode.route.places import place_count, spacing_mm
from tests.studies import series, study

LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")
FORTY = InputRole(role="ct", slices=Range(min=20, max=60), spacing_mm=SpacingLimits(min_between_slices=1.0))


def phases(count: int) -> SeriesRecord:
    """One series of 40 places, each with so many images."""
    parts = [series("phases", AcquisitionNumber=str(number)) for number in range(count)]
    return replace(parts[0], instances=tuple(
        replace(image, sop_instance_uid=f"{image.sop_instance_uid}.{number}")
        for number, part in enumerate(parts) for image in part.instances))


def outcome(role: InputRole):
    label = Label(value=1, name="Lung", category=LUNG, type=LUNG, colour_rgb=(1, 2, 3))
    model = ModelFile(name="lung", task="segmentation", bundle="b", digest="sha256:" + "0" * 64, intended_use="test",
                      inputs=(role,), labels=(label,))
    (one,) = match(study(phases(4)), [Route(name="chest", model=("lung",))], {"lung": model}, {})
    return one


def test_places_of_several_phases_count_once_and_lie_apart_as_slices_do():
    images = phases(4).instances
    assert place_count(images) == 40
    assert spacing_mm(images) == pytest.approx(2.5)


def test_frames_of_multi_frame_images_have_places_that_the_index_does_not_know():
    assert place_count(series("e", slices=1, NumberOfFrames="40").instances) is None


def test_a_series_of_four_phases_fills_a_role_that_takes_one_of_them():
    one = outcome(replace(FORTY, split_by="AcquisitionNumber"))
    assert one.refusal is None
    assert len(one.bindings[0].series[0].sop_instance_uids) == 160


def test_a_series_of_four_phases_is_too_long_for_a_role_that_takes_none_of_them():
    refusal = outcome(FORTY).refusal
    assert isinstance(refusal, NoSuitableSeries)
    assert "160 slices, wanted 20 to 60" in str(refusal)
