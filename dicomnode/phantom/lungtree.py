"""The lungs' own tissue: parenchyma, fissures, a branching tree of vessels and small bronchi."""

# ruff: noqa: PLR2004 - an anatomy is drawn with numbers, each beside the shape it makes

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

import numpy as np

from dicomnode.phantom.canvas import LABEL_BACKGROUND, LABEL_LUNG, capsule, points_region, rod, smoothstep
from dicomnode.phantom.texture import COARSE_CELLS, FINE_CELLS, cloud
from dicomnode.phantom.thorax import cavity, lungs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from dicomnode.phantom.build import Build
    from dicomnode.phantom.canvas import Canvas, Floats, Point

TRUNK_RADIUS_MM: Final = 3.6
"""Vessels thicker than this belong to the lung root, thinner ones to the lung."""
FINEST_RADIUS_MM: Final = 0.6
FISSURE_HU: Final = -650.0
THICKEST_RADIUS_MM: Final = 5.0

Branch: TypeAlias = "tuple[Point, Point, float, float]"


def paint_parenchyma(canvas: Canvas, build: Build, rng: np.random.Generator, lungs_mm: Floats) -> None:
    """Aerated lung, denser towards the back, uneven on a scale of centimetres, cut by the fissures."""
    region = canvas.whole
    patchy = cloud(rng, canvas.hu_zyx.shape, cells=COARSE_CELLS) * rng.uniform(5.0, 28.0)
    patchy += cloud(rng, canvas.hu_zyx.shape, cells=2 * FINE_CELLS) * rng.uniform(0.0, 30.0)
    slope = build.lung_gradient_hu / (2.0 * build.chest_half_depth_mm)
    density = build.lung_hu + slope * region.y + patchy
    canvas.paint(region, lungs_mm, np.maximum(density, -985.0).astype(np.float32), label=LABEL_LUNG)
    _paint_dependent_density(canvas, rng, lungs_mm)
    _paint_bullae(canvas, build, rng, lungs_mm)
    inside = canvas.label_zyx == LABEL_LUNG
    for side, tilt, offset in ((-1.0, -0.75, -4.0), (1.0, -0.8, 0.0)):
        sheet = np.abs(region.z - tilt * (region.y - 5.0) - offset) * 0.78 - 0.3
        sheet = np.where(inside & (region.x * side > 0), sheet, 99.0)
        canvas.paint(region, sheet.astype(np.float32), FISSURE_HU)


def _paint_bullae(canvas: Canvas, build: Build, rng: np.random.Generator, lungs_mm: Floats) -> None:
    if rng.random() > 0.3:
        return
    for _ in range(int(rng.integers(3, 30))):
        centre: Point = (rng.uniform(-110.0, 110.0), rng.uniform(-70.0, 70.0), rng.uniform(-30.0, build.apex_z_mm))
        radius = rng.uniform(3.0, 12.0)
        region = canvas.around(centre, (radius, radius, radius))
        ball = np.maximum(capsule(region, centre, centre, (radius, radius)), lungs_mm[region.index] + 1.0)
        canvas.paint(region, ball.astype(np.float32), -975.0)


def _paint_dependent_density(canvas: Canvas, rng: np.random.Generator, lungs_mm: Floats) -> None:
    """In some patients the lung that lies lowest is poorly aerated, up to opaque next to the pleura."""
    if rng.random() > 0.45:
        return
    region = canvas.whole
    reach_mm, added_hu = rng.uniform(3.0, 14.0), rng.uniform(60.0, 520.0)
    low = smoothstep(rng.uniform(5.0, 40.0), rng.uniform(60.0, 90.0), region.y)
    shore = np.clip(1.0 + lungs_mm / reach_mm, 0.0, 1.0)
    share = low * shore * (0.6 + 0.4 * cloud(rng, canvas.hu_zyx.shape, cells=12))
    share[canvas.label_zyx != LABEL_LUNG] = 0.0
    canvas.hu_zyx += np.clip(share, 0.0, 1.0) * added_hu


