"""What lies between and below the lungs: heart, great vessels, windpipe, liver, spleen, stomach, bowel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.canvas import LABEL_BACKGROUND, capsule, ellipsoid, rod
from dicomnode.phantom.thorax import aortic_arch, descending_aorta, diaphragm_z_mm, heart, spine_centre_y_mm

if TYPE_CHECKING:
    from dicomnode.phantom.build import Build
    from dicomnode.phantom.canvas import Canvas, Floats, Point

AIRWAY_HU: Final = -985.0
WALL_HU: Final = 20.0
MEDIASTINAL_FAT_HU: Final = -60.0


def paint_inside(canvas: Canvas, build: Build, rng: np.random.Generator, cavity_mm: Floats) -> None:
    """Fill the cavity: fat between the organs, then the abdomen below the diaphragm, then heart and vessels."""
    region = canvas.whole
    canvas.paint(region, cavity_mm, MEDIASTINAL_FAT_HU)
    _paint_abdomen(canvas, build, rng, cavity_mm)
    _paint_heart(canvas, build, rng)


def _paint_heart(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    region = canvas.box((-90.0, -110.0, -140.0), (110.0, 70.0, 60.0))
    if not region.empty:
        shape = heart(region, build)
        canvas.paint(region, shape, build.muscle_hu)
        canvas.paint(region, shape + 7.0, 0.8 * build.blood_hu + 10.0)
    region = canvas.box((-50.0, -70.0, -500.0), (60.0, 100.0, 110.0))
    if not region.empty:
        canvas.paint(region, descending_aorta(region, build), build.blood_hu)
        canvas.paint(region, aortic_arch(region, build), build.blood_hu)
    for x, y, radius in ((-20.0, -18.0, 9.0), (-12.0, -20.0, 6.0), (10.0, -14.0, 5.0), (24.0, 2.0, 5.0)):
        start, end = (x, y, 30.0), (1.6 * x, y - 4.0, build.apex_z_mm + 40.0)
        tube = rod(canvas, start, end, radius)
        if not tube.empty:
            canvas.paint(tube, capsule(tube, start, end, (radius, 0.8 * radius)), build.blood_hu)
    gullet_y = spine_centre_y_mm(build) - 27.0
    tube = rod(canvas, (2.0, gullet_y, -90.0), (0.0, gullet_y, 180.0), 8.0)
    if not tube.empty:
        canvas.paint(tube, capsule(tube, (2.0, gullet_y, -90.0), (0.0, gullet_y, 180.0), (7.0, 7.0)), 35.0)
    for z in rng.uniform(-60.0, 110.0, size=int(rng.integers(0, 4))).tolist():
        _tube(canvas, (1.0, gullet_y, z - 6.0), (1.0, gullet_y, z + 6.0), (2.5, 2.0), AIRWAY_HU)


def _paint_abdomen(canvas: Canvas, build: Build, rng: np.random.Generator, cavity_mm: Floats) -> None:
    whole = canvas.whole
    floor = diaphragm_z_mm(whole, build)
    under = np.maximum(cavity_mm + 2.0, whole.z - floor + 1.0).astype(np.float32)
    canvas.paint(whole, under, build.muscle_hu)
    canvas.paint(whole, under + 4.0, build.fat_hu)
    liver = np.maximum(under + 3.0, whole.x * 0.8 - 34.0 - 0.25 * (whole.z - build.dome_right_z_mm))
    liver = np.maximum(liver, build.dome_right_z_mm - 150.0 - whole.z)
    canvas.paint(whole, np.asarray(liver, np.float32), build.liver_hu)
    _paint_organ(canvas, under, (88.0, 38.0, build.dome_left_z_mm - 48.0), (34.0, 38.0, 50.0), build.liver_hu)
    for side in (-1.0, 1.0):
        _paint_organ(canvas, under, (side * 62.0, 42.0, build.dome_left_z_mm - 105.0), (28.0, 26.0, 50.0), 90.0)
    _paint_stomach(canvas, build, rng, under)
    for _ in range(build.bowel_gas):
        x, y = rng.uniform(-90.0, 90.0), -rng.uniform(0.2, 0.75) * build.chest_half_depth_mm
        centre = (x, y, build.dome_left_z_mm - rng.uniform(40.0, 120.0))
        half = (rng.uniform(8.0, 26.0), rng.uniform(6.0, 14.0), rng.uniform(8.0, 22.0))
        _paint_organ(canvas, under, centre, (half[0] + 4.0, half[1] + 4.0, half[2] + 4.0), 40.0)
        _paint_organ(canvas, under, centre, half, rng.uniform(-1000.0, -850.0))


def _paint_stomach(canvas: Canvas, build: Build, rng: np.random.Generator, under: Floats) -> None:
    centre: Point = (rng.uniform(42.0, 66.0), rng.uniform(-34.0, -6.0), build.dome_left_z_mm - rng.uniform(30.0, 48.0))
    half: Point = (rng.uniform(34.0, 50.0), rng.uniform(34.0, 52.0), rng.uniform(30.0, 46.0))
    _paint_organ(canvas, under, centre, half, 50.0)
    inner: Point = (half[0] - 4.0, half[1] - 4.0, half[2] - 4.0)
    _paint_organ(canvas, under + 2.0, centre, inner, rng.uniform(0.0, 60.0))
    if build.stomach_gas:
        region = canvas.around(centre, inner)
        if region.empty:
            return
        shape = np.maximum(ellipsoid(region, centre, inner), under[region.index] + 3.0)
        level = centre[1] - half[1] + 2.0 * half[1] * build.stomach_gas
        canvas.paint(region, np.maximum(shape, region.y - level).astype(np.float32), AIRWAY_HU)


def _paint_organ(canvas: Canvas, under: Floats, centre: Point, half: Point, hu: float) -> None:
    region = canvas.around(centre, half)
    if not region.empty:
        canvas.paint(region, np.maximum(ellipsoid(region, centre, half), under[region.index] + 3.0), hu)


def paint_airways(canvas: Canvas, build: Build, rng: np.random.Generator) -> None:
    """Windpipe and main bronchi, with their walls and the soft tissue of the lung roots; none of it is lung."""
    fork: Point = (rng.uniform(-3.0, 5.0), 12.0, rng.uniform(30.0, 42.0))
    width = rng.uniform(7.0, 10.5)
    upper: Point = (rng.uniform(-6.0, 4.0), 4.0, build.apex_z_mm + 60.0)
    right: Point = (fork[0] - 27.0, 14.0, fork[2] - 20.0)
    left: Point = (fork[0] + 40.0, 19.0, fork[2] - 26.0)
    tubes = [
        (fork, upper, width, width), (fork, right, 0.8 * width, 0.7 * width), (fork, left, 0.75 * width, 0.6 * width),
        (right, (right[0] - 9.0, right[1] + 2.0, right[2] - 26.0), 0.62 * width, 0.4 * width),
        (right, (right[0] - 18.0, right[1] - 4.0, right[2] + 13.0), 0.5 * width, 0.34 * width),
        (left, (left[0] + 7.0, left[1] + 5.0, left[2] - 26.0), 0.55 * width, 0.36 * width),
        (left, (left[0] + 14.0, left[1] - 6.0, left[2] + 11.0), 0.46 * width, 0.32 * width),
    ]  # fmt: skip
    for roots in (right, left):
        half: Point = (rng.uniform(11.0, 17.0), rng.uniform(12.0, 17.0), rng.uniform(15.0, 24.0))
        region = canvas.around(roots, half)
        canvas.paint(region, ellipsoid(region, roots, half), build.blood_hu, label=LABEL_BACKGROUND)
    for start, end, first, last in tubes:
        _tube(canvas, start, end, (first + 2.0, last + 2.0), WALL_HU)
    for start, end, first, last in tubes:
        _tube(canvas, start, end, (first, last), AIRWAY_HU)


def _tube(canvas: Canvas, start: Point, end: Point, radii: tuple[float, float], hu: float) -> None:
    region = rod(canvas, start, end, max(radii))
    if not region.empty:
        canvas.paint(region, capsule(region, start, end, radii), hu, label=LABEL_BACKGROUND)
