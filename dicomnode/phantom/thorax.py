"""The inside of the chest as signed distances: cavity, mediastinum, diaphragm, and the lungs that they leave."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.canvas import ellipsoid, smooth_union, smoothstep

if TYPE_CHECKING:
    from dicomnode.phantom.build import Build
    from dicomnode.phantom.canvas import Canvas, Floats, Point, Region

SPINE_RADIUS_MM: Final = 17.0
AORTA_RADIUS_MM: Final = 12.0
OUTSIDE_MM: Final = 99.0
"""Stands for "far outside" where a distance is not computed."""
AXIS_EXPONENT: Final = 2.25
"""Of the chest's outline: 2 is an ellipse, larger is squarer."""


def spine_centre_y_mm(build: Build) -> float:
    """Where the vertebral bodies stand, seen from the middle of the chest."""
    return build.chest_half_depth_mm - 40.0


def cavity(region: Region, build: Build) -> Floats:
    """Signed distance in mm to the inner face of the rib cage, endless downwards: the abdomen is in it."""
    taper = np.clip((region.z + 20.0) / (build.apex_z_mm + 45.0), 0.0, 0.97)
    half_x = build.chest_half_width_mm * (1.0 - taper**3.0) ** 0.5
    half_y = build.chest_half_depth_mm * (1.0 - 0.7 * taper**2.6)
    y = region.y - 10.0 * taper
    power = (np.abs(region.x) / half_x) ** AXIS_EXPONENT + (np.abs(y) / half_y) ** AXIS_EXPONENT
    reach = power ** (1.0 / AXIS_EXPONENT) + 1e-5
    return np.asarray((1.0 - 1.0 / reach) * (np.sqrt(region.x**2 + y**2) + 1e-3), np.float32)


def diaphragm_z_mm(region: Region, build: Build) -> Floats:
    """Height of the diaphragm over each (y, x): two domes, deep behind and at the sides, shallow in front."""
    z_right = _dome(region, build, build.dome_right_z_mm, -66.0)
    z_left = _dome(region, build, build.dome_left_z_mm, 66.0)
    side = smoothstep(-14.0, 14.0, region.x)
    return np.asarray(z_right * (1.0 - side) + z_left * side, np.float32)


def _dome(region: Region, build: Build, top_mm: float, centre_x_mm: float) -> Floats:
    reach_x = 78.0 * build.chest_half_width_mm / 132.0
    reach_y = 84.0 * build.chest_half_depth_mm / 92.0
    dx, dy = region.x - centre_x_mm, region.y + 14.0
    sideways = np.where(dx * centre_x_mm > 0, 1.0, 0.36) * (dx / reach_x) ** 2
    fall = sideways + np.where(dy > 0, 1.1, 0.42) * (dy / reach_y) ** 2
    return np.asarray(top_mm - build.dome_height_mm * fall, np.float32)


def heart(region: Region, build: Build) -> Floats:
    """Signed distance in mm to the heart: its mass left of the midline, its apex to the left front."""
    k = build.heart_scale
    floor = max(build.dome_right_z_mm, build.dome_left_z_mm)
    right: Point = (4.0 + build.heart_shift_mm, -26.0, floor + 22.0)
    left: Point = (42.0 + build.heart_shift_mm, -36.0, floor + 12.0)
    atria = ellipsoid(region, right, (46.0 * k, 42.0 * k, 50.0 * k))
    ventricle = ellipsoid(region, left, (44.0 * k, 40.0 * k, 38.0 * k))
    return smooth_union(atria, ventricle, 14.0)


def descending_aorta(region: Region, build: Build) -> Floats:
    """Signed distance in mm to the descending aorta, left of and before the spine."""
    x, y = 19.0, spine_centre_y_mm(build) - 13.0
    flat = np.sqrt((region.x - x) ** 2 + (region.y - y) ** 2) - AORTA_RADIUS_MM * build.mediastinum_scale
    return np.asarray(np.maximum(flat, region.z - 44.0), np.float32)


