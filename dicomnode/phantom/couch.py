"""What lies around the patient: the couch with its mattress, blankets and pillows, a cable with metal in it."""

# ruff: noqa: PLR2004 - a scene is drawn with numbers, each beside the shape it makes

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.body import BACK_SHIFT_MM, trunk_half_axes_mm
from dicomnode.phantom.canvas import capsule, rod
from dicomnode.phantom.texture import FINE_CELLS, cloud

if TYPE_CHECKING:
    from dicomnode.phantom.build import Build
    from dicomnode.phantom.canvas import Canvas, Floats, Point, Region

AIR_BELOW_HU: Final = -900.0
FAR_MM: Final = 99.0


def paint_table(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """A couch under the back: a mattress, two curved sheets, and foam between them."""
    _, half_y = trunk_half_axes_mm(build)
    top = half_y + BACK_SHIFT_MM + build.table_gap_mm
    curve, pad, thick = rng.uniform(0.0, 0.0012), rng.uniform(4.0, 14.0), rng.uniform(14.0, 40.0)
    half_width, foam_hu = rng.uniform(190.0, 230.0), rng.uniform(-985.0, -880.0)
    pad_hu, sheet_hu = rng.uniform(-960.0, -820.0), rng.uniform(-600.0, 100.0)
    region = canvas.box((-300.0, top - 60.0, -600.0), (300.0, 500.0, 600.0))
    if region.empty:
        return
    depth = region.y - top + curve * region.x**2 + 0.0 * region.z
    side = np.abs(region.x) - half_width
    for start, end, hu in ((0.0, pad, pad_hu), (pad, pad + thick, foam_hu), (pad, pad + 2.0, sheet_hu),
                           (pad + thick, pad + thick + 2.0, sheet_hu)):  # fmt: skip
        _paint_in_air(canvas, region, np.maximum(np.maximum(start - depth, depth - end), side), hu)


def paint_coverings(canvas: Canvas, rng: np.random.Generator, skin_mm: Floats) -> None:
    """In most scans cloth, blankets or cushions lie on or beside the skin: nearly air, uneven, not air.

    Parameters
    ----------
    skin_mm : signed distance to the skin over the whole canvas, positive outside.
    """
    if rng.random() < 0.3:
        return
    region = canvas.whole
    density = rng.uniform(-960.0, -640.0) + rng.uniform(10.0, 110.0) * cloud(rng, skin_mm.shape, cells=FINE_CELLS)
    gap, thick = float(rng.choice([0.0, rng.uniform(0.0, 15.0)])), rng.uniform(4.0, 90.0)
    edge = rng.uniform(-90.0, 60.0)
    shape = np.maximum(np.maximum(gap - skin_mm, skin_mm - gap - thick), region.y - edge)
    shape = np.maximum(shape, rng.uniform(-120.0, 60.0) - region.z if rng.random() < 0.3 else -FAR_MM)
    _paint_in_air(canvas, region, shape, np.clip(density, -1000.0, -350.0).astype(np.float32))


def paint_cable(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """In some scans a bright cable or tube lies before the chest."""
    if rng.random() < 0.6:
        return
    _, half_y = trunk_half_axes_mm(build)
    height = rng.uniform(-60.0, 130.0)
    start: Point = (rng.uniform(-120.0, 0.0), -half_y - rng.uniform(0.0, 25.0), height)
    end: Point = (rng.uniform(20.0, 140.0), -half_y - rng.uniform(-10.0, 25.0), height + rng.uniform(-80.0, 80.0))
    radius = rng.uniform(1.5, 4.0)
    region = rod(canvas, start, end, radius)
    if not region.empty:
        _paint_in_air(canvas, region, capsule(region, start, end, (radius, radius)), rng.uniform(400.0, 3000.0))


def _paint_in_air(canvas: Canvas, region: Region, distance_mm: Floats, hu: float | Floats) -> None:
    """Paint only where nothing but air is yet."""
    air = canvas.hu_zyx[region.index] < AIR_BELOW_HU
    canvas.paint(region, np.where(air, distance_mm, FAR_MM).astype(np.float32), hu)
