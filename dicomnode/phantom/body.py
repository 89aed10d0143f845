"""What surrounds the chest: skin, fat, muscle, ribs, spine, shoulders, arms, and the table below."""

# ruff: noqa: PLR2004 - an anatomy is drawn with numbers, each beside the shape it makes

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.canvas import LABEL_BACKGROUND, capsule, ellipsoid, rod, smooth_union, smoothstep
from dicomnode.phantom.thorax import SPINE_RADIUS_MM, spine_centre_y_mm

if TYPE_CHECKING:
    from dicomnode.phantom.build import Build
    from dicomnode.phantom.canvas import Canvas, Floats, Point, Region

SKIN_MM: Final = 2.0
SKIN_HU: Final = 10.0
BACK_SHIFT_MM: Final = 7.0
"""The trunk's outline lies this far behind the middle of the chest: the back muscles are thicker."""


def paint_trunk(canvas: Canvas, build: Build, cavity_mm: Floats) -> Floats:
    """Skin, subcutaneous fat and the muscle of the chest wall, from outside in; return the distance to the skin."""
    region = canvas.whole
    outline = _trunk(region, build)
    canvas.paint(region, outline, SKIN_HU)
    canvas.paint(region, outline + SKIN_MM, build.fat_hu)
    wall = build.wall_mm + 9.0 * smoothstep(10.0, 80.0, region.y) + 14.0 * smoothstep(20.0, 90.0, region.z)
    muscle = np.maximum(cavity_mm - wall, outline + SKIN_MM + 0.35 * build.fat_mm)
    canvas.paint(region, np.asarray(muscle, np.float32), build.muscle_hu)
    return outline


def trunk_half_axes_mm(build: Build) -> tuple[float, float]:
    """Half width and half depth of the trunk's outline at the level of the heart."""
    half_x = build.chest_half_width_mm + build.wall_mm + build.fat_mm
    return half_x, build.chest_half_depth_mm + build.wall_mm + 0.7 * build.fat_mm + BACK_SHIFT_MM


def _trunk(region: Region, build: Build) -> Floats:
    half_x, half_y = trunk_half_axes_mm(build)
    high = smoothstep(60.0, 150.0, region.z)
    wide, deep = half_x + 22.0 * high, half_y * (1.0 - 0.3 * high)
    y = region.y - BACK_SHIFT_MM
    reach = ((np.abs(region.x) / wide) ** 2.5 + (np.abs(y) / deep) ** 2.5) ** 0.4 + 1e-5
    top = build.apex_z_mm + 26.0
    flat = (1.0 - 1.0 / reach) * (np.sqrt(region.x**2 + y**2) + 1e-3)
    trunk = np.maximum(flat, region.z - top + 0.12 * np.abs(region.x))
    neck = np.sqrt(region.x**2 + (region.y - 26.0) ** 2) - 66.0
    neck = np.maximum(neck, build.apex_z_mm - 30.0 - region.z)
    shape = smooth_union(np.asarray(trunk, np.float32), np.asarray(neck, np.float32), 25.0)
    for side in (-1.0, 1.0):
        shoulder = ellipsoid(region, (side * (half_x - 6.0), 14.0, build.apex_z_mm - 2.0), (52.0, 55.0, 52.0))
        shape = smooth_union(shape, shoulder, 20.0)
        if build.breast_mm:
            centre = (side * 72.0, BACK_SHIFT_MM - half_y + 10.0, -14.0)
            breast = ellipsoid(region, centre, (62.0, build.breast_mm, 60.0))
            shape = smooth_union(shape, breast, 12.0)
    return shape


def paint_ribs(canvas: Canvas, build: Build, cavity_mm: Floats) -> None:
    """Twelve pairs of oblique ribs in the chest wall, with their cartilage in front, and the sternum."""
    region = canvas.whole
    shell = (cavity_mm > 0.5) & (cavity_mm < 12.5)
    shell &= np.broadcast_to(np.abs(region.x) > 12.0, shell.shape)
    shell &= np.broadcast_to(region.z < build.apex_z_mm + 4.0, shell.shape)
    iz, iy, ix = np.nonzero(shell)
    z, y, x = region.z[iz, 0, 0], region.y[0, iy, 0], region.x[0, 0, ix]
    phase = (z - 0.55 * y + 0.0006 * x * x) / build.rib_pitch_mm + build.rib_phase
    off = (phase - np.round(phase)) * build.rib_pitch_mm * 0.88
    depth = cavity_mm[iz, iy, ix] - 6.5
    distance = (np.sqrt((depth / 4.0) ** 2 + (off / 6.0) ** 2) - 1.0) * 4.6
    gristle = (y < -0.5 * build.chest_half_depth_mm) & (np.abs(x) < 0.62 * build.chest_half_width_mm)
    cortex = np.where(np.abs(distance + 1.0) < 1.2, build.bone_hu, 0.35 * build.bone_hu)
    density = np.where(gristle, 110.0, cortex).astype(np.float32)
    share = canvas.coverage(distance.astype(np.float32))
    target = canvas.hu_zyx[iz, iy, ix]
    canvas.hu_zyx[iz, iy, ix] = target + share * (density - target)
    _paint_sternum(canvas, build)


