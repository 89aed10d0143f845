"""One finding for one lesion that two models found on two series of one frame of reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.domain.findings import Detection, ModelFindings, Segmentation, listed
from dicomnode.domain.volume import SliceStack
from dicomnode.infer.elsewhere import box_elsewhere, place_elsewhere
from dicomnode.infer.merge import merged
from tests.builders import affine_lps, uid_of
from tests.bundles import volume
from tests.findings import NODULE, provenance

THICK = affine_lps(spacing_zyx_mm=(5.0, 1.0, 1.0), origin_mm=(-40, -40, 0))
THIN = affine_lps(spacing_zyx_mm=(1.0, 0.8, 0.8), origin_mm=(-38, -41, -3))
SAGITTAL = affine_lps(spacing_zyx_mm=(2.0, 1.0, 1.0), row=(0, 1, 0), column=(0, 0, -1), origin_mm=(40, -40, 60))
SHAPES = {"thick": (12, 80, 80), "thin": (66, 100, 100), "sagittal": (40, 60, 80)}
AFFINES = {"thick": THICK, "thin": THIN, "sagittal": SAGITTAL}


def stack_of(name: str, frame: str = "frame") -> SliceStack:
    stack = volume(np.zeros(SHAPES[name], np.int16), AFFINES[name]).stack
    return replace(stack, series_uid=uid_of(name), frame_of_reference_uid=uid_of(frame))


def found(name: str, *centres_mm: tuple[float, float, float], radius_mm: float = 6.0, mask: bool = True,
          frame: str = "frame") -> ModelFindings:
    """What a model found on one series: balls around places of the patient."""
    stack = stack_of(name, frame)
    index = np.indices(stack.shape_zyx)
    places = np.tensordot(stack.affine_lps_mm[:3, :3], index, axes=1) + stack.affine_lps_mm[:3, 3, None, None, None]
    numbers, detections = np.zeros(stack.shape_zyx, np.uint16), []
    for number, centre in enumerate(centres_mm, start=1):
        ball = np.linalg.norm(places - np.array(centre, float)[:, None, None, None], axis=0) < radius_mm
        numbers[ball], at = number, np.argwhere(ball)
        low, high = at.min(axis=0), at.max(axis=0)
        detections.append(Detection(
            label=NODULE, number=number, centre_lps_mm=tuple(map(float, centre)), key_slice=int(at[:, 0].mean()),
            box_yx=(int(low[1]), int(low[2]), int(high[1]), int(high[2])), diameter_mm=2 * radius_mm,
            volume_ml=1.0 if mask else None, tracking_uid=uid_of(name, number), tracking_id=f"Nodule {number}",
            probability=None if mask else 0.8, box_zyx=(*map(float, low - 0.5), *map(float, high + 0.5))))
    segmentation = Segmentation(mask_zyx=np.where(numbers > 0, np.uint8(NODULE.value), np.uint8(0)), stack=stack,
                                labels=(NODULE,)) if mask else None
    return ModelFindings(provenance=provenance(name), stack=stack, segmentation=segmentation,
                         lesion_zyx=numbers if mask else None, detections=tuple(detections), looked_for=(NODULE,))


def together(*findings: ModelFindings) -> tuple[ModelFindings, ...]:
    volumes = {one.stack.series_uid: as_volume(one.stack) for one in findings}
    return merged(findings, volumes)


def as_volume(stack: SliceStack):
    return replace(volume(np.zeros(stack.shape_zyx, np.int16)), stack=stack)


@pytest.mark.parametrize(("first", "second"), [("thick", "thin"), ("thin", "thick"), ("thick", "sagittal"),
                                               ("sagittal", "thin")])
def test_a_lesion_that_two_models_found_on_two_series_is_listed_once(first, second):
    one, other = together(found(first, (10, 5, 30), (-20, -10, 25)), found(second, (10.5, 4.5, 30.5)))
    assert other.detections[0].tracking_uid == uid_of(first, 1)
    uids = [detection.tracking_uid for _, detection in listed((one, other))]
    assert sorted(uids) == sorted([uid_of(first, 1), uid_of(first, 2)])


def test_a_detector_on_another_series_gives_the_probability():
    masked, boxes = together(found("thick", (10, 5, 30)), found("thin", (10, 5, 30), mask=False))
    ((model, one),) = listed((masked, boxes))
    assert model.provenance.model_name == "thick"
    assert (one.probability, one.volume_ml) == (0.8, 1.0)
    assert one.probability_by == boxes.provenance


def test_another_frame_of_reference_is_another_place():
    two = together(found("thick", (10, 5, 30)), found("thin", (10, 5, 30), frame="another"))
    assert len(listed(two)) == 2


def test_what_lies_apart_on_two_series_stays_two_findings():
    assert len(listed(together(found("thick", (10, 5, 30)), found("thin", (10, 5, 48))))) == 2
    assert len(listed(together(found("thick", (10, 5, 30)), found("sagittal", (26, 5, 30))))) == 2


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(sorted(AFFINES)), st.sampled_from(sorted(AFFINES)),
       st.tuples(st.floats(-5, 90), st.floats(-5, 90), st.floats(-5, 90)))
def test_a_place_is_the_same_in_the_patient_on_either_stack(name, other, place):
    here, there = stack_of(name), stack_of(other)
    found_there = place_elsewhere(np.array(place), here, there)
    np.testing.assert_allclose(there.to_lps_mm(found_there), here.to_lps_mm(place), atol=1e-6)
    low, high = np.array(place) - 1, np.array(place) + 1
    box = box_elsewhere((*map(float, low), *map(float, high)), here, there)
    assert (np.array(box[:3]) <= found_there + 1e-6).all()
    assert (found_there <= np.array(box[3:]) + 1e-6).all()
