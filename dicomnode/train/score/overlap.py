"""How far two masks agree: voxel counts, what follows from them, and the distance between their surfaces.

A ratio without a denominator is no number (nan), never 0 or 1: Dice where both masks are empty, recall where there was
nothing to find, precision where nothing was found. Means leave nan out and say over how many cases they run. A mask
where nothing should be has Dice 0. Surface distances need two surfaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.spatial import KDTree

Mask = NDArray[np.bool_]
PERCENTILE: Final = 95.0
"""Of the distances from one surface to the other: the largest of all hangs on a single voxel."""


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Of all voxels (or cases): rightly found, wrongly found, missed, rightly left."""

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float

    @property
    def dice(self) -> float:
        """Twice what both hold over the sum of both; for cases and lesions this is F1."""
        return _ratio(2 * self.true_positive, 2 * self.true_positive + self.false_positive + self.false_negative)

    @property
    def iou(self) -> float:
        """What both hold over what either holds."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive + self.false_negative)

    @property
    def precision(self) -> float:
        """Which part of what was found is right."""
        return _ratio(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float:
        """Which part of what is there was found: sensitivity."""
        return _ratio(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float:
        """Which part of what is not there was left."""
        return _ratio(self.true_negative, self.true_negative + self.false_positive)

    @property
    def accuracy(self) -> float:
        """Which part of all is right; near 1 for any small structure, whatever the model does."""
        total = self.true_positive + self.false_positive + self.false_negative + self.true_negative
        return _ratio(self.true_positive + self.true_negative, total)


def counts(found: ArrayLike, truth: ArrayLike) -> Counts:
    """Compare two masks (or two lists of yes and no) of one shape."""
    first, second = np.asarray(found, bool), np.asarray(truth, bool)
    if first.shape != second.shape:
        raise ValueError(f"masks of shapes {first.shape} and {second.shape} cannot be compared")
    both, here, there = (int(np.count_nonzero(mask)) for mask in (first & second, first, second))
    return Counts(true_positive=both, false_positive=here - both, false_negative=there - both,
                  true_negative=first.size - here - there + both)


def dice(found: Mask, truth: Mask) -> float:
    """Return Dice of two masks; nan where both are empty."""
    return counts(found, truth).dice


def iou(found: Mask, truth: Mask) -> float:
    """Return intersection over union of two masks; nan where both are empty."""
    return counts(found, truth).iou


@dataclass(frozen=True, slots=True, kw_only=True)
class SurfaceDistance:
    """Between two surfaces, in millimetres; nan where a mask is empty.

    Parameters
    ----------
    hd95_mm : the larger of the two 95th percentiles (Hausdorff distance without its outliers).
    assd_mm : mean over both surfaces of the distance to the other (average symmetric surface distance).
    """

    hd95_mm: float
    assd_mm: float


def surface_distance(found: Mask, truth: Mask, spacing_zyx_mm: Sequence[float]) -> SurfaceDistance:
    """Measure between the outermost voxels of two masks.

    Parameters
    ----------
    spacing_zyx_mm : distance of voxels along each axis.
    """
    if not found.any() or not truth.any():
        return SurfaceDistance(hd95_mm=float("nan"), assd_mm=float("nan"))
    spacing = np.asarray(spacing_zyx_mm, np.float64)
    first, second = _surface(found) * spacing, _surface(truth) * spacing
    to_second, to_first = KDTree(second).query(first)[0], KDTree(first).query(second)[0]
    furthest = max(np.percentile(to_second, PERCENTILE), np.percentile(to_first, PERCENTILE))
    mean = (to_second.sum() + to_first.sum()) / (to_second.size + to_first.size)
    return SurfaceDistance(hd95_mm=float(furthest), assd_mm=float(mean))


def _surface(mask: Mask) -> NDArray[np.float64]:
    """Indices of the voxels of which a face touches the outside; the image's border is outside."""
    (box,) = ndimage.find_objects(mask.astype(np.uint8))
    inside = mask[box]
    corner = [part.start for part in box]
    edge = inside & ~ndimage.binary_erosion(inside)
    return np.asarray(np.argwhere(edge) + np.asarray(corner), np.float64)
