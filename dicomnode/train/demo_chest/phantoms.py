"""Phantoms as a network sees them: on its grid, in RAS order, scaled, with the truth; and patches drawn from them."""

# ruff: noqa: PLR2004 - the shares and ranges of the draw stand where they are drawn

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from dicomnode.phantom.chest import ChestPhantom, chest_ct

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

GRID_MM: Final = 2.0
"""The network's isotropic voxel."""
SCALE_LOW_HU: Final = -1024.0
SCALE_HIGH_HU: Final = 300.0
SLICE_SPACINGS_MM: Final = (1.0, 1.25, 2.0, 2.5, 3.0, 4.0, 5.0)
TRAINING_DIAMETERS_MM: Final = (3.6, 30.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One phantom on the network's grid.

    Parameters
    ----------
    hu_xyz : int16, axes to the right, front and head (RAS), 2 mm isotropic.
    truth_xyz : uint8 labels of the same shape.
    nodules_xyz : indices (n, 3) of nodule voxels, for drawing patches around them.
    lungs_xyz : indices (n, 3) of some lung voxels.
    decoys_xyz : indices (n, 3) of some voxels as thin as lung that are not lung: cloth, foam, gas, edges.
    """

    hu_xyz: NDArray[np.int16]
    truth_xyz: NDArray[np.uint8]
    nodules_xyz: NDArray[np.int32]
    lungs_xyz: NDArray[np.int32]
    decoys_xyz: NDArray[np.int32]


def training_case(seed: int) -> Case:
    """A phantom whose slice spacing, resolution, field of view and position vary as they do from site to site."""
    rng = np.random.default_rng((seed, 0xC7))
    slice_mm = float(rng.choice(SLICE_SPACINGS_MM))
    width = int(rng.integers(120, 200))
    height = int(rng.uniform(170.0, 340.0) / slice_mm)
    centre = (rng.uniform(-20.0, 20.0), rng.uniform(-15.0, 15.0), rng.uniform(-45.0, 40.0))
    phantom = chest_ct(
        seed,
        shape_zyx=(height, width, width),
        spacing_zyx_mm=(slice_mm, GRID_MM, GRID_MM),
        nodules=int(rng.integers(3, 9)),
        nodule_diameters_mm=TRAINING_DIAMETERS_MM,
        centre_xyz_mm=centre,
        edge_mm=rng.uniform(0.7, 2.4),
    )
    return _outside_circle(case_of(phantom), rng)


def held_out_phantom(seed: int) -> ChestPhantom:
    """The phantom that scores are measured on: the product's own default, nothing tuned for training."""
    return chest_ct(seed, nodules=1 + seed % 5)


def case_of(phantom: ChestPhantom) -> Case:
    """Bring a phantom to 2 mm, as the bundle's ``Orientationd`` and ``Spacingd`` do: linear, from the first centre."""
    hu = phantom.hu_zyx.astype(np.float32)
    truth = phantom.truth_zyx
    for axis, step in enumerate(phantom.spacing_zyx_mm):
        if abs(step - GRID_MM) > 1e-6:
            hu, truth = _resample(hu, step, axis), _nearest(truth, step, axis)
    hu_xyz = np.ascontiguousarray(np.rint(hu).astype(np.int16).transpose(2, 1, 0)[::-1, ::-1])
    truth_xyz = np.ascontiguousarray(truth.transpose(2, 1, 0)[::-1, ::-1])
    return indexed(hu_xyz, truth_xyz)


def indexed(hu_xyz: NDArray[np.int16], truth_xyz: NDArray[np.uint8]) -> Case:
    """A case with the lists of voxels that patches are drawn around."""
    decoys = (truth_xyz == 0) & (hu_xyz > -960) & (hu_xyz < -600)
    return Case(
        hu_xyz=hu_xyz,
        truth_xyz=truth_xyz,
        nodules_xyz=np.argwhere(truth_xyz == 2).astype(np.int32),
        lungs_xyz=np.argwhere(truth_xyz == 1)[::97].astype(np.int32),
        decoys_xyz=np.argwhere(decoys)[::97].astype(np.int32),
    )


def _positions(count: int, step: float) -> NDArray[np.float64]:
    new_count = int(np.ceil((count - 1) * step / GRID_MM)) + 1
    return np.asarray(np.minimum(np.arange(new_count) * GRID_MM / step, count - 1.0))


def _resample(values: NDArray[np.float32], step: float, axis: int) -> NDArray[np.float32]:
    at = _positions(values.shape[axis], step)
    low = np.minimum(at.astype(int), values.shape[axis] - 2)
    share = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    return np.asarray(np.take(values, low, axis) * (1.0 - share) + np.take(values, low + 1, axis) * share)


def _nearest(values: NDArray[np.uint8], step: float, axis: int) -> NDArray[np.uint8]:
    return np.take(values, np.rint(_positions(values.shape[axis], step)).astype(int), axis)


def _outside_circle(case: Case, rng: np.random.Generator) -> Case:
    """In some scans nothing is reconstructed outside a circle; those voxels hold the lowest value."""
    if rng.random() < 0.6:
        return case
    half = case.hu_xyz.shape[0] / 2.0
    axis = np.arange(case.hu_xyz.shape[0]) + 0.5 - half
    outside = axis[:, None] ** 2 + axis[None, :] ** 2 > half**2
    case.hu_xyz[outside] = int(SCALE_LOW_HU)
    case.truth_xyz[outside] = 0
    return indexed(case.hu_xyz, case.truth_xyz)


def scaled(hu: NDArray[np.int16] | NDArray[np.float32]) -> NDArray[np.float32]:
    """HU to 0..1 between -1024 and 300, clipped: the bundle's ``ScaleIntensityRanged``."""
    return np.asarray(np.clip((hu - SCALE_LOW_HU) / (SCALE_HIGH_HU - SCALE_LOW_HU), 0.0, 1.0), np.float32)


class Patches:
    """Draws training patches: around nodules, within lungs, and anywhere, mirrored left to right half the time.

    Parameters
    ----------
    decoy_share : share of the patches that lie around what is as thin as lung and is not, in place of anywhere.
    """

    def __init__(self, cases: Sequence[Case], seed: int, *, decoy_share: float = 0.0) -> None:
        self._cases = cases
        self._decoys_below = 0.62 + decoy_share
        self._rng = np.random.default_rng((seed, 0x9A7C))

    def draw(self, count: int, size: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Images (count, 1, size, size, size), scaled and varied, and labels of the same shape."""
        drawn = [self._one(size) for _ in range(count)]
        images = np.stack([image for image, _ in drawn])[:, None]
        labels = np.stack([label for _, label in drawn])[:, None].astype(np.int64)
        return images, labels

    def _one(self, size: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        rng = self._rng
        case = self._cases[int(rng.integers(len(self._cases)))]
        corner = self._corner(case, size)
        cut = tuple(slice(start, start + size) for start in corner)
        hu = case.hu_xyz[cut].astype(np.float32)
        label = case.truth_xyz[cut]
        short = [(0, size - n) for n in hu.shape]
        if any(after for _, after in short):
            hu = np.pad(hu, short, constant_values=SCALE_LOW_HU)
            label = np.pad(label, short)
        hu = hu * rng.uniform(0.96, 1.04) + rng.uniform(-25.0, 25.0)
        hu += rng.standard_normal(hu.shape, dtype=np.float32) * rng.uniform(0.0, 45.0)
        if rng.random() < 0.5:
            hu, label = hu[::-1], label[::-1]
        return scaled(hu), label

    def _corner(self, case: Case, size: int) -> list[int]:
        rng = self._rng
        chance = rng.random()
        if chance < 0.4 and len(case.nodules_xyz):
            middle = case.nodules_xyz[int(rng.integers(len(case.nodules_xyz)))]
        elif chance < 0.62 and len(case.lungs_xyz):
            middle = case.lungs_xyz[int(rng.integers(len(case.lungs_xyz)))]
        elif chance < self._decoys_below and len(case.decoys_xyz):
            middle = case.decoys_xyz[int(rng.integers(len(case.decoys_xyz)))]
        else:
            middle = rng.integers(0, case.hu_xyz.shape)
        start = middle - size // 2 + rng.integers(-size // 4, size // 4 + 1, size=3)
        return [int(np.clip(s, 0, max(n - size, 0))) for s, n in zip(start, case.hu_xyz.shape, strict=True)]
