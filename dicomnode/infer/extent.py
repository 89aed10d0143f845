"""How large a structure is and where its middle lies: by the true planes of its stack, never by equal steps."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode.domain.volume import SliceStack
from dicomnode.infer.drawn import Box

Voxels = NDArray[np.bool_]


def millilitres(inside: Voxels, box: Box, stack: SliceStack) -> float:
    """Return the volume of the voxels of a box, each as deep as the true distances to its neighbours make it."""
    return float(_per_slice(inside) @ stack.slice_volumes_ml[box[0]])


def mean_value(values: NDArray[Any], inside: Voxels, box: Box, stack: SliceStack) -> float:
    """Return the mean of the values of a box over the volume: each voxel counts as much as it is deep."""
    sums, weights = values.sum(axis=(1, 2), where=inside, dtype=np.float64), stack.slice_volumes_ml[box[0]]
    return float(sums @ weights / (_per_slice(inside) @ weights))


def centre_lps_mm(inside: Voxels, box: Box, stack: SliceStack) -> NDArray[np.float64]:
    """Return the centre of mass of the voxels of a box in the patient: each voxel counts as much as it is deep."""
    weights = _per_slice(inside) * stack.slice_volumes_ml[box[0]]
    held = np.flatnonzero(weights)
    corner = np.array([part.start for part in box], dtype=np.float64)
    middles = [np.array([k, *np.argwhere(inside[k]).mean(axis=0)]) + corner for k in held]
    return np.asarray(np.average([stack.to_lps_mm(middle) for middle in middles], axis=0, weights=weights[held]))


def longest_axis_mm(inside: Voxels, stack: SliceStack) -> tuple[float, int]:
    """Return the long axis on the slice that shows most of the voxels, and that slice's index among them.

    The largest distance between voxel centres plus one pixel: a lesion of one pixel is one pixel wide. Of several
    slices that show as much, the middle one.
    """
    counts = _per_slice(inside)
    fullest = np.flatnonzero(counts == counts.max())
    key = int(fullest[(fullest.size - 1) // 2])
    plane = inside[key]
    edge = plane & ~ndimage.binary_erosion(plane)
    row_mm, column_mm = stack.planes[0].pixel_spacing_mm
    points: NDArray[np.float64] = np.argwhere(edge).astype(np.float64) * np.array([row_mm, column_mm], dtype=np.float64)
    longest = max((float(((points - point) ** 2).sum(axis=1).max()) for point in _extreme(points)), default=0.0)
    return longest ** 0.5 + (row_mm + column_mm) / 2, key


def _per_slice(inside: Voxels) -> NDArray[np.int64]:
    return np.asarray(inside.reshape(inside.shape[0], -1).sum(axis=1), dtype=np.int64)


def _extreme(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the points that can end the longest axis: the outermost in each of 64 directions."""
    angles = np.linspace(0, np.pi, 64, endpoint=False)
    along = points @ np.stack([np.sin(angles), np.cos(angles)])
    ends = np.unique(np.concatenate([along.argmax(axis=0), along.argmin(axis=0)]))
    return np.asarray(points[ends], dtype=np.float64)
