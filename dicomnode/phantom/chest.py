"""A chest CT from a seed, with the truth beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.body import paint_ribs, paint_shoulders, paint_spine, paint_trunk
from dicomnode.phantom.build import Build, draw_build
from dicomnode.phantom.canvas import LABEL_NODULE, Canvas
from dicomnode.phantom.couch import paint_cable, paint_coverings, paint_table
from dicomnode.phantom.lungtree import grow_vessels, paint_bronchi, paint_parenchyma, paint_vessels
from dicomnode.phantom.nodules import PhantomNodule, paint_nodules
from dicomnode.phantom.organs import paint_airways, paint_inside
from dicomnode.phantom.scanner import draw_scanner, scan
from dicomnode.phantom.texture import roughen_soft_tissue
from dicomnode.phantom.thorax import cavity, lungs_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_SHAPE_ZYX: Final = (120, 256, 256)
DEFAULT_SPACING_ZYX_MM: Final = (2.5, 1.4, 1.4)
DEFAULT_DIAMETERS_MM: Final = (4.0, 15.0)
MIN_VOXELS: Final = 2
HALF: Final = 0.5
"""A slice bears the label that at least this share of its layers bears."""
FINEST_LAYER_MM: Final = 3.2
"""Slices thicker than this are averaged from thinner layers, so that partial volume is what a scanner makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChestPhantom:
    """A synthetic chest CT and what is in it.

    Parameters
    ----------
    hu_zyx : int16, Hounsfield units; z grows to the head, y to the back, x to the patient's left (axial LPS,
        identity orientation).
    truth_zyx : uint8 of the same shape: 0 background, 1 lung (with its small vessels and bronchi), 2 nodule.
    spacing_zyx_mm : distance between voxel centres.
    nodules : each nodule of the truth, the largest first.
    """

    hu_zyx: NDArray[np.int16]
    truth_zyx: NDArray[np.uint8]
    spacing_zyx_mm: tuple[float, float, float]
    nodules: tuple[PhantomNodule, ...]


def chest_ct(
    seed: int,
    *,
    shape_zyx: tuple[int, int, int] = DEFAULT_SHAPE_ZYX,
    spacing_zyx_mm: tuple[float, float, float] = DEFAULT_SPACING_ZYX_MM,
    nodules: int | None = None,
    nodule_diameters_mm: tuple[float, float] = DEFAULT_DIAMETERS_MM,
    centre_xyz_mm: tuple[float, float, float] = (0.0, 0.0, 0.0),
    edge_mm: float | None = None,
) -> ChestPhantom:
    """The same seed and arguments give the same chest, voxel for voxel; another seed gives another person.

    Parameters
    ----------
    seed : 0 or more.
    nodules : how many; by default the seed draws 0 to 5.
    nodule_diameters_mm : smallest and largest diameter; the draw is even in the logarithm.
    centre_xyz_mm : the anatomical point (left, back, head of the middle of the chest) in the middle of the field
        of view.
    edge_mm : the scanner's resolution; by default the mean in-plane spacing.

    Raises
    ------
    ValueError
        where shape or spacing is not positive, or the field of view holds too little lung for the nodules asked for.

    Notes
    -----
    Drawn, not simulated: signed distances with softened edges cost a second, where projections and their
    reconstruction would cost minutes and teach a segmentation network little more.
    """
    _check(shape_zyx, spacing_zyx_mm, nodule_diameters_mm)
    rng = np.random.default_rng(seed)
    build = draw_build(rng)
    layers = max(1, int(np.ceil(spacing_zyx_mm[0] / FINEST_LAYER_MM)))
    canvas = Canvas(
        (shape_zyx[0] * layers, shape_zyx[1], shape_zyx[2]),
        (spacing_zyx_mm[0] / layers, spacing_zyx_mm[1], spacing_zyx_mm[2]),
        centre_xyz_mm=(centre_xyz_mm[0] + build.lateral_shift_mm, centre_xyz_mm[1] + 8.0, centre_xyz_mm[2]),
        edge_mm=edge_mm or (spacing_zyx_mm[1] + spacing_zyx_mm[2]) / 2.0,
    )
    count = int(rng.integers(0, 6)) if nodules is None else nodules
    low, high = nodule_diameters_mm
    diameters = np.exp(rng.uniform(np.log(low), np.log(high), size=count)).tolist()
    found = _draw(canvas, build, rng, diameters)
    hu_zyx, truth_zyx = _merge_layers(canvas, layers)
    return ChestPhantom(
        hu_zyx=scan(hu_zyx, draw_scanner(rng), rng),
        truth_zyx=truth_zyx,
        spacing_zyx_mm=spacing_zyx_mm,
        nodules=tuple(_in_slices(nodule, layers) for nodule in found),
    )


def _check(shape: tuple[int, int, int], spacing: tuple[float, float, float], diameters: tuple[float, float]) -> None:
    if min(shape) < MIN_VOXELS:
        raise ValueError(f"shape_zyx is {shape}: each of the three needs at least {MIN_VOXELS} voxels")
    if min(spacing) <= 0:
        raise ValueError(f"spacing_zyx_mm is {spacing}: each of the three must be above 0 mm")
    if not 0 < diameters[0] <= diameters[1]:
        raise ValueError(f"nodule_diameters_mm is {diameters}: give the smallest, above 0 mm, then the largest")


def _draw(
    canvas: Canvas, build: Build, rng: np.random.Generator, diameters_mm: list[float]
) -> tuple[PhantomNodule, ...]:
    """Paint from outside in and from large to small: what comes later lies on top."""
    cavity_mm = cavity(canvas.whole, build)
    lungs_mm = lungs_on(canvas, build, cavity_mm)
    skin_mm = paint_trunk(canvas, build, cavity_mm)
    paint_ribs(canvas, build, cavity_mm)
    paint_inside(canvas, build, rng, cavity_mm)
    paint_shoulders(canvas, build)
    roughen_soft_tissue(canvas, rng)
    paint_cable(canvas, build, rng)
    paint_table(canvas, build, rng)
    paint_coverings(canvas, rng, skin_mm)
    paint_parenchyma(canvas, build, rng, lungs_mm)
    paint_spine(canvas, build)
    branches = grow_vessels(build, rng)
    paint_vessels(canvas, build, branches)
    paint_bronchi(canvas, branches, rng)
    paint_airways(canvas, build, rng)
    return paint_nodules(canvas, rng, lungs_mm, branches, diameters_mm)


def _merge_layers(canvas: Canvas, layers: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    if layers == 1:
        return canvas.hu_zyx, canvas.label_zyx
    tall, rows, columns = canvas.hu_zyx.shape
    split = (tall // layers, layers, rows, columns)
    hu_zyx = canvas.hu_zyx.reshape(split).mean(axis=1)
    labels = canvas.label_zyx.reshape(split)
    truth_zyx = ((labels > 0).mean(axis=1) >= HALF).astype(np.uint8)
    truth_zyx[(labels == LABEL_NODULE).mean(axis=1) >= HALF] = LABEL_NODULE
    return hu_zyx, truth_zyx


def _in_slices(nodule: PhantomNodule, layers: int) -> PhantomNodule:
    z, y, x = nodule.centre_index_zyx
    centre = ((z + 0.5) / layers - 0.5, y, x)
    return PhantomNodule(centre_index_zyx=centre, diameter_mm=nodule.diameter_mm, side=nodule.side)
