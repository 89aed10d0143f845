"""Average precision of boxes, as COCO defines it, in any number of dimensions.

At each overlap that counts as a hit, detections are taken from the surest on; each takes the unclaimed true box that
it overlaps most. Precision is made to fall only, and averaged over 101 recalls from 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

IOUS: Final = tuple(round(0.10 + 0.05 * step, 2) for step in range(9))
"""0.10 to 0.50: in three dimensions a box that is a fifth too long each way has IoU 0.58, and lesions are small."""
MOST_DETECTIONS: Final = 100
RECALLS: Final = np.linspace(0.0, 1.0, 101)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanBoxes:
    """The boxes of one scan and one class.

    Parameters
    ----------
    found, truth : (n, 6) and (m, 6): lowest corner, highest corner.
    scores : (n,).
    """

    found: Floats
    scores: Floats
    truth: Floats


def box_iou(first: ArrayLike, second: ArrayLike) -> Floats:
    """(n, m) intersection over union of boxes given by their lowest and highest corners; 0 for empty boxes."""
    one, two = _corners(first)[:, None], _corners(second)[None]
    low, high = np.maximum(one[..., 0, :], two[..., 0, :]), np.minimum(one[..., 1, :], two[..., 1, :])
    both = np.clip(high - low, 0.0, None).prod(axis=-1)
    either = (one[..., 1, :] - one[..., 0, :]).prod(axis=-1) + (two[..., 1, :] - two[..., 0, :]).prod(axis=-1) - both
    return np.asarray(np.divide(both, either, out=np.zeros_like(both), where=either > 0))


class Ranked:
    """The detections of all scans, matched once and sorted by score, so that each draw of a bootstrap only counts."""

    def __init__(self, scans: Sequence[ScanBoxes]) -> None:
        orders = [np.argsort(-scan.scores, kind="stable")[:MOST_DETECTIONS] for scan in scans]
        scores = np.concatenate([np.empty(0), *(s.scores[order] for s, order in zip(scans, orders, strict=True))])
        by_score = np.argsort(-scores, kind="stable")
        self._truths = np.array([len(scan.truth) for scan in scans], np.float64)
        self._scan = np.repeat(np.arange(len(scans)), [order.size for order in orders])[by_score]
        self._hits = {
            least: np.concatenate(
                [np.empty(0, bool), *(_hits(s, order, least) for s, order in zip(scans, orders, strict=True))]
            )[by_score]
            for least in IOUS
        }

    def average_precision(self, least_iou: float, weights: ArrayLike | None = None) -> float:
        """Average precision where an overlap of ``least_iou`` (one of ``IOUS``) is a hit; nan without true boxes.

        Parameters
        ----------
        weights : (scans,) how often each scan counts; once where None.
        """
        often = np.ones(self._truths.size) if weights is None else np.asarray(weights, np.float64)
        total = float(often @ self._truths)
        if not total:
            return float("nan")
        hit, weight = self._hits[least_iou], often[self._scan]
        return _area(np.cumsum(weight * hit), np.cumsum(weight * ~hit), total)

    def mean_average_precision(self, weights: ArrayLike | None = None) -> float:
        """Average precision averaged over ``IOUS``."""
        return float(np.mean([self.average_precision(least, weights) for least in IOUS]))


def mean_average_precision(scans: Sequence[ScanBoxes]) -> float:
    """Average precision of one class, averaged over ``IOUS``; nan where there is nothing to find."""
    return Ranked(scans).mean_average_precision()


def _hits(scan: ScanBoxes, order: NDArray[np.intp], least_iou: float) -> NDArray[np.bool_]:
    """For each detection, from the surest on: whether it takes a true box."""
    overlap = box_iou(scan.found[order], scan.truth)
    hit = np.zeros(order.size, bool)
    for index in range(order.size if len(scan.truth) else 0):
        best = int(overlap[index].argmax())
        if overlap[index, best] >= least_iou:
            hit[index] = True
            overlap[:, best] = -1.0
    return hit


def _area(true: Floats, false: Floats, total: float) -> float:
    """Average the falling precision over the recalls; it is 0 at those never reached."""
    precision = true / np.maximum(true + false, np.finfo(np.float64).tiny)
    falling = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(falling[np.searchsorted(true / total, RECALLS, side="left")].mean())


def _corners(boxes: ArrayLike) -> Floats:
    array = np.asarray(boxes, np.float64)
    return array.reshape(len(array), 2, -1) if array.size else np.empty((0, 2, 3))
