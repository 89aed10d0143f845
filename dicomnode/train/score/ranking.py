"""How well scores tell yes from no, whatever the threshold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def roc_auc(scores: ArrayLike, truth: ArrayLike) -> float:
    """Return the chance that a yes scores above a no, ties half: the area under the ROC; nan without both.

    Notes
    -----
    By ranks (Mann and Whitney), equal scores sharing the mean of theirs: exact.
    """
    values, yes = np.asarray(scores, np.float64), np.asarray(truth, bool)
    positives, negatives = int(yes.sum()), int((~yes).sum())
    if not positives or not negatives:
        return float("nan")
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[places]
    above = float(ranks[yes].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def roc_points(scores: ArrayLike, truth: ArrayLike) -> tuple[list[float], list[float]]:
    """Return false-positive and true-positive rates from the strictest threshold to the mildest, from (0, 0)."""
    values, yes = np.asarray(scores, np.float64), np.asarray(truth, bool)
    order = np.argsort(-values, kind="stable")
    last = np.flatnonzero(np.diff(values[order], append=-np.inf))
    false = np.cumsum(~yes[order])[last] / max(int((~yes).sum()), 1)
    true = np.cumsum(yes[order])[last] / max(int(yes.sum()), 1)
    return [0.0, *map(float, false)], [0.0, *map(float, true)]
