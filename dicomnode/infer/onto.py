"""One input on the grid of another: interpolated through the patient, where the model file allows it."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from scipy import ndimage

from dicomnode.domain.volume import SliceStack, Volume

SAME_GRID_MM: Final = 1e-2
"""Largest difference between affines of inputs that count as lying on one grid."""
HALF: Final = 0.5 + 1e-4
"""Half a voxel, and what rounding adds."""


def on_one_grid(one: SliceStack, other: SliceStack) -> bool:
    """Whether two stacks have the same voxels in the same places."""
    return one.shape_zyx == other.shape_zyx and np.allclose(one.affine_lps_mm, other.affine_lps_mm, atol=SAME_GRID_MM)


def onto(volume: Volume, stack: SliceStack) -> Volume:
    """Return the values of ``volume`` at the voxel centres of ``stack``, trilinear between its own voxel centres.

    Both must share a Frame of Reference: the caller sees to it. Up to half a voxel beyond the outermost centres the
    outermost values hold, as the voxels reach so far; where the volume does not reach, its smallest value.

    Returns
    -------
    Volume
        float32, shape ``stack.shape_zyx``, on ``stack``.

    Notes
    -----
    Not smoothed before: what MONAI's ResampleToMatch gives, and what such networks were trained with.
    """
    there = np.linalg.inv(volume.stack.affine_lps_mm) @ stack.affine_lps_mm
    values = np.pad(np.asarray(volume.values_zyx, dtype=np.float32), 1, mode="edge")
    lowest = float(volume.values_zyx.min())
    offset = there[:3, 3] + 1
    found = ndimage.affine_transform(values, there[:3, :3], offset, stack.shape_zyx, order=1, mode="constant",
                                     cval=lowest, prefilter=False)
    found[_beyond(there, volume.stack, stack)] = lowest
    return replace(volume, values_zyx=np.asarray(found, dtype=np.float32), stack=stack)


def _beyond(there: np.ndarray[tuple[int, ...], np.dtype[np.float64]], source: SliceStack, target: SliceStack
            ) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Return which voxels of ``target`` have their centre outside every voxel of ``source``."""
    outside = np.zeros(target.shape_zyx, dtype=bool)
    z, y, x = (np.arange(size, dtype=np.float32) for size in target.shape_zyx)
    for axis, size in enumerate(source.shape_zyx):
        along = (there[axis, 0] * z[:, None, None] + there[axis, 1] * y[:, None] + there[axis, 2] * x + there[axis, 3])
        outside |= (along < -HALF) | (along > size - 1 + HALF)
    return outside
