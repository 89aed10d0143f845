"""Boxes between MONAI's frame, millimetres and the source grid."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.infer import boxes

ISO_2MM = np.diag([2.0, 2.0, 2.0, 1.0])


def test_a_box_round_one_voxel_lies_round_the_centre_of_that_voxel():
    box = np.array([[3.0, 4, 5, 4, 5, 6]])
    placed = boxes.to_source(box, ISO_2MM, np.eye(4))
    assert placed.tolist() == [[9, 7, 5, 11, 9, 7]]
    assert ((placed[0, :3] + placed[0, 3:]) / 2).tolist() == [10, 8, 6]


def test_monais_own_box_to_world_is_half_a_voxel_off():
    from monai.apps.detection.transforms.box_ops import apply_affine_to_boxes

    theirs = apply_affine_to_boxes(np.array([[3.0, 3, 3, 4, 4, 4]]), ISO_2MM)
    assert ((theirs[0, :3] + theirs[0, 3:]) / 2).tolist() == [7, 7, 7]
    ours = boxes.to_source(np.array([[3.0, 3, 3, 4, 4, 4]]), ISO_2MM, np.eye(4))
    assert ((ours[0, :3] + ours[0, 3:]) / 2).tolist() == [6, 6, 6]


def test_what_a_detector_learns_from_comes_back_to_where_it_was_drawn():
    grid = np.array([[0, -1.5, 0, 40], [0.8, 0, 0, -30], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])
    source = np.array([[-0.7, 0, 0, 60], [0, -0.7, 0, 55], [0, 0, 1.25, -3], [0, 0, 0, 1.0]])
    drawn_lps = np.array([[-12.0, 20.0, 31.0, 8.0, 6.0, 5.0]])
    learned = boxes.to_grid(drawn_lps, grid)
    back = boxes.to_source(learned, grid, source)[0]
    centre = (back[:3] + back[3:]) / 2
    world = source @ [centre[2], centre[1], centre[0], 1]
    assert (world[:3] * [-1, -1, 1]).tolist() == pytest.approx([-12.0, 20.0, 31.0])
    assert ((back[3:] - back[:3])[::-1] * [0.7, 0.7, 1.25]).tolist() == pytest.approx([8.0, 6.0, 5.0])


@pytest.mark.parametrize(("mode", "said"), [
    ("xyzxyz", [1, 2, 3, 5, 8, 11]), ("xxyyzz", [1, 5, 2, 8, 3, 11]), ("xyxyzz", [1, 2, 5, 8, 3, 11]),
    ("xyzwhd", [1, 2, 3, 4, 6, 8]), ("cccwhd", [3, 5, 7, 4, 6, 8])])
def test_every_box_mode_of_monai_says_the_same_box(mode, said):
    from monai.data.box_utils import convert_box_mode

    given = np.array([said], dtype=np.float64)
    assert boxes.edges(given, mode).tolist() == [[1, 2, 3, 5, 8, 11]]
    assert boxes.edges(given, mode).tolist() == convert_box_mode(given, mode, "xyzxyz").tolist()


def test_an_unknown_mode_and_a_wrong_shape_are_refused():
    with pytest.raises(ValueError, match="cccwhd"):
        boxes.edges(np.zeros((1, 6)), "middle")
    with pytest.raises(ValueError, match="boxes, 6"):
        boxes.edges(np.zeros((2, 4)), "xyzxyz")


def test_world_boxes_are_taken_at_their_word_in_ras_and_in_lps():
    source = np.diag([-1.0, -1.0, 2.0, 1.0])
    ras = np.array([[-20.0, -40, 10, 6, 4, 8]])
    lps = ras * [-1, -1, 1, 1, 1, 1]
    expected = [[3, 38, 17, 7, 42, 23]]
    assert boxes.from_world(ras, "cccwhd", source).tolist() == expected
    assert boxes.from_world(lps, "cccwhd", source, lps=True).tolist() == expected


def test_no_boxes_stay_no_boxes():
    assert boxes.to_source(np.zeros((0, 6)), ISO_2MM, np.eye(4)).shape == (0, 6)
    assert boxes.from_world(np.zeros(0), "cccwhd", np.eye(4)).shape == (0, 6)
    assert boxes.strongest(np.zeros((0, 6)), np.zeros(0), 0.1).tolist() == []


def test_overlap_is_intersection_over_union():
    first = np.array([[0.0, 0, 0, 2, 2, 2], [5, 5, 5, 5, 5, 5]])
    second = np.array([[1.0, 0, 0, 3, 2, 2], [0, 0, 0, 2, 2, 2], [9, 9, 9, 10, 10, 10]])
    assert boxes.overlaps(first, second).tolist() == [[1 / 3, 1.0, 0.0], [0.0, 0.0, 0.0]]


def test_of_overlapping_boxes_the_strongest_stays_and_a_box_that_only_a_dropped_one_overlaps_stays_too():
    chain = np.array([[0.0, 0, 0, 4, 4, 4], [2, 0, 0, 6, 4, 4], [4, 0, 0, 8, 4, 4]])
    assert boxes.strongest(chain, np.array([0.9, 0.8, 0.7]), 0.2).tolist() == [0, 2]
    assert boxes.strongest(chain, np.array([0.7, 0.8, 0.7]), 0.2).tolist() == [1]
    assert boxes.strongest(chain, np.array([0.7, 0.6, 0.7]), 0.5).tolist() == [0, 2, 1]


def test_a_small_satellite_in_the_corner_of_a_large_box_is_a_finding_of_its_own_and_a_half_size_answer_is_not():
    large, satellite, half = [0.0, 0, 0, 20, 20, 20], [14, 14, 14, 19, 19, 19], [2, 2, 2, 12, 12, 12]
    found = np.array([large, satellite, half])
    assert boxes.overlaps(found, found)[0, 1:].max() < 0.2
    assert boxes.strongest(found, np.array([0.9, 0.8, 0.7]), 0.2).tolist() == [0, 1]
    assert boxes.strongest(found, np.array([0.7, 0.8, 0.9]), 0.2).tolist() == [2, 1]


def test_a_box_round_the_middle_of_a_stronger_one_marks_nothing_of_its_own_however_little_it_overlaps():
    nested = np.array([[0.0, 0, 0, 20, 20, 20], [8, 8, 8, 13, 13, 13], [15, 15, 15, 26, 26, 26]])
    assert boxes.overlaps(nested, nested)[0, 1] < 0.02
    assert boxes.strongest(nested, np.array([0.9, 0.8, 0.7]), 0.5).tolist() == [0, 2]
    assert boxes.strongest(nested, np.array([0.8, 0.9, 0.7]), 0.5).tolist() == [1, 2]