def _paint_sternum(canvas: Canvas, build: Build) -> None:
    front = -build.chest_half_depth_mm - 6.0
    for z, tilt in ((-35.0, 0.0), (0.0, 0.0), (38.0, 6.0), (70.0, 15.0)):
        centre: Point = (0.0, front + tilt, z)
        half: Point = (17.0, 7.0, 24.0)
        region = canvas.around(centre, half)
        shape = ellipsoid(region, centre, half)
        canvas.paint(region, shape, 0.6 * build.bone_hu)
        canvas.paint(region, shape + 2.5, 0.3 * build.bone_hu)


def paint_spine(canvas: Canvas, build: Build) -> None:
    """Vertebral bodies with discs between them, the canal, and the processes behind; none of it is lung."""
    centre_y, pitch = spine_centre_y_mm(build), 0.9 * build.rib_pitch_mm
    region = canvas.box((-45.0, centre_y - 25.0, -400.0), (45.0, centre_y + 60.0, 400.0))
    if region.empty:
        return
    radial = np.sqrt((region.x / 1.15) ** 2 + (region.y - centre_y) ** 2) - SPINE_RADIUS_MM
    level = np.abs(np.mod(region.z / pitch + build.rib_phase, 1.0) - 0.5) * 2.0 * pitch
    body = np.maximum(radial, 4.0 - level).astype(np.float32)
    canvas.paint(region, np.asarray(radial + 0.0 * region.z, np.float32), 90.0, label=LABEL_BACKGROUND)
    canvas.paint(region, body, 0.7 * build.bone_hu)
    canvas.paint(region, body + 2.5, 0.3 * build.bone_hu)
    wings = np.maximum(np.abs(region.x) - 34.0, np.abs(region.y - centre_y - 24.0 - 0.3 * np.abs(region.x)) - 4.0)
    wings = np.maximum(wings, np.abs(level - 0.5 * pitch) - 5.0)
    thorn = np.maximum(np.abs(region.x) - 3.0, np.abs(region.y - centre_y - 36.0) - 16.0)
    thorn = np.maximum(thorn, np.abs(level - 0.55 * pitch) - 8.0)
    arch = np.abs(np.sqrt(region.x**2 + (region.y - centre_y - 24.0) ** 2) - 11.5) - 2.0
    arch = np.maximum(arch, np.abs(level - 0.5 * pitch) - 9.0)
    bones = np.minimum(np.minimum(wings, thorn), arch).astype(np.float32)
    canvas.paint(region, bones, 0.6 * build.bone_hu, label=LABEL_BACKGROUND)
    canal = np.sqrt(region.x**2 + (region.y - centre_y - 24.0) ** 2) - 8.5
    canvas.paint(region, np.asarray(canal + 0.0 * region.z, np.float32), 30.0, label=LABEL_BACKGROUND)


def paint_shoulders(canvas: Canvas, build: Build) -> None:
    """Shoulder blades, collar bones, and the arms: raised beside the head or lying beside the trunk."""
    half_x, half_y = trunk_half_axes_mm(build)
    top = build.apex_z_mm
    for side in (-1.0, 1.0):
        joint: Point = (side * (half_x - 6.0), 10.0, top - 2.0)
        _bone(canvas, build, (side * 20.0, -0.62 * half_y, top - 34.0), joint, 5.5)
        blade_low: Point = (side * 0.72 * half_x, 0.72 * half_y, 10.0)
        blade_mid: Point = (side * 0.86 * half_x, 0.5 * half_y, top - 25.0)
        for shift in (0.0, 9.0, 18.0):
            end = (blade_mid[0] - side * shift, blade_mid[1] + 0.6 * shift, blade_mid[2])
            _bone(canvas, build, blade_low, end, 3.2)
        _bone(canvas, build, blade_mid, joint, 7.0)
        _paint_arm(canvas, build, joint, side)


def _paint_arm(canvas: Canvas, build: Build, joint: Point, side: float) -> None:
    if build.arms_up:
        end: Point = (joint[0] + side * 14.0, -18.0, joint[2] + 170.0)
    else:
        end = (joint[0] + side * 44.0, 24.0, joint[2] - 300.0)
    region = rod(canvas, joint, end, 46.0)
    if not region.empty:
        flesh = capsule(region, joint, end, (44.0, 38.0))
        air = canvas.hu_zyx[region.index] < -500.0
        canvas.paint(region, np.where(air, flesh, 99.0).astype(np.float32), build.fat_hu)
        canvas.paint(region, np.where(air, flesh + 9.0, 99.0).astype(np.float32), build.muscle_hu)
    _bone(canvas, build, joint, joint, 21.0)
    _bone(canvas, build, joint, end, 11.0)


def _bone(canvas: Canvas, build: Build, start: Point, end: Point, radius_mm: float) -> None:
    region = rod(canvas, start, end, radius_mm)
    if region.empty:
        return
    shape = capsule(region, start, end, (radius_mm, radius_mm))
    canvas.paint(region, shape, build.bone_hu)
    canvas.paint(region, shape + 0.35 * radius_mm + 1.0, 0.3 * build.bone_hu)
