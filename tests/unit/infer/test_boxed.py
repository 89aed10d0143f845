"""From a detector's boxes to findings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.dicom import Code
from dicomnode.domain.settings import DetectionSettings
from dicomnode.errors import ModelFailed
from dicomnode.infer.measure import model_findings
from dicomnode.infer.output import RawBox, RawOutput
from tests.bundles import volume
from tests.detection_bundles import NODULE, detection_model
from tests.findings import provenance

AFFINE = np.array([[0, 0, 0.8, -100.0], [0, 0.8, 0, -90], [2.5, 0, 0, -300], [0, 0, 0, 1]])
"""(slice, row, column) → LPS mm: axial, 0.8 mm, slices 2.5 mm apart from the feet."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    (folder / "configs").mkdir()
    return detection_model(folder)


def test_the_middle_of_a_box_is_halfway_in_mm_where_slices_are_uneven(model):
    image = volume(np.full((40, 250, 250), 40, dtype=np.int16), AFFINE)
    gap_mm = 7.5  # more, after slice 9
    planes = tuple(replace(plane, position_lps_mm=plane.position_lps_mm + np.array([0, 0, gap_mm * (k > 9)]))
                   for k, plane in enumerate(image.stack.planes))
    image = replace(image, stack=replace(image.stack, planes=planes))
    output = RawOutput(labels_zyx=None, seconds={}, peak_mb=0.0, device="cpu",
                       boxes=(RawBox(box_zyx=(5.0, 95.0, 55.0, 11.0, 105.0, 65.0), label=1, score=0.9),))
    (one,) = model_findings(model, image, output, provenance=provenance("spots"),
                            tracking_uid=lambda _: "2.25.1").detections
    top_mm, bottom_mm = -300 + 5 * 2.5, -300 + 11 * 2.5 + gap_mm
    assert one.centre_lps_mm == pytest.approx((-52.0, -10.0, (top_mm + bottom_mm) / 2))
    assert one.key_slice == 9, "1.25 mm from the middle; slice 8, halfway by number, lies 3.75 mm away"


def found(model, *boxes: RawBox, shape=(40, 250, 250), **settings: object):
    body = np.full(shape, -1000, dtype=np.int16)
    body[:, 60:190, 20:230] = 40
    output = RawOutput(labels_zyx=None, seconds={}, peak_mb=0.0, device="cpu", boxes=boxes)
    made = replace(model, detection=DetectionSettings(**settings)) if settings else model
    return model_findings(made, volume(body, AFFINE), output, provenance=provenance("spots"),
                          tracking_uid=lambda name: f"2.25.{len(name)}{name[-1]}")


def box(z, y, x, size_zyx=(4.0, 10.0, 10.0), score=0.9, label=1):
    half = np.array(size_zyx) / 2
    low, high = np.array([z, y, x]) - half, np.array([z, y, x]) + half
    return RawBox(box_zyx=(*low.tolist(), *high.tolist()), label=label, score=score)


def test_a_box_says_where_the_finding_lies_how_long_it_is_and_how_likely(model):
    (one,) = found(model, box(12.0, 100.0, 60.0, (4, 10, 12.5))).detections
    assert one.centre_lps_mm == pytest.approx((-52.0, -10.0, -270.0))
    assert one.diameter_mm == pytest.approx(10.0)
    assert (one.probability, one.volume_ml, one.key_slice) == (0.9, None, 12)
    assert one.tracking_id == "Nodule 1"
    assert one.side == "right"


def test_a_label_that_names_a_side_is_never_reported_on_the_other(model):
    left, right = (Code(value=value, scheme="SCT", meaning=name)
                   for value, name in (("7771000", "Left"), ("24028007", "Right")))
    for modifier, said in ((left, ""), (right, "right")):
        sided = replace(model, labels=(replace(NODULE, modifier=modifier),))
        assert [one.side for one in found(sided, box(12.0, 100.0, 60.0)).detections] == [said]


def test_what_a_label_says_of_the_side_counts_where_the_place_does_not_say_it(model):
    right = Code(value="24028007", scheme="SCT", meaning="Right")
    upper = Code(value="261183002", scheme="SCT", meaning="Upper")
    for modifier, said in ((right, "right"), (upper, ""), (None, "")):
        sided = replace(model, labels=(replace(NODULE, modifier=modifier),))
        assert [one.side for one in found(sided, box(12.0, 100.0, 124.0)).detections] == [said]


