"""A voxel canvas in millimetres: shapes are signed distances, edges are softened to the scanner's resolution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Floats: TypeAlias = NDArray[np.float32]
Point: TypeAlias = tuple[float, float, float]
"""A point or a triple of half-axes in millimetres, ordered (x, y, z): left, posterior, head."""

LABEL_BACKGROUND: Final = 0
LABEL_LUNG: Final = 1
LABEL_NODULE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A box of the canvas: where it lies in the arrays, and the coordinates of its voxel centres in mm.

    ``z``, ``y`` and ``x`` broadcast against each other to the shape of the box, in (z, y, x) order.
    """

    index: tuple[slice, slice, slice]
    z: Floats
    y: Floats
    x: Floats

    @property
    def empty(self) -> bool:
        """True where the box misses the field of view."""
        return 0 in (self.z.size, self.y.size, self.x.size)


def points_region(points_xyz_mm: Floats) -> Region:
    """A region of loose points, shape (n, 1, 1): distances can be asked of it, nothing can be painted on it."""
    x, y, z = (column.astype(np.float32)[:, None, None] for column in points_xyz_mm.T)
    return Region(index=(slice(0), slice(0), slice(0)), z=z, y=y, x=x)


class Canvas:
    """Hounsfield units and labels on one grid; x grows to the left, y to the back, z to the head.

    Parameters
    ----------
    shape_zyx : number of voxels along z, y, x.
    spacing_zyx_mm : distance between voxel centres along z, y, x.
    centre_xyz_mm : the anatomical point that lies in the middle of the field of view.
    edge_mm : width over which an edge goes from one tissue to the other.
    """

    def __init__(
        self,
        shape_zyx: tuple[int, int, int],
        spacing_zyx_mm: tuple[float, float, float],
        *,
        centre_xyz_mm: Point,
        edge_mm: float,
    ) -> None:
        self.hu_zyx: Floats = np.full(shape_zyx, -1000.0, np.float32)
        self.label_zyx: NDArray[np.uint8] = np.zeros(shape_zyx, np.uint8)
        self.edge_mm = edge_mm
        self.spacing_zyx_mm = spacing_zyx_mm
        self._axes_zyx = tuple(
            ((np.arange(count) - (count - 1) / 2) * step + centre).astype(np.float32)
            for count, step, centre in zip(shape_zyx, spacing_zyx_mm, reversed(centre_xyz_mm), strict=True)
        )

    @property
    def whole(self) -> Region:
        """The region that is the whole canvas."""
        return self._region((slice(None), slice(None), slice(None)))

    def box(self, low: Point, high: Point) -> Region:
        """The smallest region that holds every voxel centre between two corners, given in mm as (x, y, z)."""
        bounds = zip(self._axes_zyx, reversed(low), reversed(high), strict=True)
        cuts = [
            slice(int(np.searchsorted(axis, lo)), int(np.searchsorted(axis, hi, side="right")))
            for axis, lo, hi in bounds
        ]
        return self._region((cuts[0], cuts[1], cuts[2]))

    def around(self, centre: Point, half: Point) -> Region:
        """The region of half-axes ``half`` about ``centre``, both in mm as (x, y, z), one edge width wider."""
        low = tuple(c - h - self.edge_mm for c, h in zip(centre, half, strict=True))
        high = tuple(c + h + self.edge_mm for c, h in zip(centre, half, strict=True))
        return self.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))

    def coverage(self, distance_mm: Floats) -> Floats:
        """How much of each voxel the shape covers: 1 inside, 0 outside, 0.5 on its surface."""
        return np.asarray(np.clip(0.5 - distance_mm / self.edge_mm, 0.0, 1.0), np.float32)

    def paint(self, region: Region, distance_mm: Floats, hu: float | Floats, *, label: int | None = None) -> None:
        """Lay a tissue over what is there; voxels at least half covered take the label, if one is given."""
        if region.empty:
            return
        target = self.hu_zyx[region.index]
        target += self.coverage(distance_mm) * (hu - target)
        if label is not None:
            self.label_zyx[region.index][distance_mm <= 0] = label

    def index_of(self, point: Point) -> tuple[float, float, float]:
        """Fractional voxel index (z, y, x) of a point in mm, given as (x, y, z)."""
        found = [
            float((value - axis[0]) / step)
            for value, axis, step in zip(reversed(point), self._axes_zyx, self.spacing_zyx_mm, strict=True)
        ]
        return found[0], found[1], found[2]

    def _region(self, index: tuple[slice, slice, slice]) -> Region:
        z, y, x = (axis[cut] for axis, cut in zip(self._axes_zyx, index, strict=True))
        return Region(index=index, z=z[:, None, None], y=y[None, :, None], x=x[None, None, :])


def ellipsoid(region: Region, centre: Point, half: Point) -> Floats:
    """Signed distance in mm to an axis-aligned ellipsoid (first-order, exact on its surface)."""
    dx, dy, dz = region.x - centre[0], region.y - centre[1], region.z - centre[2]
    first = np.sqrt((dx / half[0]) ** 2 + (dy / half[1]) ** 2 + (dz / half[2]) ** 2)
    second = np.sqrt((dx / half[0] ** 2) ** 2 + (dy / half[1] ** 2) ** 2 + (dz / half[2] ** 2) ** 2)
    return np.asarray(first * (first - 1.0) / np.maximum(second, 1e-6), np.float32)


def capsule(region: Region, start: Point, end: Point, radii: tuple[float, float]) -> Floats:
    """Signed distance in mm to a rod with round ends, its radius going from ``radii[0]`` to ``radii[1]``."""
    axis = np.subtract(end, start).astype(np.float32)
    dx, dy, dz = region.x - start[0], region.y - start[1], region.z - start[2]
    length = max(float(axis @ axis), 1e-6)
    along = np.clip((dx * axis[0] + dy * axis[1] + dz * axis[2]) / length, 0.0, 1.0)
    off = np.sqrt((dx - along * axis[0]) ** 2 + (dy - along * axis[1]) ** 2 + (dz - along * axis[2]) ** 2)
    return np.asarray(off - (radii[0] + along * (radii[1] - radii[0])), np.float32)


def rod(canvas: Canvas, start: Point, end: Point, radius_mm: float) -> Region:
    """The region that holds a capsule of this radius."""
    low = [min(a, b) - radius_mm - canvas.edge_mm for a, b in zip(start, end, strict=True)]
    high = [max(a, b) + radius_mm + canvas.edge_mm for a, b in zip(start, end, strict=True)]
    return canvas.box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def smooth_union(first: Floats, second: Floats, blend_mm: float) -> Floats:
    """The union of two shapes with a fillet of about ``blend_mm`` where they meet."""
    mix = np.clip(0.5 + 0.5 * (second - first) / blend_mm, 0.0, 1.0)
    return np.asarray(second + mix * (first - second) - blend_mm * mix * (1.0 - mix), np.float32)


def smoothstep(low: float, high: float, value: Floats) -> Floats:
    """Zero below ``low``, one above ``high``, an S-curve between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float32)
