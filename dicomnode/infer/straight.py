"""A tilted or uneven stack as a network wants it: upright, in equal steps; and the way back to the true slices.

Notes
-----
MONAI's own transforms see one affine: they mend a shear, but cannot know that slices are uneven. A network without
them sees neither. So the parent resamples such a stack by the true positions of its slices, for every kind of model;
a stack that one upright affine describes is handed over untouched.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.volume import SlicePlane, SliceStack

Box = tuple[float, float, float, float, float, float]

EVEN_FRACTION: Final = 0.02
"""Positions count as even within this fraction of the spacing: what ``uneven`` allows where a model says nothing."""
EVEN_MM: Final = 0.05
"""Positions count as even within this, whatever the spacing: they are written with few digits."""
UPRIGHT_DEG: Final = 0.05
"""A stack that leans less than this is upright: direction cosines are rounded."""
COVERED_PIXELS: Final = 0.1
"""The upright grid may miss this much of the outermost pixels, so that rounding adds no row."""
FINEST: Final = 0.5
"""The smallest gap is the step of the upright grid, but no less than this share of the median gap."""


def is_straight(stack: SliceStack) -> bool:
    """Whether one affine with right angles describes every plane."""
    return _is_even(stack) and (len(stack.planes) == 1 or stack.tilt_deg <= UPRIGHT_DEG)


def straightened(stack: SliceStack) -> SliceStack:
    """Return the upright grid in equal steps that holds every voxel of a stack; the stack itself if it is one.

    Rows, columns and pixel spacing are the stack's. Where only the gantry leans, slices keep their depth; where gaps
    differ, the step is the smallest gap, at least half the median. Each plane names the image that lies nearest.
    """
    if is_straight(stack):
        return stack
    along, first = stack.along_normal_mm, stack.planes[0]
    gaps = stack.gaps_mm
    step_mm = float(np.mean(gaps)) if _is_even(stack) else max(float(gaps.min()), FINEST * float(np.median(gaps)))
    count = math.ceil((along[-1] - along[0]) / step_mm - COVERED_PIXELS) + 1
    depths_mm = np.linspace(0.0, along[-1] - along[0], count)
    shifts = _shifts(stack)
    low = np.floor(shifts.min(axis=0) + COVERED_PIXELS).astype(int)
    high = np.ceil(shifts.max(axis=0) - COVERED_PIXELS).astype(int)
    corner = (first.position_lps_mm + low[0] * first.pixel_spacing_mm[0] * first.column_lps
              + low[1] * first.pixel_spacing_mm[1] * first.row_lps)
    nearest = np.abs(depths_mm[:, None] - (along - along[0])).argmin(axis=1)
    planes = tuple(_plane(stack.planes[source], stack, corner + depth * stack.normal_lps)
                   for depth, source in zip(depths_mm, nearest, strict=True))
    return replace(stack, planes=planes, rows=int(stack.rows + high[0] - low[0]),
                   columns=int(stack.columns + high[1] - low[1]))


def returned(values_zyx: NDArray[Any], straight: SliceStack, stack: SliceStack) -> NDArray[Any]:
    """Return values of the upright grid on the true slices, each voxel its nearest neighbour's."""
    if straight is stack:
        return values_zyx
    depths = np.interp(stack.along_normal_mm, straight.along_normal_mm, np.arange(len(straight.planes)))
    rows, columns = (np.rint(_shifts(stack) - _shift(straight, stack))).astype(int).T
    out = np.empty(stack.shape_zyx, values_zyx.dtype)
    for index, depth in enumerate(np.rint(depths).astype(int)):
        row = int(np.clip(rows[index], 0, straight.rows - stack.rows))
        column = int(np.clip(columns[index], 0, straight.columns - stack.columns))
        out[index] = values_zyx[depth, row:row + stack.rows, column:column + stack.columns]
    return out


def returned_box(box_zyx: Box, straight: SliceStack, stack: SliceStack) -> Box:
    """Return a box of the upright grid in index coordinates of the true slices; it leans as the stack does.

    Rows and columns are those on the slice through the box's middle.
    """
    if straight is stack:
        return box_zyx
    z0, y0, x0, z1, y1, x1 = box_zyx
    top, middle, bottom = (_depth_index(place, straight, stack) for place in (z0, (z0 + z1) / 2, z1))
    shifts = _shifts(stack) - _shift(straight, stack)
    row, column = (float(np.interp(middle, np.arange(len(shifts)), shifts[:, axis])) for axis in (0, 1))
    return top, y0 - row, x0 - column, bottom, y1 - row, x1 - column


def said(stack: SliceStack) -> str:
    """Say how a stack is not upright or not even, and what was done about it."""
    leans = f"leans {stack.tilt_deg:.1f}° (gantry tilt)" if stack.tilt_deg > UPRIGHT_DEG else ""
    uneven = "" if _is_even(stack) else _unevenness(stack)
    return (f"the series {' and '.join(part for part in (leans, uneven) if part)}: the model saw it resampled by the "
            "true positions of its slices")


def _unevenness(stack: SliceStack) -> str:
    gaps, usual = stack.gaps_mm, stack.slice_spacing_mm
    if np.ptp(gaps) <= _tolerance_mm(stack) and np.ptp(gaps) * len(gaps) <= stack.position_error_mm:
        return f"has slices that lie up to {stack.position_error_mm:.2g} mm beside one line"
    return (f"has slices {gaps.min():.4g} to {gaps.max():.4g} mm apart, usually {usual:.4g} mm, the widest gap "
            f"{stack.slice_names.after(int(gaps.argmax()))}")


def _is_even(stack: SliceStack) -> bool:
    return stack.position_error_mm <= _tolerance_mm(stack)


def _tolerance_mm(stack: SliceStack) -> float:
    return max(EVEN_FRACTION * stack.slice_spacing_mm, EVEN_MM)


def _plane(source: SlicePlane, stack: SliceStack, position: NDArray[np.float64]) -> SlicePlane:
    first = stack.planes[0]
    return replace(source, position_lps_mm=position, row_lps=first.row_lps, column_lps=first.column_lps,
                   pixel_spacing_mm=first.pixel_spacing_mm)


def _shifts(stack: SliceStack) -> NDArray[np.float64]:
    """Return by how many rows and columns each plane lies beside the first; shape (planes, 2)."""
    return np.stack([_beside(plane.position_lps_mm, stack) for plane in stack.planes])


def _shift(straight: SliceStack, stack: SliceStack) -> NDArray[np.float64]:
    return _beside(straight.planes[0].position_lps_mm, stack)


def _beside(position: NDArray[np.float64], stack: SliceStack) -> NDArray[np.float64]:
    first = stack.planes[0]
    away = position - first.position_lps_mm
    return np.array([away @ first.column_lps / first.pixel_spacing_mm[0],
                     away @ first.row_lps / first.pixel_spacing_mm[1]])


def _depth_index(place: float, straight: SliceStack, stack: SliceStack) -> float:
    """Turn a fractional slice index of the upright grid into one of the true slices; beyond them extrapolated."""
    start, step_mm = straight.along_normal_mm[0], straight.slice_spacing_mm
    depth, along = start + place * step_mm, stack.along_normal_mm
    below = int(np.clip(np.searchsorted(along, depth, side="right") - 1, 0, len(along) - 2))
    return float(below + (depth - along[below]) / (along[below + 1] - along[below]))
