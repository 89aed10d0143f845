"""The half-pixel rule, and findings that lie outside their image."""

from itertools import pairwise

import numpy as np
import pytest

from dicomnode.domain.settings import Outputs
from dicomnode.encode.place import box, outline, scoord
from dicomnode.errors import EncodingError
from tests.builders import ct_series
from tests.findings import block, findings, lesion, stack_of

SHAPE = (4, 10, 12)


def test_the_centre_of_the_first_pixel_is_half_a_pixel_right_and_down():
    np.testing.assert_array_equal(scoord([(0, 0)]), [[0.5, 0.5]])


def test_row_and_column_change_places_because_scoord_is_column_first():
    np.testing.assert_array_equal(scoord([(3, 7)]), [[7.5, 3.5]])


def test_a_box_of_one_voxel_runs_round_its_edges_and_closes():
    found = lesion(block(SHAPE, slice(2, 3), slice(4, 5), slice(6, 7)))
    outline = box(found, stack_of(ct_series(np.zeros(SHAPE))))
    np.testing.assert_array_equal(outline, [[6, 4], [7, 4], [7, 5], [6, 5], [6, 4]])


def test_a_box_of_the_whole_image_ends_at_columns_and_rows():
    found = lesion(block(SHAPE, slice(0, 1), slice(None), slice(None)))
    outline = box(found, stack_of(ct_series(np.zeros(SHAPE))))
    assert outline.min() == 0
    np.testing.assert_array_equal(outline.max(axis=0), [SHAPE[2], SHAPE[1]])


def test_a_box_beyond_the_last_column_is_refused_with_both_sizes():
    found = lesion(block((4, 10, 20), slice(0, 1), slice(0, 3), slice(10, 15)))
    with pytest.raises(EncodingError, match=r"box_yx = \(0, 10, 2, 14\).* 4 slices of 10 × 12"):
        box(found, stack_of(ct_series(np.zeros(SHAPE))))


def test_a_key_slice_beyond_the_stack_is_refused():
    found = lesion(block((9, 10, 12), slice(7, 8), slice(0, 3), slice(0, 3)))
    with pytest.raises(EncodingError, match="slice 7"):
        box(found, stack_of(ct_series(np.zeros(SHAPE))))


def contoured(marked):
    """Return findings that are drawn by their contour; each mask is one lesion."""
    return findings(stack_of(ct_series(np.zeros(SHAPE))), np.zeros(SHAPE, np.uint8), lesions=marked, contoured=True)


def inside(points, shape):
    """Return which pixel centres lie within a closed line, in pixels from the image's top left corner (even-odd)."""
    rows, columns = np.meshgrid(np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5, indexing="ij")
    found = np.zeros(shape, dtype=bool)
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 != y1:
            crossed = (rows > min(y0, y1)) & (rows < max(y0, y1)) & (columns < x0 + (rows - y0) / (y1 - y0) * (x1 - x0))
            found ^= crossed
    return found


def test_a_contour_filled_again_is_the_mask_on_the_key_slice():
    bent = block(SHAPE, slice(1, 3), slice(2, 8), slice(3, 5)) | block(SHAPE, slice(1, 3), slice(6, 8), slice(3, 11))
    found = contoured([bent])
    drawn = outline(found.detections[0], found)
    np.testing.assert_array_equal(drawn[0], drawn[-1])
    np.testing.assert_array_equal(inside(drawn, SHAPE[1:]), bent[found.detections[0].key_slice])


def test_a_contour_along_the_border_stays_inside_the_image():
    found = contoured([block(SHAPE, slice(0, 1), slice(None), slice(5, None))])
    drawn = outline(found.detections[0], found)
    assert (drawn.min(axis=0) == [5, 0]).all()
    assert (drawn.max(axis=0) == [SHAPE[2], SHAPE[1]]).all()


def test_of_several_parts_on_the_key_slice_the_largest_is_drawn_and_of_two_lesions_only_its_own():
    parts = block(SHAPE, slice(1, 2), slice(1, 3), slice(1, 3)) | block(SHAPE, slice(1, 2), slice(5, 9), slice(6, 11))
    found = contoured([block(SHAPE, slice(1, 2), slice(0, 1), slice(0, 12)), parts])
    drawn = outline(found.detections[1], found)
    np.testing.assert_array_equal(inside(drawn, SHAPE[1:]), block(SHAPE, slice(1, 2), slice(5, 9), slice(6, 11))[1])


def test_a_finding_without_a_mask_has_its_box_whatever_is_wanted():
    found = contoured([])
    alone = lesion(block(SHAPE, slice(2, 3), slice(4, 5), slice(6, 7)))
    np.testing.assert_array_equal(outline(alone, found), box(alone, found.stack))


def test_an_unknown_mark_is_refused():
    with pytest.raises(ValueError, match="mark = 'circle': allowed are 'box' and 'contour'"):
        Outputs(mark="circle")
