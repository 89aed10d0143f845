"""A brain MR from a seed: T1, contrast-enhanced T1, T2 and FLAIR on one grid, with the truth beside them."""

# ruff: noqa: PLR2004 - an anatomy is drawn with numbers, each beside the shape it makes

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.canvas import LABEL_BACKGROUND, Canvas, ellipsoid, smooth_union
from dicomnode.phantom.texture import cloud

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from dicomnode.phantom.canvas import Floats, Point, Region

SEQUENCES: Final = ("t1", "t1c", "t2", "flair")
LABEL_BRAIN: Final = 1
LABEL_VENTRICLE: Final = 2
LABEL_OEDEMA: Final = 3
LABEL_CORE: Final = 4
BRIGHTNESS: Final[Mapping[str, tuple[float, float, float, float]]] = {
    "air": (0, 0, 0, 0),
    "scalp": (880, 900, 620, 560),
    "muscle": (330, 350, 260, 290),
    "skull": (60, 60, 50, 50),
    "fluid": (150, 150, 980, 130),
    "grey": (450, 460, 560, 560),
    "white": (620, 630, 400, 430),
    "deep": (520, 530, 500, 500),
    "oedema": (400, 410, 820, 880),
    "core": (380, 900, 680, 640),
    "necrosis": (230, 240, 880, 380),
}
"""Brightness of each tissue in `SEQUENCES`, on an arbitrary scale of 0 to 1000."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrainPhantom:
    """A synthetic brain MR and what is in it.

    Parameters
    ----------
    mr_zyx : sequence name (`SEQUENCES`) to int16; z grows to the head, y to the back, x to the patient's left.
    truth_zyx : uint8 of the same shape: 0 background, 1 brain, 2 ventricle, 3 oedema, 4 tumour core.
    spacing_zyx_mm : distance between voxel centres.
    """

    mr_zyx: Mapping[str, NDArray[np.int16]]
    truth_zyx: NDArray[np.uint8]
    spacing_zyx_mm: tuple[float, float, float]


def brain_mr(
    seed: int,
    *,
    shape_zyx: tuple[int, int, int] = (88, 108, 88),
    spacing_zyx_mm: tuple[float, float, float] = (2.0, 2.0, 2.0),
    tumour: bool | None = None,
) -> BrainPhantom:
    """The same seed and arguments give the same brain, voxel for voxel.

    Parameters
    ----------
    tumour : whether there is one; by default the seed decides, two in three.

    Raises
    ------
    ValueError
        where shape or spacing is not positive.
    """
    if min(shape_zyx) < 2 or min(spacing_zyx_mm) <= 0:
        raise ValueError(
            f"shape_zyx is {shape_zyx}, spacing_zyx_mm is {spacing_zyx_mm}: at least 2 voxels and above 0 mm each"
        )
    rng = np.random.default_rng((seed, 0xB2))
    head = _Head(shape_zyx, spacing_zyx_mm)
    size = rng.uniform(0.92, 1.06)
    _draw_head(head, rng, size)
    if rng.random() < 2 / 3 if tumour is None else tumour:
        _draw_tumour(head, rng, size)
    return BrainPhantom(
        mr_zyx={name: _acquire(canvas.hu_zyx, rng) for name, canvas in head.canvases.items()},
        truth_zyx=head.canvases["t1"].label_zyx,
        spacing_zyx_mm=spacing_zyx_mm,
    )


class _Head:
    """One canvas for each sequence: a shape is laid on all of them, each with its own brightness."""

    def __init__(self, shape_zyx: tuple[int, int, int], spacing_zyx_mm: tuple[float, float, float]) -> None:
        self.canvases = {
            name: Canvas(shape_zyx, spacing_zyx_mm, centre_xyz_mm=(0.0, 0.0, 0.0), edge_mm=spacing_zyx_mm[1])
            for name in SEQUENCES
        }
        for canvas in self.canvases.values():
            canvas.hu_zyx[:] = 0.0
        self.whole: Region = self.canvases["t1"].whole

    def lay(self, tissue: str, distance_mm: Floats, label: int | None = None) -> None:
        """Paint a tissue wherever the distance is negative."""
        for canvas, brightness in zip(self.canvases.values(), BRIGHTNESS[tissue], strict=True):
            canvas.paint(self.whole, distance_mm, brightness, label=label)


def _draw_head(head: _Head, rng: np.random.Generator, size: float) -> None:
    """From the scalp inwards: skull, fluid, grey matter, folded white matter, deep nuclei, ventricles."""
    region = head.whole
    outline = ellipsoid(region, (0.0, 0.0, 0.0), (82.0 * size, 100.0 * size, 88.0 * size))
    head.lay("scalp", outline)
    head.lay("skull", outline + 6.0)
    brain = _brain(region, rng, size)
    head.lay("muscle", np.maximum(outline + 12.0, region.z + 20.0))
    head.lay("fluid", np.maximum(outline + 12.0, brain - 7.0))
    head.lay("grey", brain, LABEL_BRAIN)
    folds = cloud(rng, head.canvases["t1"].hu_zyx.shape, cells=23)
    head.lay("white", np.asarray(brain + 5.5 + 4.0 * np.abs(folds), np.float32))
    sulci = np.maximum(np.maximum(brain, -brain - 9.0), 5.0 * np.abs(folds - 1.0) - 1.2)
    head.lay("fluid", sulci.astype(np.float32), LABEL_BACKGROUND)
    for side in (-1.0, 1.0):
        nucleus: Point = (side * 22.0 * size, 0.0, 4.0)
        head.lay("deep", ellipsoid(region, nucleus, (9.0, 17.0, 11.0)))
    head.lay("fluid", _ventricles(region, rng, size), LABEL_VENTRICLE)


def _brain(region: Region, rng: np.random.Generator, size: float) -> Floats:
    gap = rng.uniform(1.0, 2.5)
    half: Point = (63.0 * size, 82.0 * size, 62.0 * size)
    halves = [ellipsoid(region, (side * 4.0, 0.0, 8.0), half) for side in (-1.0, 1.0)]
    cleft = gap - np.abs(region.x) + 0.06 * np.maximum(40.0 - np.abs(region.z - 60.0), 0.0)
    cleft = np.where(region.z > 28.0, cleft, -9.0)
    cerebrum = np.maximum(np.minimum(halves[0], halves[1]), cleft).astype(np.float32)
    cerebellum = ellipsoid(region, (0.0, 46.0 * size, -44.0 * size), (46.0 * size, 30.0 * size, 25.0 * size))
    stem = np.sqrt((region.x / 14.0) ** 2 + ((region.y - 14.0) / 13.0) ** 2) - 1.0
    stem = np.maximum(stem * 13.0, np.abs(region.z + 44.0) - 34.0).astype(np.float32)
    return smooth_union(smooth_union(cerebrum, cerebellum, 4.0), stem, 5.0)


def _ventricles(region: Region, rng: np.random.Generator, size: float) -> Floats:
    width = rng.uniform(5.0, 10.0)
    shape = ellipsoid(region, (0.0, 4.0, -4.0), (2.5, 12.0, 12.0))
    for side in (-1.0, 1.0):
        body = ellipsoid(region, (side * 11.0 * size, -4.0, 16.0), (width, 34.0 * size, 9.0))
        horn = ellipsoid(region, (side * 20.0 * size, 32.0 * size, 6.0), (width, 17.0, 8.0))
        shape = np.minimum(shape, smooth_union(body, horn, 6.0))
    return np.asarray(shape, np.float32)


def _draw_tumour(head: _Head, rng: np.random.Generator, size: float) -> None:
    """Oedema that follows the white matter, an enhancing core in it, sometimes necrotic inside."""
    region, labels = head.whole, head.canvases["t1"].label_zyx
    side = float(rng.choice([-1.0, 1.0]))
    centre: Point = (side * rng.uniform(22.0, 42.0) * size, rng.uniform(-45.0, 40.0) * size, rng.uniform(5.0, 38.0))
    radius = rng.uniform(7.0, 17.0)
    wavy = cloud(rng, labels.shape, cells=10)
    away = np.sqrt((region.x - centre[0]) ** 2 + (region.y - centre[1]) ** 2 + (region.z - centre[2]) ** 2)
    in_brain = labels == LABEL_BRAIN
    oedema = np.where(in_brain, away - radius - rng.uniform(5.0, 13.0) - 3.5 * wavy, 99.0)
    head.lay("oedema", oedema.astype(np.float32), LABEL_OEDEMA)
    core = np.where(labels > 0, away - radius - 1.2 * wavy, 99.0)
    head.lay("core", core.astype(np.float32), LABEL_CORE)
    if radius > 11.0:
        head.lay("necrosis", (core + 0.45 * radius).astype(np.float32), LABEL_CORE)


def _acquire(ideal_zyx: Floats, rng: np.random.Generator) -> NDArray[np.int16]:
    """Coil shading, an arbitrary scale, and Rician noise: what a magnitude image has."""
    shading = 1.0 + 0.09 * cloud(rng, ideal_zyx.shape, cells=4)
    noise = rng.uniform(8.0, 26.0)
    real = ideal_zyx * shading + noise * rng.standard_normal(ideal_zyx.shape, dtype=np.float32)
    imaginary = noise * rng.standard_normal(ideal_zyx.shape, dtype=np.float32)
    magnitude = np.hypot(real, imaginary) * rng.uniform(0.7, 1.6)
    return np.asarray(np.rint(np.clip(magnitude, 0, 4095)), np.int16)
