"""Pictures of errors: the right slice, outlines where they belong, hung as readers hang it."""

import numpy as np
import pytest

from dicomnode.train.evaluate.slice_picture import BOTH_RGB, FOUND_RGB, TRUTH_RGB, as_read, drawn_boxes, drawn_masks
from tests.bundles import stack, volume

AXIAL = np.array([[0, 0, 1.0, -40.0], [0, 1.0, 0, -30.0], [2.0, 0, 0, 0.0], [0, 0, 0, 1]])
SHAPE = (10, 60, 80)


def _volume():
    return volume(np.random.default_rng(0).normal(0, 100, SHAPE).astype(np.int16), AXIAL)


def _mask(*boxes: tuple[slice, ...]):
    mask = np.zeros(SHAPE, bool)
    for box in boxes:
        mask[box] = True
    return mask


def _share(picture, colour):
    return float((picture.rgb_yx == colour).all(axis=2).mean())


def test_the_slice_with_most_wrong_voxels_is_shown_with_both_outlines():
    truth = _mask(np.s_[2:8, 20:40, 20:40])
    found = _mask(np.s_[2:5, 20:40, 20:40], np.s_[6:7, 20:40, 30:60])
    drawn = drawn_masks(_volume(), found, truth)
    assert drawn.slice_number == 7
    assert min(_share(drawn, colour) for colour in (TRUTH_RGB, FOUND_RGB, BOTH_RGB)) > 0
    right = drawn_masks(_volume(), truth, truth)
    assert _share(right, BOTH_RGB) > 0
    assert _share(right, FOUND_RGB) == _share(right, TRUTH_RGB) == 0
    assert drawn_masks(_volume(), _mask(), _mask()) is None


def test_a_missed_box_is_shown_before_a_false_one_and_both_before_a_right_one():
    seen, missed, false = [1, 5, 5, 3, 9, 9], [4.5, 30, 30, 6.5, 40, 40], [7.5, 10, 50, 9.4, 20, 60]
    empty = np.empty((0, 6))
    found, truth = np.array([seen, false], float), np.array([seen, missed], float)
    assert drawn_boxes(_volume(), found, truth).slice_number in {6, 7}
    assert drawn_boxes(_volume(), found, np.array([seen], float)).slice_number == 9
    right = drawn_boxes(_volume(), np.array([seen], float), np.array([seen], float))
    assert (right.slice_number, _share(right, BOTH_RGB) > 0) == (3, True)
    assert drawn_boxes(_volume(), empty, empty) is None


def test_a_box_on_the_next_slice_is_not_drawn_on_this_one():
    missed, below = np.array([[4.5, 30, 30, 5.5, 40, 40]]), np.array([[5.5, 42, 42, 6.5, 52, 52]])
    drawn = drawn_boxes(_volume(), below, missed)
    assert (drawn.slice_number, _share(drawn, FOUND_RGB)) == (6, 0.0)
    assert _share(drawn, TRUTH_RGB) > 0


def test_a_box_that_leaves_the_image_is_cut():
    outside = np.array([[-2.0, -5, 70, 12, 10, 95]])
    assert _share(drawn_boxes(_volume(), outside, np.empty((0, 6))), FOUND_RGB) > 0


def test_voxels_that_are_wider_than_high_are_shown_in_their_true_proportions():
    wide = AXIAL @ np.diag([1.0, 1.0, 3.0, 1.0])
    drawn = drawn_masks(volume(np.zeros(SHAPE, np.int16), wide), _mask(np.s_[1:3, 0:60, 0:80]), _mask())
    height, width = drawn.rgb_yx.shape[:2]
    assert width / height == pytest.approx(80 * 3 / 60, rel=0.02)


@pytest.mark.parametrize(("right", "down", "expected"), [
    ([1, 0, 0], [0, 1, 0], [0, 1, 2, 3]), ([-1, 0, 0], [0, -1, 0], [3, 2, 1, 0]),
    ([0, 1, 0], [0, 0, -1], [0, 1, 2, 3]), ([0, 1, 0], [0, 0, 1], [2, 3, 0, 1]), ([-1, 0, 0], [0, 1, 0], [1, 0, 3, 2]),
])
def test_left_lies_on_the_right_and_front_or_head_above(right, down, expected):
    affine = np.eye(4)
    affine[:3, 2], affine[:3, 1], affine[:3, 0] = right, down, np.cross(right, down)
    corners = np.repeat(np.arange(4, dtype=np.uint8).reshape(2, 2, 1), 3, axis=2)
    assert as_read(corners, stack((2, 2, 2), affine))[..., 0].ravel().tolist() == expected
