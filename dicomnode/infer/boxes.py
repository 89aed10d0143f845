"""Boxes between frames: a network's grid, patient millimetres, the source grid. Pure geometry.

Three conventions meet here. MONAI's box frame: voxel k of the network's grid covers k to k + 1, axes
(column, row, slice) as the bundle's orientation has them. Index coordinates: voxel k covers k - 0.5 to k + 0.5.
World: millimetres, RAS as MONAI's affines have it, or LPS as DICOM has it.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
"""Shape (boxes, 6)."""
Affine = NDArray[np.float64]
"""4×4: index (column, row, slice) → RAS millimetres."""

RAS_LPS: Final = np.array([-1.0, -1.0, 1.0])
HALF_VOXEL: Final = 0.5
"""MONAI's box frame names a voxel's outer edge, an affine its centre: half a voxel lies between them.

MONAI's own AffineBoxToWorldCoordinate uses the affine on edges as they are, so that a box drawn round a voxel by
its edges lands half a voxel off.
"""
MODES: Final = {
    "xyzxyz": (0, 1, 2, 3, 4, 5),
    "xxyyzz": (0, 2, 4, 1, 3, 5),
    "xyxyzz": (0, 1, 4, 2, 3, 5),
}
"""MONAI's corner modes: where low x, y, z and high x, y, z stand."""
MUCH_SMALLER: Final = 1 / 16
"""Volume ratio below which a box inside another marks a lesion of its own.

Feature maps of a detector differ in stride by two, so two answers to one nodule differ in volume by about eight.
"""
SIZE_MODES: Final = ("xyzwhd", "cccwhd")
"""MONAI's modes with a size: beside the low corner, or beside the centre."""


def edges(boxes: Boxes, mode: str) -> Boxes:
    """Return boxes of any of MONAI's 3-D modes as low corner, high corner.

    Raises
    ------
    ValueError
        If the mode is not known, or the array is not (boxes, 6).
    """
    boxes = _checked(boxes)
    if mode in MODES:
        return boxes[:, list(MODES[mode])]
    if mode not in SIZE_MODES:
        msg = f"box mode {mode!r}: allowed are {', '.join((*MODES, *SIZE_MODES))}"
        raise ValueError(msg)
    low, size = boxes[:, :3], boxes[:, 3:]
    low = low - size / 2 if mode == "cccwhd" else low
    return np.concatenate([low, low + size], axis=1)


def to_source(boxes_xyz: Boxes, grid_affine_ras_mm: Affine, source_affine_ras_mm: Affine) -> Boxes:
    """Return boxes in MONAI's box frame of a network's grid as (z0, y0, x0, z1, y1, x1) in source index coordinates.

    Exact where the two grids are parallel; a turned box is replaced by the upright one round its corners.
    """
    return zyx(turned(_checked(boxes_xyz) - HALF_VOXEL, _inverse(source_affine_ras_mm) @ grid_affine_ras_mm))


def to_grid(centre_size_lps_mm: Boxes, grid_affine_ras_mm: Affine) -> Boxes:
    """Return boxes (centre and size in LPS mm) in MONAI's box frame of a grid: what a detector learns from."""
    world = edges(centre_size_lps_mm, "cccwhd")
    return turned(_ras(world), _inverse(grid_affine_ras_mm)) + HALF_VOXEL


def from_world(boxes: Boxes, mode: str, source_affine_ras_mm: Affine, *, lps: bool = False) -> Boxes:
    """Return world boxes of a bundle's own evaluator as (z0, y0, x0, z1, y1, x1) in source index coordinates.

    Parameters
    ----------
    lps:
        Whether their x grows to the left and their y to the back; MONAI's world grows to the right and to the front.

    Notes
    -----
    They are taken at their word: a bundle that learned from AffineBoxToImageCoordinated answers in the same frame
    with AffineBoxToWorldCoordinated, and both halves of a voxel cancel.
    """
    world = edges(boxes, mode)
    return zyx(turned(_ras(world) if lps else world, _inverse(source_affine_ras_mm)))


