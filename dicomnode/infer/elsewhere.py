"""A place or a box of one stack in index coordinates of another in the same frame of reference."""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.volume import SliceStack

Box = tuple[float, float, float, float, float, float]
Place = NDArray[np.float64]


def place_elsewhere(place_zyx: Place, stack: SliceStack, other: SliceStack) -> Place:
    """Return a place of one stack, fractional (slice, row, column), in the index coordinates of the other."""
    if stack is other or stack.series_uid == other.series_uid:
        return place_zyx
    return _index_zyx(stack.to_lps_mm(place_zyx), other)


def box_elsewhere(box_zyx: Box, stack: SliceStack, other: SliceStack) -> Box:
    """Return the box of the other stack that holds a box of one; larger than it where the axes are not parallel."""
    if stack is other or stack.series_uid == other.series_uid:
        return box_zyx
    corners = itertools.product(*((box_zyx[axis], box_zyx[axis + 3]) for axis in range(3)))
    found = np.array([_index_zyx(stack.to_lps_mm(corner), other) for corner in corners])
    z0, y0, x0 = map(float, found.min(axis=0))
    z1, y1, x1 = map(float, found.max(axis=0))
    return z0, y0, x0, z1, y1, x1


def _index_zyx(point_lps_mm: Place, stack: SliceStack) -> Place:
    """Return the index of a point of the patient by the true planes: the inverse of ``to_lps_mm``."""
    along, depth = stack.along_normal_mm, float(point_lps_mm @ stack.normal_lps)
    below = int(np.clip(np.searchsorted(along, depth, side="right") - 1, 0, max(0, len(along) - 2)))
    gap = along[below + 1] - along[below] if len(along) > 1 else stack.slice_spacing_mm
    z = below + (depth - along[below]) / gap
    beside, plane = point_lps_mm - stack.to_lps_mm((z, 0.0, 0.0)), stack.planes[0]
    row_mm, column_mm = plane.pixel_spacing_mm
    return np.array([z, beside @ plane.column_lps / row_mm, beside @ plane.row_lps / column_mm])
