"""Resampling along axes, and the exact inverse of argmax: the two fast paths of segmentation.

Linear interpolation along parallel axes is separable: three passes of two-tap sums over ever smaller
arrays give what MONAI's grid sampling gives, without a float64 copy of the volume.

Notes
-----
Putting labels back: linear interpolation is a convex combination, so where the eight corners of a cell
agree on the largest class, that class is the largest everywhere in the cell. Only voxels of cells whose
corners disagree are interpolated; the result equals interpolating every class everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dicomnode.infer.grid import TargetGrid

Taps = tuple[torch.Tensor, torch.Tensor]


def resample(values_zyx: NDArray[Any], grid: TargetGrid) -> torch.Tensor:
    """Return the volume on the target grid, float32, shape as the target's axes, contiguous."""
    taps = [_taps(grid.in_source(axis, n), n) for axis, n in enumerate(values_zyx.shape)]
    out = torch.empty([len(below) for below, _ in taps], dtype=torch.float32)
    _interpolate(torch.from_numpy(values_zyx), taps, out)
    return out.permute(grid.axes).contiguous()


def put_back_values(values: torch.Tensor, grid: TargetGrid, out_zyx: NDArray[np.float32]) -> None:
    """Write numbers of the target grid onto the source grid, linear between the target's samples."""
    low = _source_order(values, grid)
    taps = [_taps(grid.in_target(axis, size), low.shape[axis]) for axis, size in enumerate(out_zyx.shape)]
    _interpolate(low, taps, torch.from_numpy(out_zyx))


def _interpolate(source: torch.Tensor, taps: Sequence[Taps], out: torch.Tensor) -> None:
    slices, rows, columns = taps

    def one_slice(k: int) -> None:
        below, weight = int(slices[0][k]), float(slices[1][k])
        plane = _rows(source[below], rows)
        if weight:
            plane = torch.lerp(plane, _rows(source[min(below + 1, source.shape[0] - 1)], rows), weight)
        low = plane.index_select(1, columns[0])
        high = plane.index_select(1, (columns[0] + 1).clamp_(max=plane.shape[1] - 1))
        torch.lerp(low, high, columns[1][None, :], out=out[k])

    _each(one_slice, out.shape[0])


def _each(one_slice: Callable[[int], None], count: int) -> None:
    """Do every slice, in as many threads as torch has; each slice by itself is too small to be divided."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as workers:
            for _ in workers.map(one_slice, range(count)):
                pass
    finally:
        torch.set_num_threads(threads)


def _rows(plane: torch.Tensor, rows: Taps) -> torch.Tensor:
    low = plane.index_select(0, rows[0]).float()
    high = plane.index_select(0, (rows[0] + 1).clamp_(max=plane.shape[0] - 1)).float()
    return torch.lerp(low, high, rows[1][:, None])


def _taps(positions: NDArray[np.float64], size: int) -> Taps:
    below = np.clip(np.floor(positions), 0, max(0, size - 2)).astype(np.int64)
    return torch.from_numpy(below), torch.from_numpy((positions - below).astype(np.float32))


def put_back_labels(labels: torch.Tensor, grid: TargetGrid, out_zyx: NDArray[Any]) -> None:
    """Write labels of the target grid onto the source grid, each voxel its nearest neighbour."""
    low = _source_order(labels, grid)
    index = [torch.from_numpy(np.rint(grid.in_target(axis, size)).astype(np.int64))
             for axis, size in enumerate(out_zyx.shape)]

    def one_slice(k: int) -> None:
        out_zyx[k] = low[int(index[0][k])].index_select(1, index[2]).index_select(0, index[1]).numpy()

    _each(one_slice, out_zyx.shape[0])


def put_back_argmax(scores: torch.Tensor, grid: TargetGrid, out_zyx: NDArray[Any]) -> None:
    """Interpolate class scores (class, target axes) onto the source grid and write the largest class.

    ``scores`` may lie on any device; the source grid is never materialised for more than one slice.
    """
    low = torch.stack([_source_order(score, grid) for score in scores.float().cpu()])
    low = _at_least_two(low)
    winners = largest(low)
    taps = [_taps(grid.in_target(axis, size), low.shape[axis + 1])
            for axis, size in enumerate(out_zyx.shape)]
    undecided = _undecided(winners)

    def one_slice(k: int) -> None:
        z, weight = int(taps[0][0][k]), float(taps[0][1][k])
        labels = winners[z].index_select(1, taps[2][0]).index_select(0, taps[1][0])
        if bool(undecided[z].any()):
            _decide(torch.lerp(low[:, z], low[:, z + 1], weight), undecided[z], taps[1], taps[2], labels)
        out_zyx[k] = labels.numpy()

    _each(one_slice, out_zyx.shape[0])


def _decide(plane: torch.Tensor, open_cells: torch.Tensor, rows: Taps, columns: Taps,
            labels: torch.Tensor) -> None:
    """Interpolate only the voxels of cells whose corners disagree."""
    open_voxels = open_cells.index_select(1, columns[0]).index_select(0, rows[0])
    where = open_voxels.view(-1).nonzero().view(-1)
    row, column = where // open_voxels.shape[1], where % open_voxels.shape[1]
    band = torch.lerp(plane.index_select(1, rows[0]), plane.index_select(1, rows[0] + 1), rows[1][None, :, None])
    left = row * band.shape[2] + columns[0][column]
    flat = band.reshape(band.shape[0], -1)
    values = torch.lerp(flat.index_select(1, left), flat.index_select(1, left + 1), columns[1][column][None])
    labels.view(-1)[where] = largest(values)


def largest(scores: torch.Tensor) -> torch.Tensor:
    """Return the index of the largest score along the first axis; the first one wins a tie."""
    best, kind = scores[0].clone(), torch.uint8 if scores.shape[0] <= 256 else torch.int32  # noqa: PLR2004
    winner = torch.zeros(best.shape, dtype=kind)
    for index in range(1, scores.shape[0]):
        higher = scores[index] > best
        winner.masked_fill_(higher, index)
        torch.maximum(best, scores[index], out=best)
    return winner


def _undecided(winners: torch.Tensor) -> torch.Tensor:
    low = high = winners
    for axis in range(3):
        size = low.shape[axis] - 1
        low = torch.minimum(low.narrow(axis, 0, size), low.narrow(axis, 1, size))
        high = torch.maximum(high.narrow(axis, 0, size), high.narrow(axis, 1, size))
    return low != high


def _source_order(values: torch.Tensor, grid: TargetGrid) -> torch.Tensor:
    order = [grid.axes.index(axis) for axis in range(3)]
    return values.cpu().permute(order).contiguous()


def _at_least_two(low: torch.Tensor) -> torch.Tensor:
    for axis in range(1, 4):
        if low.shape[axis] == 1:
            low = torch.cat([low, low], dim=axis)
    return low
