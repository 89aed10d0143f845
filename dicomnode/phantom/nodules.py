"""Lung nodules: round or slightly lobed, free, against the pleura, or beside a vessel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from dicomnode.phantom.canvas import LABEL_LUNG, LABEL_NODULE, capsule, rod

if TYPE_CHECKING:
    from dicomnode.phantom.canvas import Canvas, Floats, Point
    from dicomnode.phantom.lungtree import Branch

ATTEMPTS: Final = 4000
CLEARANCE_MM: Final = 6.0
"""Two nodules keep at least this much lung between them."""
SPICULATED_FROM_MM: Final = 14.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomNodule:
    """One nodule of the truth.

    Parameters
    ----------
    centre_index_zyx : fractional voxel index of its centre.
    diameter_mm : diameter of the ball of the same volume.
    side : the patient's side it lies on.
    """

    centre_index_zyx: tuple[float, float, float]
    diameter_mm: float
    side: Literal["left", "right"]


def paint_nodules(
    canvas: Canvas,
    rng: np.random.Generator,
    lungs_mm: Floats,
    branches: list[Branch],
    diameters_mm: list[float],
) -> tuple[PhantomNodule, ...]:
    """Place and paint one nodule for each diameter, the largest first.

    Raises
    ------
    ValueError
        where the field of view holds no free lung for one of them.
    """
    placed: list[tuple[Point, float]] = []
    for diameter in sorted(diameters_mm, reverse=True):
        centre = _place(canvas, rng, lungs_mm, branches, diameter / 2.0, placed)
        placed.append((centre, diameter))
        _paint(canvas, rng, centre, diameter / 2.0)
    return tuple(
        PhantomNodule(
            centre_index_zyx=canvas.index_of(centre),
            diameter_mm=diameter,
            side="left" if centre[0] > 0 else "right",
        )
        for centre, diameter in placed
    )


def _place(
    canvas: Canvas,
    rng: np.random.Generator,
    lungs_mm: Floats,
    branches: list[Branch],
    radius: float,
    placed: list[tuple[Point, float]],
) -> Point:
    kind = rng.choice(["free", "pleural", "vascular"], p=[0.5, 0.25, 0.25])
    for attempt in range(ATTEMPTS):
        if attempt == ATTEMPTS // 2:
            kind = "free"
        point = _candidate(rng, branches, kind, radius)
        depth = _depth_mm(canvas, lungs_mm, point)
        limit = radius + 1.0
        fits = limit < depth < limit + 2.5 if kind == "pleural" else depth > limit + 1.5
        if fits and all(_gap_mm(point, other) > radius + wide / 2 + CLEARANCE_MM for other, wide in placed):
            return point
    raise ValueError(
        f"no room for a nodule of {2 * radius:.1f} mm after {ATTEMPTS} tries: the field of view holds too little "
        f"lung; ask for fewer or smaller nodules, or a larger shape_zyx"
    )


def _candidate(rng: np.random.Generator, branches: list[Branch], kind: str, radius: float) -> Point:
    if kind != "vascular":
        return rng.uniform(-140.0, 140.0), rng.uniform(-95.0, 95.0), rng.uniform(-140.0, 130.0)
    start, end, first, _ = branches[int(rng.integers(len(branches)))]
    shift = rng.normal(size=3)
    shift *= (radius + 0.5 * first) / np.linalg.norm(shift)
    middle = (np.add(start, end) / 2.0 + shift).tolist()
    return middle[0], middle[1], middle[2]


def _depth_mm(canvas: Canvas, lungs_mm: Floats, point: Point) -> float:
    """How deep a point lies in lung tissue; negative outside the lungs and outside the field of view."""
    z, y, x = (round(value) for value in canvas.index_of(point))
    shape = lungs_mm.shape
    if not (0 < z < shape[0] - 1 and 0 < y < shape[1] - 1 and 0 < x < shape[2] - 1):
        return -1.0
    if canvas.label_zyx[z, y, x] != LABEL_LUNG:
        return -1.0
    return -float(lungs_mm[z, y, x])


def _gap_mm(first: Point, second: Point) -> float:
    return float(np.linalg.norm(np.subtract(first, second)))


def _paint(canvas: Canvas, rng: np.random.Generator, centre: Point, radius: float) -> None:
    hu = rng.uniform(-60.0, 90.0)
    stretch = np.exp(rng.normal(0.0, 0.09, size=3))
    stretch /= np.prod(stretch) ** (1.0 / 3.0)
    wave, phase = rng.uniform(0.0, 0.07), rng.uniform(0.0, 6.283, size=3)
    half = 1.3 * radius
    region = canvas.around(centre, (half, half, half))
    dx, dy, dz = (
        (axis - at) / k for axis, at, k in zip((region.x, region.y, region.z), centre, stretch, strict=True)
    )
    away = np.sqrt(dx**2 + dy**2 + dz**2)
    lobes = sum(np.sin(4.0 * d / radius + p) for d, p in zip((dx, dy, dz), phase, strict=True))
    shape = np.asarray(away - radius * (1.0 + wave * lobes / 2.0), np.float32)
    if 2.0 * radius > SPICULATED_FROM_MM:
        _paint_spikes(canvas, rng, centre, radius)
    canvas.paint(region, shape, hu)
    labels = canvas.label_zyx[region.index]
    labels[(shape <= 0) & (labels == LABEL_LUNG)] = LABEL_NODULE


def _paint_spikes(canvas: Canvas, rng: np.random.Generator, centre: Point, radius: float) -> None:
    """Fine strands that radiate from a large nodule; they stay lung in the truth."""
    for _ in range(int(rng.integers(0, 14))):
        way = rng.normal(size=3)
        way *= radius * rng.uniform(1.2, 1.9) / np.linalg.norm(way)
        tip = np.add(centre, way).tolist()
        end: Point = (tip[0], tip[1], tip[2])
        region = rod(canvas, centre, end, 1.6)
        if region.empty:
            continue
        inside = canvas.label_zyx[region.index] == LABEL_LUNG
        strand = np.where(inside, capsule(region, centre, end, (1.6, 0.4)), 99.0)
        canvas.paint(region, strand.astype(np.float32), -150.0)
