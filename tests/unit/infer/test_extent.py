"""Sizes and places by true planes: a voxel counts as much as it is deep."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomnode.infer.extent import centre_lps_mm, longest_axis_mm, mean_value, millilitres
from tests.bundles import stack as upright

DEPTHS_MM = np.array([0.0, 1.0, 2.0, 6.0, 10.0])
SHAPE = (5, 6, 6)


@pytest.fixture
def uneven():
    base = upright(SHAPE)
    return replace(base, planes=tuple(
        replace(plane, position_lps_mm=np.array([0.0, 0.0, depth]), pixel_spacing_mm=(2.0, 1.0))
        for plane, depth in zip(base.planes, DEPTHS_MM, strict=True)))


BOX = (slice(1, 5), slice(2, 4), slice(1, 4))
INSIDE = np.ones((4, 2, 3), dtype=bool)
DEPTH_MM = np.array([1.0, 2.5, 4.0, 4.0])  # of slices 1 to 4: half of each gap beside


def test_the_volume_is_that_of_the_true_gaps(uneven):
    assert millilitres(INSIDE, BOX, uneven) == pytest.approx(6 * 2.0 * DEPTH_MM.sum() / 1000)


def test_the_middle_lies_where_most_of_the_volume_is(uneven):
    z = (DEPTHS_MM[1:] * DEPTH_MM).sum() / DEPTH_MM.sum()
    across = uneven.planes[0].row_lps * 2.0 * 1.0 + uneven.planes[0].column_lps * 2.5 * 2.0
    assert centre_lps_mm(INSIDE, BOX, uneven) == pytest.approx(across + np.array([0, 0, z]))


def test_the_mean_is_over_the_volume_not_over_the_slices(uneven):
    values = np.repeat([0, 10, 20, 30], 6).reshape(4, 2, 3)
    assert mean_value(values, INSIDE, BOX, uneven) == pytest.approx((DEPTH_MM * [0, 10, 20, 30]).sum() / DEPTH_MM.sum())


def test_of_even_slices_the_mean_is_the_plain_one_and_the_middle_that_of_the_voxels():
    stack = upright(SHAPE)
    values = np.random.default_rng(1).integers(-900, 900, (4, 2, 3))
    assert mean_value(values, INSIDE, BOX, stack) == pytest.approx(values.mean())
    assert centre_lps_mm(INSIDE, BOX, stack) == pytest.approx(stack.to_lps_mm((2.5, 2.5, 2.0)))


def test_an_empty_slice_within_a_structure_moves_nothing(uneven):
    inside = INSIDE.copy()
    inside[1:3] = False
    z = (1.0 * 1.0 + 10.0 * 4.0) / 5.0
    assert centre_lps_mm(inside, BOX, uneven)[2] == pytest.approx(z)
    assert longest_axis_mm(inside, uneven)[1] == 0
