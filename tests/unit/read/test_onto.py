"""Annotations are laid on the images' own voxels, turned and cut where need be, and never resampled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomnode.errors import UnusableAnnotation
from dicomnode.read.onto import index_zyx, laid, place
from tests.builders import affine_lps, ct_series
from tests.findings import stack_of

SHAPE = (5, 7, 9)


def a_stack(**changes: object):
    return stack_of(ct_series(np.zeros(SHAPE, np.int16), affine=affine_lps(**changes)))


@pytest.mark.parametrize("changes", [
    {}, {"tilt_deg": 12.0}, {"row": (0, 1, 0), "column": (0, 0, -1)}, {"row": (0.8, 0.6, 0), "column": (-0.6, 0.8, 0)},
])
def test_the_index_of_a_point_is_the_inverse_of_the_point_of_an_index(changes):
    stack = a_stack(**changes)
    indices = np.array([[0, 0, 0], [4, 6, 8], [1.25, 3.5, 7.75], [-2, -1, 12], [6.5, 3, 1]])
    points = np.array([stack.to_lps_mm(index) for index in indices])
    assert np.allclose(index_zyx(points, stack), indices, atol=1e-6)


def test_uneven_slices_are_counted_by_their_true_places():
    series = ct_series(np.zeros(SHAPE, np.int16))
    series[2].ImagePositionPatient[2] += 0.5
    stack = stack_of(series)
    assert np.allclose(index_zyx(np.array([plane.position_lps_mm for plane in stack.planes]), stack)[:, 0], range(5))


def test_a_single_slice_has_a_depth():
    stack = stack_of(ct_series(np.zeros((1, 7, 9), np.int16)))
    assert np.allclose(index_zyx(stack.to_lps_mm((0.5, 1, 2)), stack), [[0.5, 1, 2]])


@given(order=st.permutations([0, 1, 2]), flips=st.tuples(st.booleans(), st.booleans(), st.booleans()),
       data=st.data())
def test_an_array_with_turned_axes_lands_on_the_same_voxels(order, flips, data):
    stack = a_stack()
    truth = np.arange(1, 1 + np.prod(SHAPE)).reshape(SHAPE)
    low = [data.draw(st.integers(0, size - 1)) for size in SHAPE]
    high = [data.draw(st.integers(start + 1, size)) for start, size in zip(low, SHAPE, strict=True)]
    cut = truth[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    turned = cut.transpose(order)[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    affine = np.eye(4)
    for axis, (target, flip) in enumerate(zip(order, flips, strict=True)):
        affine[:3, axis] = stack.affine_lps_mm[:3, target] * (-1 if flip else 1)
    start = [high[target] - 1 if flips[order.index(target)] else low[target] for target in range(3)]
    affine[:3, 3] = stack.to_lps_mm(start)
    found, where = laid(turned, place(affine, turned.shape, stack), SHAPE)
    assert np.array_equal(found, truth[where])
    assert found.size == cut.size


def test_a_grid_half_a_voxel_beside_is_refused():
    stack = a_stack()
    affine = stack.affine_lps_mm
    affine[:3, 3] += (0, 0.5, 0)
    with pytest.raises(UnusableAnnotation, match=r"up to 0\.50 voxels beside"):
        place(affine, SHAPE, stack)


def test_a_coarser_grid_is_refused():
    stack = a_stack()
    affine = stack.affine_lps_mm
    affine[:3, 1] *= 2
    with pytest.raises(UnusableAnnotation, match="nothing is resampled"):
        place(affine, (5, 3, 9), stack)


def test_a_mark_outside_the_images_is_refused_and_emptiness_outside_is_not():
    stack = a_stack()
    affine = stack.affine_lps_mm
    affine[:3, 3] = stack.to_lps_mm((0, -2, 0))
    values = np.zeros(SHAPE, np.uint8)
    values[0, 3, 0] = 1
    placement = place(affine, SHAPE, stack)
    cut, where = laid(values, placement, SHAPE)
    assert cut[0, 1, 0] == 1
    assert where[1] == slice(0, 5)
    values[0, 1, 0] = 1
    with pytest.raises(UnusableAnnotation, match="1 marked voxels lie outside"):
        laid(values, placement, SHAPE)
