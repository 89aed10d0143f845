"""Lesions one by one: components of masks, boxes in patient millimetres, and which of them were seen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode.train.score.froc import ScanHits

TOUCHING: Final = np.ones((3, 3, 3), dtype=bool)
"""As in the node's findings: voxels that share a face, an edge or a corner belong to one lesion."""
SURE: Final = 1.0
"""Score of a lesion that a segmentation shows: it has no other."""

Boxes = NDArray[np.float64]
Mask = NDArray[np.bool_]


def component_boxes(mask_zyx: Mask) -> list[tuple[slice, slice, slice]]:
    """Return the box of each connected component, in the order of ``component_hits``."""
    numbers, _ = ndimage.label(mask_zyx, structure=TOUCHING)
    return [(box[0], box[1], box[2]) for box in ndimage.find_objects(numbers)]


def component_hits(found_zyx: Mask, truth_zyx: Mask) -> ScanHits:
    """Match components: a true one is seen where any of its voxels is found; one that touches none is false."""
    cut = _around(found_zyx, truth_zyx)
    found, truth = found_zyx[cut], truth_zyx[cut]
    seen = _touched(truth, found)
    false = int((~_touched(found, truth)).sum())
    return ScanHits(found=np.where(seen, SURE, -np.inf), false=np.full(false, SURE))


def upright(boxes: NDArray[Any] | Sequence[Sequence[float]], affine: NDArray[np.float64]) -> Boxes:
    """Return the boxes of another frame, parallel to its axes, round boxes of this one.

    Parameters
    ----------
    boxes : (n, 6) edges: three lowest, three highest. On a grid (z0, y0, x0, z1, y1, x1) in indices, where voxel k
        covers k - 0.5 to k + 0.5; in the patient (x0, y0, z0, x1, y1, z1) in LPS mm.
    affine : from one to the other: ``SliceStack.affine_lps_mm`` or its inverse.
    """
    edges = np.asarray(boxes, np.float64).reshape(-1, 2, 3)
    choices = np.array([[k >> 2 & 1, k >> 1 & 1, k & 1] for k in range(8)])
    corners = np.take_along_axis(edges, np.broadcast_to(choices, (len(edges), 8, 3)), axis=1)
    places = corners @ affine[:3, :3].T + affine[:3, 3]
    return np.concatenate([places.min(axis=1), places.max(axis=1)], axis=1) if len(edges) else np.empty((0, 6))


def edges_of(boxes: Sequence[tuple[slice, slice, slice]]) -> NDArray[np.float64]:
    """Return (n, 6) edges (z0, y0, x0, z1, y1, x1) of boxes of voxels, where voxel k covers k - 0.5 to k + 0.5."""
    rows = [[*(part.start - 0.5 for part in box), *(part.stop - 0.5 for part in box)] for box in boxes]
    return np.array(rows, np.float64).reshape(-1, 6)


def centres_and_sizes(corners: Boxes) -> tuple[Boxes, Boxes]:
    """Return (n, 3) centres and (n, 3) edges of boxes given by their corners."""
    return (corners[:, :3] + corners[:, 3:]) / 2, corners[:, 3:] - corners[:, :3]


def from_centre_and_size(boxes: Boxes) -> Boxes:
    """Return (n, 6) corners of boxes given as in a data set: centre and size."""
    centre, half = boxes[:, :3], boxes[:, 3:] / 2
    return np.concatenate([centre - half, centre + half], axis=1)


def diameters_mm(corners: Boxes, normal_lps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the longer of the two edges within the slice of that normal: slices are too thick to measure by."""
    edges = corners[:, 3:] - corners[:, :3]
    within = np.delete(edges, int(np.abs(normal_lps).argmax()), axis=1)
    return np.asarray(within.max(axis=1, initial=0.0), np.float64)


def _touched(components: Mask, other: Mask) -> NDArray[np.bool_]:
    numbers, count = ndimage.label(components, structure=TOUCHING)
    return np.isin(np.arange(1, count + 1), numbers[other])


def _around(first: Mask, second: Mask) -> tuple[slice, ...]:
    boxes = ndimage.find_objects((first | second).view(np.uint8))
    return boxes[0] if boxes else (slice(0, 1),) * 3