def test_a_box_round_one_voxel_outlines_that_voxel(model):
    (one,) = found(model, box(7.0, 80.0, 90.0, (1, 1, 1))).detections
    assert one.box_yx == (80, 90, 80, 90)
    assert one.diameter_mm == pytest.approx(0.8)


def test_findings_are_numbered_from_the_largest_to_the_smallest(model):
    result = found(model, box(5, 70, 60, (2, 5, 5), 0.99), box(30, 150, 180, (6, 20, 20), 0.6))
    assert [one.tracking_id for one in result.detections] == ["Nodule 1", "Nodule 2"]
    assert [round(one.diameter_mm, 3) for one in result.detections] == [16.0, 4.0]
    assert [one.side for one in result.detections] == ["left", "right"]


def test_a_box_below_the_score_or_the_smallest_diameter_is_no_finding(model):
    weak, small = box(5, 70, 60, score=0.49), box(20, 70, 60, (4, 4, 4))
    with_floor = replace(model, labels=(replace(NODULE, min_diameter_mm=4.0),))
    assert found(with_floor, weak, small).detections == ()
    assert found(with_floor, weak, small).looked_for[0].name == "Nodule"
    assert len(found(with_floor, weak, small, score_at_least=0.4).detections) == 1


def test_of_boxes_that_overlap_the_likeliest_stays_and_no_more_than_most_remain(model):
    pair = box(10, 100, 100, score=0.8), box(10, 100, 106, score=0.95)
    (one,) = found(model, *pair).detections
    assert one.probability == 0.95
    assert len(found(model, *pair, nms_iou=0.9).detections) == 2
    assert [one.probability for one in found(model, *pair, box(30, 80, 80, score=0.7), most=1).detections] == [0.95]


def test_a_box_too_small_to_be_a_finding_takes_no_findings_place(model):
    with_floor = replace(model, labels=(replace(NODULE, min_diameter_mm=4.0),))
    tiny, whole = box(10, 100, 100, (2, 4, 4), 0.95), box(10, 100, 101, (4, 10, 10), 0.8)
    (one,) = found(with_floor, tiny, whole).detections
    assert (one.probability, round(one.diameter_mm, 3)) == (0.8, 8.0)
    assert len(found(with_floor, box(10, 150, 100, (2, 4, 4), 0.99), whole, most=1).detections) == 1


def test_one_place_under_two_labels_of_one_type_is_one_finding_and_of_two_types_two(model):
    solid, ground_glass = replace(NODULE, name="Solid nodule"), replace(NODULE, value=2, name="Ground-glass nodule")
    pair = box(10, 100, 100, score=0.8), box(10, 100, 101, score=0.95, label=2)
    (one,) = found(replace(model, labels=(solid, ground_glass)), *pair).detections
    assert one.tracking_id == "Ground-glass nodule 1"
    cyst = replace(ground_glass, name="Cyst", type=replace(NODULE.type, value="441457006", meaning="Cyst"))
    assert len(found(replace(model, labels=(solid, cyst)), *pair).detections) == 2


def test_a_box_that_reaches_over_the_edge_is_cut_to_the_image_and_one_outside_is_left_out(model):
    result = found(model, box(0, 3, 245, (6, 20, 20)), box(60, 100, 100))
    (one,) = result.detections
    assert one.box_zyx == (-0.5, -0.5, 235.0, 3.0, 13.0, 249.5)
    assert one.key_slice == 1
    assert one.box_yx == (0, 236, 13, 249)


@pytest.mark.parametrize("wrong", [
    box(5, 5, 5, label=3), box(5, 5, 5, score=1.5), box(5, 5, 5, (0, 2, 2)), box(5, 5, 5, score=float("nan"))])
def test_a_box_without_a_label_an_extent_or_a_probability_is_refused(model, wrong):
    with pytest.raises(ModelFailed, match="allowed are"):
        found(model, wrong)


def test_no_boxes_are_no_findings_and_say_what_was_looked_for(model):
    result = found(model)
    assert result.detections == ()
    assert result.segmentation is None
    assert [label.name for label in result.looked_for] == ["Nodule"]
