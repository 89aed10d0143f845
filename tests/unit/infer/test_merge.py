"""One finding for one lesion, however many models found it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import Detection, ModelFindings, Organ, Segmentation, listed
from dicomnode.domain.model import Label
from dicomnode.infer.merge import merged
from tests.bundles import volume
from tests.findings import LUNG, NODULE, block, provenance

SHAPE = (30, 120, 160)
AFFINE = np.array([[0, 0, 2.0, -160.0], [0, 2.0, 0, -120], [2.5, 0, 0, 0], [0, 0, 0, 1]])


def a_volume():
    values = np.full(SHAPE, -1000, dtype=np.int16)
    values[:, 20:100, 20:140] = 40
    return volume(values, AFFINE)


VOLUME = a_volume()
STACK = VOLUME.stack


def blob(z, y, x, half=3):
    return block(SHAPE, slice(z - half, z + half + 1), slice(y - half, y + half + 1), slice(x - half, x + half + 1))


def detection(number, *, low, high, uid, volume_ml=None, probability=None, label=NODULE, side=""):
    centre = STACK.to_lps_mm((np.array(low) + np.array(high)) / 2)
    return Detection(
        label=label, number=number, centre_lps_mm=tuple(map(float, centre)), key_slice=int((low[0] + high[0]) / 2),
        box_yx=(int(low[1] + 0.5), int(low[2] + 0.5), int(high[1] - 0.5), int(high[2] - 0.5)),
        diameter_mm=float(high[1] - low[1]) * 2, volume_ml=volume_ml, tracking_uid=uid, tracking_id=f"Nodule {number}",
        probability=probability, side=side, box_zyx=(*map(float, low), *map(float, high)))


def drawn(*lesions: np.ndarray, organs=(), model="segments"):
    """The findings of a segmentation: lesions are boolean arrays, organs pairs of label and boolean array."""
    mask, numbers, detections = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint16), []
    for label, inside in organs:
        mask[inside] = label.value
    for number, inside in enumerate(lesions, start=1):
        mask[inside], numbers[inside] = NODULE.value, number
        at = np.argwhere(inside)
        detections.append(detection(number, low=at.min(axis=0) - 0.5, high=at.max(axis=0) + 0.5,
                                    uid=f"2.25.10{number}", volume_ml=1.0))
    labels = (*(label for label, _ in organs), NODULE)
    return ModelFindings(
        provenance=provenance(model), stack=STACK, lesion_zyx=numbers if lesions else None,
        segmentation=Segmentation(mask_zyx=mask, stack=STACK, labels=labels), detections=tuple(detections),
        organs=tuple(Organ(label=label, voxels=1, measurements=()) for label, _ in organs), looked_for=(NODULE,))


def boxed(*boxes: tuple, model="boxes", label=NODULE):
    """The findings of a detector: each box is a centre and a half size."""
    return ModelFindings(
        provenance=provenance(model), stack=STACK, looked_for=(label,),
        detections=tuple(detection(number, low=np.array(centre) - half, high=np.array(centre) + half, label=label,
                                   uid=f"2.25.20{number}", probability=1 - number / 10)
                         for number, (centre, half) in enumerate(boxes, start=1)))


def together(*findings: ModelFindings) -> tuple[ModelFindings, ...]:
    return merged(findings, {STACK.series_uid: VOLUME})


def test_what_both_models_found_is_one_finding_with_the_masks_size_and_the_detectors_probability():
    segments, boxes = together(drawn(blob(10, 50, 60)), boxed(((10.4, 51, 59), 4)))
    assert segments.detections[0].tracking_uid == boxes.detections[0].tracking_uid == "2.25.101"
    ((model, one),) = listed((segments, boxes))
    assert model.provenance.model_name == "segments"
    assert one.volume_ml == 1.0
    assert one.probability == 0.9
    assert one.probability_by is not None
    assert one.probability_by.model_name == "boxes"


def test_the_order_of_the_models_in_the_route_changes_nothing():
    boxes, segments = together(boxed(((10.4, 51, 59), 4)), drawn(blob(10, 50, 60)))
    ((model, one),) = listed((boxes, segments))
    assert model.provenance.model_name == "segments"
    assert (one.tracking_uid, one.probability) == ("2.25.101", 0.9)


def test_what_one_model_alone_found_stays_its_own_and_all_are_numbered_from_the_largest():
    pair = together(drawn(blob(10, 50, 60, 2), blob(20, 80, 120, 5)), boxed(((10, 50, 60), 4), ((5, 30, 40), 3.5)))
    once = [(model.provenance.model_name, one.tracking_id, one.tracking_uid) for model, one in listed(pair)]
    assert once == [("segments", "Nodule 1", "2.25.102"), ("boxes", "Nodule 2", "2.25.202"),
                    ("segments", "Nodule 3", "2.25.101")]
    assert [one.number for one in pair[0].detections] == [1, 2]


def test_a_box_beside_a_lesion_that_overlaps_it_little_is_another_finding():
    assert len(listed(together(drawn(blob(10, 50, 60)), boxed(((10, 50, 66.9), 3.5))))) == 2
    assert len(listed(together(drawn(blob(10, 50, 60)), boxed(((10, 50, 64.5), 3.5))))) == 1


def test_a_box_round_the_middle_of_a_ring_marks_the_ring_and_a_small_one_beside_it_in_its_hole_does_not():
    ring = blob(10, 50, 60, 6) & ~blob(10, 50, 60, 3)
    assert len(listed(together(drawn(ring), boxed(((10, 50, 60), 1.0))))) == 1
    assert len(listed(together(drawn(ring), boxed(((10, 50, 61.5), 0.6))))) == 2


def test_of_two_boxes_on_one_lesion_the_nearer_is_the_same_and_the_other_stays_a_finding():
    pair = together(drawn(blob(10, 50, 60)), boxed(((10, 50, 62.5), 3.5), ((10, 50, 60.2), 3.5)))
    assert [one.tracking_uid for one in pair[1].detections] == ["2.25.201", "2.25.101"]
    assert pair[0].detections[0].probability == 0.8


def test_findings_of_another_type_are_never_the_same():
    cyst = replace(NODULE, name="Cyst", type=Code(value="441457006", scheme="SCT", meaning="Cyst"))
    assert len(listed(together(drawn(blob(10, 50, 60)), boxed(((10, 50, 60), 3.5), label=cyst)))) == 2


def test_three_models_that_found_one_lesion_give_one_finding():
    trio = together(boxed(((10, 50, 60), 3.5)), drawn(blob(10, 50, 60)),
                    replace(drawn(blob(10, 51, 60), model="third"), detections=tuple(
                        replace(one, tracking_uid="2.25.301") for one in drawn(blob(10, 51, 60)).detections)))
    assert len(listed(trio)) == 1
    assert {one.tracking_uid for each in trio for one in each.detections} == {"2.25.101"}


def test_two_findings_of_one_model_are_never_one_by_way_of_two_others():
    near, far = ((10, 50, 60), 3.5), ((10, 50, 65), 3.5)
    second = boxed(((10, 50, 62.6), 3.5), model="second")
    second = replace(second, detections=tuple(replace(one, tracking_uid="2.25.301") for one in second.detections))
    third = boxed(near, far, model="third")
    third = replace(third, detections=tuple(replace(one, tracking_uid=f"2.25.40{one.number}")
                                            for one in third.detections))
    trio = together(boxed(near, model="first"), second, third)
    assert len({one.tracking_uid for one in trio[2].detections}) == 2
    assert len(listed(trio)) == 2


def test_one_model_alone_is_left_as_it_is():
    only = drawn(blob(10, 50, 60))
    assert together(only) == (only,)


UPPER = Label(value=4, name="Upper lobe of left lung", category=LUNG.category, colour_rgb=(1, 2, 3),
              type=Code(value="44714003", scheme="SCT", meaning="Upper lobe of left lung"),
              modifier=Code(value="7771000", scheme="SCT", meaning="Left"))


def test_a_finding_lies_in_the_structure_that_surrounds_it_and_on_its_side():
    inside = block(SHAPE, slice(2, 20), slice(30, 90), slice(70, 130))
    segments, boxes = together(drawn(blob(8, 50, 100), organs=[(UPPER, inside)]),
                               boxed(((12, 70, 78), 3), ((25, 25, 25), 2)))
    assert [one.site.meaning if one.site else None for one in boxes.detections] == ["Upper lobe of left lung", None]
    assert segments.detections[0].site == UPPER.type
    assert boxes.detections[0].side == "left"
    assert boxes.detections[1].side == "", "structures of one side alone leave the midline in doubt"
