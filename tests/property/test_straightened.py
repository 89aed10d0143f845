"""A tilted or uneven stack: the network sees an upright volume, and what it finds returns to the true slices."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.infer.onto import onto
from dicomnode.infer.straight import is_straight, returned, returned_box, said, straightened
from tests.bundles import stack as upright

ROWS, COLUMNS = 48, 40
gaps = st.lists(st.floats(0.8, 6.0).map(lambda mm: round(mm, 2)), min_size=5, max_size=24)
turns = st.tuples(st.floats(-40, 40), st.floats(-40, 40), st.floats(-40, 40))
tilts = st.sampled_from([-25.0, -8.0, 0.0, 3.0, 18.5])
pixels = st.tuples(st.floats(0.5, 2.0), st.floats(0.5, 2.0))


def leaning(gaps_mm, tilt_deg, *, pixel_mm=(1.0, 1.2), turn=(0.0, 0.0, 0.0)) -> SliceStack:
    """Planes at these gaps along the normal, shifted along their columns as a leaning gantry does."""
    depths = np.concatenate([[0.0], np.cumsum(gaps_mm)])
    base = upright((len(depths), ROWS, COLUMNS))
    row, column, normal = Rotation.from_euler("zyx", turn, degrees=True).apply(np.eye(3))
    lean = normal + np.tan(np.radians(tilt_deg)) * column
    return replace(base, planes=tuple(
        replace(plane, position_lps_mm=np.array([-20.0, -30.0, 50.0]) + depth * lean, row_lps=row, column_lps=column,
                pixel_spacing_mm=pixel_mm)
        for plane, depth in zip(base.planes, depths, strict=True)))


def centres_lps_mm(stack: SliceStack) -> np.ndarray:
    """The place of every voxel, shape (slice, row, column, 3), from each true plane."""
    rows, columns = np.arange(stack.rows)[:, None, None], np.arange(stack.columns)[:, None]
    return np.stack([
        plane.position_lps_mm + rows * plane.pixel_spacing_mm[0] * plane.column_lps
        + columns * plane.pixel_spacing_mm[1] * plane.row_lps for plane in stack.planes])


def ellipsoid(stack: SliceStack) -> tuple[np.ndarray, float, float]:
    """Distance-like field of an ellipsoid in the middle: below 0 inside; its millilitres; its steepest slope."""
    middle = centres_lps_mm(stack).reshape(-1, 3).mean(axis=0)
    first = stack.planes[0]
    axes = np.stack([stack.normal_lps, first.column_lps, first.row_lps])
    half = np.array([max(stack.along_normal_mm[-1] - stack.along_normal_mm[0], 4.0) * 0.36,
                     ROWS * first.pixel_spacing_mm[0] * 0.27, COLUMNS * first.pixel_spacing_mm[1] * 0.3])
    away = (centres_lps_mm(stack) - middle) @ axes.T / half
    return np.linalg.norm(away, axis=-1) - 1, 4 / 3 * np.pi * float(half.prod()) / 1000, float(1 / half.min())


@settings(max_examples=60, deadline=None)
@given(gaps=gaps, tilt=tilts, pixel=pixels, turn=turns)
def test_the_upright_grid_has_right_angles_even_steps_and_holds_every_voxel(gaps, tilt, pixel, turn):
    stack = leaning(gaps, tilt, pixel_mm=pixel, turn=turn)
    straight = straightened(stack)
    assert is_straight(straight)
    steps = straight.affine_lps_mm[:3, :3] / np.linalg.norm(straight.affine_lps_mm[:3, :3], axis=0)
    np.testing.assert_allclose(steps.T @ steps, np.eye(3), atol=1e-2 if straight is stack else 1e-9)
    where = centres_lps_mm(stack).reshape(-1, 3)
    index = np.linalg.solve(straight.affine_lps_mm, np.vstack([where.T, np.ones(len(where))]))[:3]
    beyond = np.maximum(-index, index - np.array(straight.shape_zyx)[:, None] + 1)
    assert beyond.max() <= 0.1 + 1e-6


@settings(max_examples=60, deadline=None)
@given(gaps=gaps, tilt=tilts, turn=turns)
def test_a_field_that_is_linear_in_the_patient_reaches_the_network_as_it_is(gaps, tilt, turn):
    stack = leaning(gaps, tilt, turn=turn)
    slope = np.array([2.0, -3.0, 1.0])
    given_values = (centres_lps_mm(stack) @ slope).astype(np.float32)
    straight = straightened(stack)
    seen = onto(Volume(values_zyx=given_values, stack=stack, modality="CT"), straight).values_zyx
    index = _true_index(centres_lps_mm(straight).reshape(-1, 3), stack).reshape(*straight.shape_zyx, 3)
    between_slices = (index[..., 1:] >= 0) & (index[..., 1:] <= np.array([stack.rows, stack.columns]) - 1)
    inside = between_slices.all(axis=-1) & _both_slices_reach(centres_lps_mm(straight), stack)
    assert inside.mean() > 0.2
    np.testing.assert_allclose(seen[inside], (centres_lps_mm(straight) @ slope)[inside], atol=2e-3)


def _true_index(points, stack):
    depth = (points - stack.planes[0].position_lps_mm) @ stack.normal_lps
    along = stack.along_normal_mm - stack.along_normal_mm[0]
    z = np.interp(depth, along, np.arange(len(along)))
    corners = np.stack([plane.position_lps_mm for plane in stack.planes])
    corner = np.stack([np.interp(z, np.arange(len(along)), corners[:, axis]) for axis in range(3)], axis=1)
    first = stack.planes[0]
    return np.stack([z, (points - corner) @ first.column_lps / first.pixel_spacing_mm[0],
                     (points - corner) @ first.row_lps / first.pixel_spacing_mm[1]], axis=1)


def _both_slices_reach(points, stack):
    """Whether the slices above and below each point both have it within their matrix."""
    depth = (points - stack.planes[0].position_lps_mm) @ stack.normal_lps
    along = stack.along_normal_mm - stack.along_normal_mm[0]
    below = np.clip(np.searchsorted(along, depth, side="right") - 1, 0, len(along) - 2)
    reached = np.ones(points.shape[:-1], dtype=bool)
    first, corners = stack.planes[0], np.stack([plane.position_lps_mm for plane in stack.planes])
    for beside in (below, below + 1):
        row = (points - corners[beside]) @ first.column_lps / first.pixel_spacing_mm[0]
        reached &= (row >= 0) & (row <= stack.rows - 1)
    return reached


@settings(max_examples=60, deadline=None)
@given(gaps=gaps, tilt=tilts, pixel=pixels, turn=turns)
def test_an_ellipsoid_comes_back_on_the_slices_where_each_slice_shows_it(gaps, tilt, pixel, turn):
    stack = leaning(gaps, tilt, pixel_mm=pixel, turn=turn)
    field, _, steepest = ellipsoid(stack)
    straight = straightened(stack)
    seen = onto(Volume(values_zyx=field.astype(np.float32), stack=stack, modality="MR"), straight)
    found = returned(seen.values_zyx < 0, straight, stack)
    assert found.shape == stack.shape_zyx
    wrong = found != (field < 0)
    rounding_mm = np.linalg.norm(np.array(stack.planes[0].pixel_spacing_mm)) / 2 + straight.slice_spacing_mm / 2
    assert np.abs(field[wrong]).max(initial=0) <= steepest * rounding_mm


def test_where_only_the_gantry_leans_the_mask_comes_back_within_half_a_pixel():
    stack = leaning([3.0] * 20, 18.5)
    field, _, _ = ellipsoid(stack)
    straight = straightened(stack)
    assert len(straight.planes) == len(stack.planes), "each slice keeps its depth"
    seen = onto(Volume(values_zyx=field.astype(np.float32), stack=stack, modality="MR"), straight)
    found, true = returned(seen.values_zyx < 0, straight, stack), field < 0
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.98
    assert found.sum() == pytest.approx(true.sum(), rel=0.01)


@pytest.mark.parametrize("tilt", [0.0, 18.5])
def test_the_volume_of_a_found_ellipsoid_is_that_of_true_gaps_not_of_equal_ones(tilt):
    stack = leaning([1.0] * 20 + [2.0] * 12 + [1.5] * 10, tilt)
    field, millilitres, _ = ellipsoid(stack)
    straight = straightened(stack)
    seen = onto(Volume(values_zyx=field.astype(np.float32), stack=stack, modality="MR"), straight)
    found = returned(seen.values_zyx < 0, straight, stack)
    per_slice = found.reshape(len(found), -1).sum(axis=1)
    assert per_slice @ stack.slice_volumes_ml == pytest.approx(millilitres, rel=0.03)
    assert abs(found.sum() * stack.voxel_ml / millilitres - 1) > 0.03, "equal gaps would be wrong here"


@settings(max_examples=60, deadline=None)
@given(gaps=gaps, tilt=tilts, turn=turns, corner=st.tuples(*[st.floats(0.2, 0.5)] * 3))
def test_a_box_around_a_point_returns_around_that_point(gaps, tilt, turn, corner):
    stack = leaning(gaps, tilt, turn=turn)
    straight = straightened(stack)
    middle = np.array(corner) * (np.array(straight.shape_zyx) - 1)
    place = (straight.affine_lps_mm @ [*middle, 1])[:3]
    half = np.array([1.0, 3.0, 4.0])
    box = returned_box((*(middle - half), *(middle + half)), straight, stack)
    z, row, column = _true_index(place[None], stack)[0]
    low, high = np.array(box[:3]), np.array(box[3:])
    assert low[0] < z < high[0]
    np.testing.assert_allclose((low + high)[1:] / 2, (row, column), atol=1e-2 if straight is stack else 1e-6)
    np.testing.assert_allclose((high - low)[1:], 2 * half[1:])


@settings(max_examples=30, deadline=None)
@given(count=st.integers(1, 12), mm=st.floats(0.5, 6.0), turn=turns)
def test_a_regular_stack_is_handed_over_untouched(count, mm, turn):
    stack = leaning([mm] * (count - 1), 0.0, turn=turn)
    values = np.arange(stack.rows * stack.columns * count, dtype=np.int32).reshape(stack.shape_zyx)
    assert straightened(stack) is stack
    assert returned(values, stack, stack) is values
    assert returned_box((0, 1, 2, 3, 4, 5), stack, stack) == (0, 1, 2, 3, 4, 5)


def test_positions_written_with_few_digits_are_still_regular():
    stack = leaning(np.diff(np.round(np.arange(40) * 0.625, 2)), 0.0)
    assert straightened(stack) is stack


@pytest.mark.parametrize(("gaps", "tilt", "beside", "says"), [
    ([2.0] * 6, 12.0, 0.0, "leans 12.0° (gantry tilt): the model"),
    ([2.0, 2.0, 3.5, 2.0], 0.0, 0.0, "has slices 2 to 3.5 mm apart, usually 2 mm, the widest gap after slice 3: the"),
    ([2.0] * 6, 0.0, 0.3, "has slices that lie up to 0.3 mm beside one line: the model"),
    ([1.0] * 30 + [1.015] * 30, 0.0, 0.0, "has slices 1 to 1.015 mm apart, usually 1.00"),
])
def test_the_reader_is_told_what_was_uneven(gaps, tilt, beside, says):
    stack = leaning(gaps, tilt)
    moved = stack.planes[2].position_lps_mm + beside * stack.planes[2].row_lps
    planes = (*stack.planes[:2], replace(stack.planes[2], position_lps_mm=moved), *stack.planes[3:])
    assert says in said(replace(stack, planes=planes))