def aortic_arch(region: Region, build: Build) -> Floats:
    """Signed distance in mm to ascending aorta and arch: half a ring that ends in the descending aorta."""
    low, high = (-14.0, -34.0), (19.0, spine_centre_y_mm(build) - 13.0)
    span = float(np.hypot(high[0] - low[0], high[1] - low[1]))
    ux, uy = (high[0] - low[0]) / span, (high[1] - low[1]) / span
    dx, dy = region.x - low[0], region.y - low[1]
    along, across = dx * ux + dy * uy - span / 2, dx * uy - dy * ux
    radius = (AORTA_RADIUS_MM + 1.0) * build.mediastinum_scale
    rise = np.maximum(region.z - 32.0, 0.0) * (span / 2 / 30.0)
    ring = np.sqrt(along**2 + rise**2) - span / 2
    arch = np.sqrt(ring**2 + across**2) - radius
    ascending = np.sqrt(dx**2 + dy**2) - radius - 1.0
    ascending = np.maximum(np.maximum(ascending, region.z - 36.0), -34.0 - region.z)
    return np.asarray(np.minimum(np.maximum(arch, 30.0 - region.z), ascending), np.float32)


def spine(region: Region, build: Build) -> Floats:
    """Signed distance in mm to the vertebral column: bodies, and the arches behind them."""
    centre_y = spine_centre_y_mm(build)
    bodies = np.sqrt((region.x / 1.1) ** 2 + (region.y - centre_y) ** 2) - SPINE_RADIUS_MM
    arches = np.maximum(np.abs(region.x) - 19.0, np.abs(region.y - centre_y - 28.0) - 13.0)
    return np.asarray(np.minimum(bodies, arches) + 0.0 * region.z, np.float32)


def mediastinum(region: Region, build: Build) -> Floats:
    """Signed distance in mm to all that lies between the lungs: heart, great vessels, gullet, spine, fat."""
    k = build.mediastinum_scale
    septum = np.abs(region.x - 3.0) - 4.5 + 0.0 * (region.y + region.z)
    upper = ellipsoid(region, (0.0, -2.0, 78.0), (29.0 * k, 36.0, 84.0))
    roots = ellipsoid(region, (1.0, 6.0, 8.0), (41.0 * k, 27.0, 30.0))
    shape = smooth_union(np.asarray(septum, np.float32), upper, 14.0)
    shape = smooth_union(shape, roots, 16.0)
    shape = smooth_union(shape, heart(region, build) - 2.5, 8.0)
    shape = smooth_union(shape, aortic_arch(region, build) - 1.5, 5.0)
    shape = smooth_union(shape, descending_aorta(region, build) - 1.0, 4.0)
    gullet = np.sqrt(region.x**2 + (region.y - spine_centre_y_mm(build) + 26.0) ** 2) - 13.0
    shape = smooth_union(shape, np.asarray(gullet + 0.0 * region.z, np.float32), 8.0)
    return smooth_union(shape, spine(region, build) - 3.0, 5.0)


def lungs(region: Region, build: Build, cavity_mm: Floats) -> Floats:
    """Signed distance in mm to the two lungs: the cavity above the diaphragm, less the mediastinum.

    Parameters
    ----------
    cavity_mm : what `cavity` says of the same region.
    """
    from_middle = np.abs(region.x) - 46.0
    roof_z = build.apex_z_mm - 62.0 * ((from_middle / 72.0) ** 2 + ((region.y - 16.0) / 80.0) ** 2)
    above = (diaphragm_z_mm(region, build) - region.z) * 0.75
    below = (region.z - roof_z) * 0.75
    shape = np.maximum(cavity_mm + 1.0, np.maximum(above, below))
    return np.asarray(np.maximum(shape, -mediastinum(region, build)), np.float32)


def lungs_on(canvas: Canvas, build: Build, cavity_mm: Floats) -> Floats:
    """`lungs` over the whole canvas, computed only where lung can be; elsewhere a constant outside."""
    half_x, half_y = build.chest_half_width_mm + 3.0, build.chest_half_depth_mm + 13.0
    deepest = min(build.dome_right_z_mm, build.dome_left_z_mm) - 2.6 * build.dome_height_mm
    region = canvas.box((-half_x, -half_y, deepest), (half_x, half_y, build.apex_z_mm + 3.0))
    everywhere = np.full(canvas.hu_zyx.shape, OUTSIDE_MM, np.float32)
    if not region.empty:
        everywhere[region.index] = lungs(region, build, cavity_mm[region.index])
    return everywhere
