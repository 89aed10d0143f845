"""One input on the grid of another: interpolated through the patient, by the true positions of its slices."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.infer.straight import is_straight

SAME_GRID_MM: Final = 1e-2
"""Largest difference between places of voxels of inputs that count as lying on one grid."""
PARALLEL: Final = 1e-3
"""Axes that drift by less than this over the whole grid, in mm or pixels, are parallel."""
HALF: Final = 0.5 + 1e-4
"""Half a voxel, and what rounding adds."""

Floats = NDArray[np.floating]


def on_one_grid(one: SliceStack, other: SliceStack) -> bool:
    """Whether two stacks have the same voxels in the same places."""
    if one is other:
        return True
    if one.shape_zyx != other.shape_zyx or not np.allclose(one.affine_lps_mm, other.affine_lps_mm, atol=SAME_GRID_MM):
        return False
    return all(np.allclose(own.position_lps_mm, its.position_lps_mm, atol=SAME_GRID_MM)
               for own, its in zip(one.planes, other.planes, strict=True))


def onto(volume: Volume, stack: SliceStack) -> Volume:
    """Return the values of ``volume`` at the voxel centres of ``stack``, linear between its own voxel centres.

    Both must share a Frame of Reference: the caller sees to it. Up to half a voxel beyond the outermost centres the
    outermost values hold, as the voxels reach so far; where the volume does not reach, its smallest value.

    Parameters
    ----------
    volume:
        On any stack of parallel slices: tilted or uneven ones are interpolated by their true positions, along the
        normal between the two nearest slices.
    stack:
        One that an affine describes.

    Returns
    -------
    Volume
        float32, shape ``stack.shape_zyx``, on ``stack``.

    Notes
    -----
    Not smoothed before: what MONAI's ResampleToMatch gives, and what such networks were trained with.
    """
    found = _by_affine(volume, stack) if is_straight(volume.stack) else _by_planes(volume, stack)
    return replace(volume, values_zyx=found, stack=stack)


def _by_affine(volume: Volume, stack: SliceStack) -> NDArray[np.float32]:
    there = np.linalg.inv(volume.stack.affine_lps_mm) @ stack.affine_lps_mm
    values = np.pad(np.asarray(volume.values_zyx, dtype=np.float32), 1, mode="edge")
    lowest = float(volume.values_zyx.min())
    offset = there[:3, 3] + 1
    found = ndimage.affine_transform(values, there[:3, :3], offset, stack.shape_zyx, order=1, mode="constant",
                                     cval=lowest, prefilter=False)
    found[_beyond(there, volume.stack, stack)] = lowest
    return np.asarray(found, dtype=np.float32)


def _beyond(there: np.ndarray[tuple[int, ...], np.dtype[np.float64]], source: SliceStack, target: SliceStack
            ) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which voxels of ``target`` have their centre outside every voxel of ``source``."""
    outside = np.zeros(target.shape_zyx, dtype=bool)
    z, y, x = (np.arange(size, dtype=np.float32) for size in target.shape_zyx)
    for axis, size in enumerate(source.shape_zyx):
        along = (there[axis, 0] * z[:, None, None] + there[axis, 1] * y[:, None] + there[axis, 2] * x + there[axis, 3])
        outside |= (along < -HALF) | (along > size - 1 + HALF)
    return outside


def _by_planes(volume: Volume, stack: SliceStack) -> NDArray[np.float32]:
    """Interpolate along the normal between the two slices that a point lies between, each bilinear in its plane."""
    source, lowest = volume.stack, float(volume.values_zyx.min())
    values = np.asarray(volume.values_zyx, dtype=np.float32)
    corners, along = _in_plane(source), source.along_normal_mm
    found = np.full(stack.shape_zyx, lowest, dtype=np.float32)
    for index in range(stack.shape_zyx[0]):
        depth, row, column = _seen_from(source, stack, index)
        below = np.clip(np.searchsorted(along, depth, side="right") - 1, 0, len(along) - 2)
        share = (depth - along[below]) / source.gaps_mm[below]
        low, low_holds = _sampled(values, below, row - corners[below, 0], column - corners[below, 1])
        high, high_holds = _sampled(values, below + 1, row - corners[below + 1, 0], column - corners[below + 1, 1])
        weight = np.where(low_holds & high_holds, np.clip(share, 0, 1), np.where(high_holds, 1, 0)).astype(np.float32)
        inside = (share >= -HALF) & (share <= 1 + HALF) & (low_holds | high_holds)
        np.copyto(found[index], low + (high - low) * weight, where=inside)
    return found


def _in_plane(source: SliceStack) -> NDArray[np.float64]:
    """Return where each slice begins within the common plane, in pixels: (row, column); shape (slices, 2)."""
    first = source.planes[0]
    positions = np.stack([plane.position_lps_mm for plane in source.planes])
    return np.stack([positions @ first.column_lps / first.pixel_spacing_mm[0],
                     positions @ first.row_lps / first.pixel_spacing_mm[1]], axis=1)


def _seen_from(source: SliceStack, target: SliceStack, index: int) -> tuple[Floats, Floats, Floats]:
    """Return depth in mm, row and column in pixels of each voxel of one target slice, along the source's axes.

    They broadcast: where the axes are parallel, depth has one value, row one for each row, column one for each column.
    """
    first, affine = source.planes[0], target.affine_lps_mm
    axes = np.stack([source.normal_lps, first.column_lps / first.pixel_spacing_mm[0],
                     first.row_lps / first.pixel_spacing_mm[1]])
    steps, start = axes @ affine[:3, :3], axes @ affine[:3, 3]
    rows, columns = np.arange(target.rows)[:, None], np.arange(target.columns)[None, :]
    counts = np.array(target.shape_zyx)
    seen = []
    for axis in range(3):
        place = np.full((1, 1), start[axis] + steps[axis, 0] * index)
        for step, along in ((steps[axis, 1], rows), (steps[axis, 2], columns)):
            if abs(step) * counts.max() > PARALLEL:
                place = place + step * along
        seen.append(place)
    return seen[0], seen[1], seen[2]


def _sampled(values: NDArray[np.float32], slices: NDArray[np.intp], row: Floats, column: Floats
             ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the values of the named slices at fractional pixels, and which of them lie on the slice."""
    _, rows, columns = values.shape
    holds = (row >= -HALF) & (row <= rows - 1 + HALF) & (column >= -HALF) & (column <= columns - 1 + HALF)
    top, down = _taps(row, rows)
    left, right = _taps(column, columns)
    bottom, end = np.minimum(top + 1, rows - 1), np.minimum(left + 1, columns - 1)
    if slices.size == 1 and top.shape[1] == 1 and left.shape[0] == 1:
        plane = values[int(slices[0, 0])]
        band = plane[top[:, 0]] * (1 - down) + plane[bottom[:, 0]] * down
        return band[:, left[0]] * (1 - right) + band[:, end[0]] * right, holds
    upper = values[slices, top, left] * (1 - right) + values[slices, top, end] * right
    lower = values[slices, bottom, left] * (1 - right) + values[slices, bottom, end] * right
    return upper * (1 - down) + lower * down, holds


def _taps(place: Floats, size: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Return the pixel below each place, and the share of the next one; both held inside."""
    below = np.clip(np.floor(place), 0, max(0, size - 2)).astype(np.intp)
    return below, np.clip(place - below, 0, 1).astype(np.float32)
