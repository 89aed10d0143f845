"""The half-pixel rule, and findings that lie outside their image."""

import numpy as np
import pytest

from dicomnode.encode.place import box, scoord
from dicomnode.errors import EncodingError
from tests.builders import ct_series
from tests.findings import block, lesion, stack_of

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
