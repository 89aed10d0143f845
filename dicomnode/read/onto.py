"""Where a point of the patient, or the grid of an annotation, lies on a stack: nothing is ever resampled."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.volume import SliceStack
from dicomnode.errors import UnusableAnnotation

ON_GRID_VOXELS: Final = 0.1
"""An annotation's voxels may lie this far beside the image's: positions are written with few digits."""

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How an array lies on a stack: which of its axes is which of the stack's, turned or not, and where it begins.

    Parameters
    ----------
    axes:
        For slice, row and column of the stack the axis of the array.
    flipped:
        For each of them whether the array runs the other way.
    first:
        Stack index of the array's lowest corner along each.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    first: tuple[int, int, int]


def index_zyx(points_lps_mm: Points, stack: SliceStack) -> Points:
    """Return the fractional array indices of patient points by the true planes: the inverse of ``to_lps_mm``.

    Parameters
    ----------
    points_lps_mm:
        Shape (n, 3).

    Returns
    -------
    numpy.ndarray
        Shape (n, 3): slice, row, column; outside the stack extrapolated.
    """
    points = np.asarray(points_lps_mm, np.float64).reshape(-1, 3)
    positions, along = np.stack([plane.position_lps_mm for plane in stack.planes]), stack.along_normal_mm
    first, depth = stack.planes[0], points @ stack.normal_lps
    if len(along) == 1:
        z = (depth - along[0]) / stack.slice_spacing_mm
        origins = np.repeat(positions, len(points), axis=0)
    else:
        below = np.clip(np.searchsorted(along, depth, side="right") - 1, 0, len(along) - 2)
        share = (depth - along[below]) / (along[below + 1] - along[below])
        z = below + share
        origins = positions[below] + share[:, None] * (positions[below + 1] - positions[below])
    y = (points - origins) @ first.column_lps / first.pixel_spacing_mm[0]
    x = (points - origins) @ first.row_lps / first.pixel_spacing_mm[1]
    return np.stack([z, y, x], axis=1)


def place(affine_lps_mm: Points, shape: Sequence[int], stack: SliceStack) -> Placement:
    """Return how a three-axis array lies on a stack whose voxels it shares, up to swapped and reversed axes.

    Parameters
    ----------
    affine_lps_mm:
        4×4: array index → LPS mm.
    shape:
        Of the array; it may cover a part of the stack, or reach beyond it.

    Raises
    ------
    UnusableAnnotation
        If its voxels are not the stack's.
    """
    ends = np.array(list(itertools.product(*((0, count - 1) for count in shape))), float)
    found = index_zyx(ends @ affine_lps_mm[:3, :3].T + affine_lps_mm[:3, 3], stack)
    nearest = np.rint(found)
    beside = float(np.abs(found - nearest).max())
    steps = [nearest[4 >> axis] - nearest[0] for axis in range(3)]  # the corner that differs in this axis alone
    axes = _axes(steps, shape)
    if beside > ON_GRID_VOXELS or axes is None:
        raise UnusableAnnotation(
            f"its grid is not that of the images: {'x'.join(str(count) for count in shape)} voxels that lie up to "
            f"{beside:.2f} voxels beside those of {'x'.join(str(count) for count in stack.shape_zyx)} images; "
            "draw it on the original series, or convert it back to that grid yourself: nothing is resampled here")
    flipped = tuple(bool(steps[axis][target] < 0) for target, axis in enumerate(axes))
    return Placement(axes=axes, flipped=(flipped[0], flipped[1], flipped[2]),
                     first=tuple(int(value) for value in nearest.min(axis=0)))  # type: ignore[arg-type]  # three


def _axes(steps: Sequence[Points], shape: Sequence[int]) -> tuple[int, int, int] | None:
    """Return which array axis runs along each axis of the stack; None where one runs along none or unevenly."""
    found: dict[int, int] = {}
    for axis, (step, count) in enumerate(zip(steps, shape, strict=True)):
        moving = np.flatnonzero(step)
        if count == 1:
            continue
        if len(moving) != 1 or abs(step[moving[0]]) != count - 1 or int(moving[0]) in found:
            return None
        found[int(moving[0])] = axis
    free = iter(axis for axis in range(3) if axis not in found.values())
    return tuple(found[target] if target in found else next(free) for target in range(3))  # type: ignore[return-value]


def laid(values: NDArray[np.generic], placement: Placement, shape_zyx: Sequence[int]
         ) -> tuple[NDArray[np.generic], tuple[slice, slice, slice]]:
    """Return a view of ``values`` in the stack's axes, cut to the stack, and where it lies there.

    Raises
    ------
    UnusableAnnotation
        If something that is marked lies outside the stack.
    """
    turned = values.transpose(placement.axes)
    turned = turned[tuple(slice(None, None, -1 if flip else 1) for flip in placement.flipped)]
    inside, target = [], []
    for first, count, size in zip(placement.first, turned.shape, shape_zyx, strict=True):
        low, high = max(0, first), max(0, min(size, first + count))
        inside.append(slice(low - first, max(low, high) - first))
        target.append(slice(low, max(low, high)))
    cut = turned[tuple(inside)]
    outside = int(np.count_nonzero(values)) - int(np.count_nonzero(cut)) if cut.shape != turned.shape else 0
    if outside:
        raise UnusableAnnotation(f"{outside} marked voxels lie outside the images; are all slices of the series there?")
    return cut, (target[0], target[1], target[2])