def grow_vessels(build: Build, rng: np.random.Generator) -> list[Branch]:
    """The vessels of both lungs: start, end (mm, x y z) and the radii there, thick to thin.

    Notes
    -----
    Each random place in the lung is joined to the nearest vessel that there is, the nearest places first; a vessel is
    as thick as the number of places it feeds demands. So the tree reaches every corner, as a real one does.
    """
    found: list[Branch] = []
    for side in (-1.0, 1.0):
        root = np.array([side * 34.0 + 4.0, 14.0, 8.0])
        places = _places(build, rng, side, int(rng.integers(260, 440)))
        found.extend(_join(rng, root, places))
    return found


def _places(build: Build, rng: np.random.Generator, side: float, count: int) -> NDArray[np.float64]:
    """Random points at least 4 mm deep in one lung, shape (n, 3), columns x y z in mm."""
    low = (0.0, -build.chest_half_depth_mm, -170.0)
    high = (build.chest_half_width_mm, build.chest_half_depth_mm, build.apex_z_mm)
    points = rng.uniform(low, high, size=(count * 6, 3)) * (side, 1.0, 1.0)
    region = points_region(points.astype(np.float32))
    deep = lungs(region, build, cavity(region, build))[:, 0, 0] < -4.0
    return np.asarray(points[deep][:count])


def _join(rng: np.random.Generator, root: NDArray[np.float64], places: NDArray[np.float64]) -> Iterator[Branch]:
    order = np.argsort(np.linalg.norm(places - root, axis=1))
    nodes, parent, path = [root], [-1], [0.0]
    for place in places[order]:
        known = np.array(nodes)
        away = np.linalg.norm(known - place, axis=1)
        near = int(np.argmin(away + 0.18 * np.array(path)))
        bend = 0.5 * (known[near] + place) + rng.normal(0.0, 0.09 * away[near], size=3)
        for node, stem in ((bend, near), (place, len(nodes))):
            nodes.append(node)
            parent.append(stem)
            path.append(path[stem] + float(np.linalg.norm(node - nodes[stem])))
    fed = np.ones(len(nodes))
    for number in range(len(nodes) - 1, 0, -1):
        fed[parent[number]] += fed[number]
    radii = np.minimum(FINEST_RADIUS_MM * fed**0.33, THICKEST_RADIUS_MM) * rng.uniform(0.85, 1.2)
    for number in range(1, len(nodes)):
        stem = parent[number]
        first = min(float(radii[stem]), 1.25 * float(radii[number]))
        yield _point(nodes[stem]), _point(nodes[number]), first, float(radii[number])


def _point(vector: NDArray[np.float64]) -> Point:
    return float(vector[0]), float(vector[1]), float(vector[2])


def paint_vessels(canvas: Canvas, build: Build, branches: list[Branch]) -> None:
    """Lay the vessels over the parenchyma; the thick ones near the root are not lung."""
    hu = max(build.blood_hu, 40.0)
    for start, end, first, last in branches:
        region = rod(canvas, start, end, first)
        if region.empty:
            continue
        shape = capsule(region, start, end, (first, last))
        inside = canvas.label_zyx[region.index] == LABEL_LUNG
        label = LABEL_BACKGROUND if last > TRUNK_RADIUS_MM else None
        canvas.paint(region, np.where(inside, shape, 99.0).astype(np.float32), hu, label=label)


def paint_bronchi(canvas: Canvas, branches: list[Branch], rng: np.random.Generator) -> None:
    """Small airways beside some vessels: a thin wall round a thread of air, all of it lung."""
    for start, end, first, _ in branches:
        if not 1.3 < first < 3.4 or rng.random() > 0.5:
            continue
        shift = rng.normal(size=3)
        shift *= 1.9 * first / np.linalg.norm(shift)
        begin, stop = _point(np.add(start, shift)), _point(np.add(end, shift))
        region = rod(canvas, begin, stop, first)
        if region.empty:
            continue
        shape = capsule(region, begin, stop, (0.95 * first, 0.75 * first))
        shape = np.where(canvas.label_zyx[region.index] == LABEL_LUNG, shape, 99.0).astype(np.float32)
        canvas.paint(region, shape, -150.0)
        canvas.paint(region, shape + 0.9, -960.0)