def turned(boxes_xyz: Boxes, affine: Affine) -> Boxes:
    """Return the upright boxes round the corners of boxes that went through an affine."""
    corners = np.stack([boxes_xyz[:, [axis + 3 * (corner >> axis & 1) for axis in range(3)]] for corner in range(8)])
    moved = corners @ affine[:3, :3].T + affine[:3, 3]
    return np.concatenate([moved.min(axis=0), moved.max(axis=0)], axis=1)


def zyx(boxes_xyz: Boxes) -> Boxes:
    """Return boxes with their axes in array order: (z0, y0, x0, z1, y1, x1)."""
    return boxes_xyz[:, [2, 1, 0, 5, 4, 3]]


def overlaps(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return intersection over union of each pair, shape (first, second); 0 where nothing is shared."""
    low = np.maximum(first[:, None, :3], second[None, :, :3])
    high = np.minimum(first[:, None, 3:], second[None, :, 3:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    volumes = [np.clip(boxes[:, 3:] - boxes[:, :3], 0, None).prod(axis=1) for boxes in (first, second)]
    together = volumes[0][:, None] + volumes[1][None] - shared
    ratios: NDArray[np.float64] = np.divide(shared, together, out=np.zeros_like(shared), where=together > 0)
    return ratios


def strongest(boxes: Boxes, scores: NDArray[np.float64], nms_iou: float) -> NDArray[np.int64]:
    """Return the indices of boxes that mark something of their own, strongest first; equal scores keep their order.

    A box goes where a stronger one that stays overlaps it by more than ``nms_iou``, or where one of the two holds the
    other's middle: either both do, or neither is much smaller than the other (``MUCH_SMALLER``).

    Notes
    -----
    A box of half the size inside another has an overlap of an eighth: by overlap alone a detector that answers on
    two feature maps marked one nodule twice. By held middles alone a small satellite in the corner of a large
    nodule's box was lost.
    """
    order = np.argsort(-scores, kind="stable")
    same = (overlaps(boxes, boxes) > nms_iou) | _of_one_lesion(boxes)
    kept: list[int] = []
    for index in order:
        if not same[index, kept].any():
            kept.append(int(index))
    return np.array(kept, dtype=np.int64)


def _of_one_lesion(boxes: Boxes) -> NDArray[np.bool_]:
    """Return whether two boxes lie so in each other that both mark one lesion, shape (boxes, boxes)."""
    middles = (boxes[:, :3] + boxes[:, 3:]) / 2
    holds = ((boxes[:, None, :3] < middles[None]) & (middles[None] < boxes[:, None, 3:])).all(axis=2)
    volumes = np.clip(boxes[:, 3:] - boxes[:, :3], 0, None).prod(axis=1)
    comparable = volumes[:, None] >= MUCH_SMALLER * volumes[None]
    found: NDArray[np.bool_] = (holds & holds.T) | ((holds | holds.T) & comparable & comparable.T)
    return found


def _inverse(affine: Affine) -> Affine:
    return np.asarray(np.linalg.inv(affine), dtype=np.float64)


def _ras(boxes_xyz: Boxes) -> Boxes:
    """Turn boxes from LPS to RAS or back, low corners low again."""
    flipped = boxes_xyz * np.tile(RAS_LPS, 2)
    return np.concatenate([np.minimum(flipped[:, :3], flipped[:, 3:]), np.maximum(flipped[:, :3], flipped[:, 3:])],
                          axis=1)


def _checked(boxes: Boxes) -> Boxes:
    array = np.asarray(boxes, dtype=np.float64)
    array = array.reshape(0, 6) if array.size == 0 else array
    if array.ndim != 2 or array.shape[1] != 6:  # noqa: PLR2004 - three axes, two ends
        msg = f"boxes have shape {array.shape}; allowed is (boxes, 6)"
        raise ValueError(msg)
    return array
