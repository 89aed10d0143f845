"""Scores over cases as functions of how often each case counts, so that value, interval and difference are one thing.

A family takes a matrix (draws, cases) and returns (draws, metrics). The first draw counts each case once: its row is
the value; the others are a bootstrap. Two models on the same cases get the same draws, so their difference is paired.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.train.score.bootstrap import DRAWS, FEWEST_CASES, Estimate, draws, estimate
from dicomnode.train.score.case_scores import CaseScores, LesionScores
from dicomnode.train.score.froc import FALSE_MARKS_PER_SCAN, ScanHits, SortedHits
from dicomnode.train.score.overlap import Counts
from dicomnode.train.score.precision import Ranked, ScanBoxes
from dicomnode.train.score.ranking import roc_auc

Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Of = Callable[[Floats], Floats]
EMPTY: Final = ScanHits(found=np.empty(0), false=np.empty(0))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Family:
    """Metrics that come of one computation.

    Parameters
    ----------
    metrics : their names.
    of : (draws, cases) → (draws, metrics).
    known : (cases, metrics) whether a case has a number; for metrics over all cases, whether it took part.
    """

    metrics: tuple[str, ...]
    of: Of
    known: NDArray[np.bool_]

    def prefixed(self, prefix: str) -> Family:
        """Return the same under longer names."""
        return replace(self, metrics=tuple(prefix + metric for metric in self.metrics))


def estimates(family: Family, chosen: Indices, seed: int, patients: Indices | None = None) -> list[Estimate]:
    """Return each metric over the chosen cases, with its interval.

    Parameters
    ----------
    patients : (cases,) whose each case is: the cases of a patient are drawn together. Each case its own where None.
    """
    weights = _weights(family, chosen, seed, patients)
    return _read_off(family.of(weights), family.known[chosen], chosen if patients is None else patients[chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """A metric of two models over the cases in which both have a number; ``estimate`` is second minus first."""

    first: float
    second: float
    estimate: Estimate


def paired(first: Family, second: Family, chosen: Indices, seed: int,
           patients: Indices | None = None) -> list[Paired]:
    """Return each metric of both over the chosen cases in which both have a number, drawn alike."""
    weights = _weights(first, chosen, seed, patients)
    both = first.known & second.known
    one, two = (_where(both, family, weights) for family in (first, second))
    read = _read_off(two - one, both[chosen], chosen if patients is None else patients[chosen])
    return [Paired(first=float(one[0, place]), second=float(two[0, place]), estimate=estimate)
            for place, estimate in enumerate(read)]


def _where(both: NDArray[np.bool_], family: Family, weights: Floats) -> Floats:
    """The metrics, each over the cases that are marked for it alone."""
    if np.array_equal(both, family.known):
        return family.of(weights)
    columns = [family.of(weights * both[:, place])[:, place] for place in range(len(family.metrics))]
    return np.stack(columns, axis=1)


def means(values: Sequence[Mapping[str, float]], metrics: Sequence[str]) -> Family:
    """Return the mean of each metric over the cases that have a number."""
    table = np.array([[row.get(metric, np.nan) for metric in metrics] for row in values], np.float64)
    table = table.reshape(len(values), len(metrics))
    known = ~np.isnan(table)
    filled = np.where(known, table, 0.0)

    def of(weights: Floats) -> Floats:
        count = weights @ known
        return np.asarray(np.divide(weights @ filled, count, out=np.full(count.shape, np.nan), where=count > 0))

    return Family(metrics=tuple(metrics), of=of, known=known)


RATIOS: Final = ("precision", "recall", "f1", "specificity", "accuracy")


def ratios(per_case: Sequence[Counts], metrics: Sequence[str] = RATIOS) -> Family:
    """Return ratios of counts added up over cases."""
    table = np.array([[one.true_positive, one.false_positive, one.false_negative, one.true_negative]
                      for one in per_case], np.float64).reshape(-1, 4)

    def of(weights: Floats) -> Floats:
        rows = [Counts(true_positive=tp, false_positive=fp, false_negative=fn, true_negative=tn)
                for tp, fp, fn, tn in (weights @ table).tolist()]
        named = [{"f1": row.dice, "precision": row.precision, "recall": row.recall,
                  "specificity": row.specificity, "accuracy": row.accuracy} for row in rows]
        return np.array([[row[metric] for metric in metrics] for row in named], np.float64)

    return Family(metrics=tuple(metrics), of=of, known=np.ones((len(table), len(metrics)), bool))


def pooled_dice(overlaps: Sequence[Mapping[str, float]]) -> Family:
    """Return Dice of all cases as if they were one: by volume, so that large structures weigh more."""
    table = np.array([[2 * row.get("shared_ml", 0.0), row.get("found_ml", 0.0) + row.get("truth_ml", 0.0)]
                      for row in overlaps], np.float64).reshape(-1, 2)

    def of(weights: Floats) -> Floats:
        shared, both = (weights @ table).T[:, :, None]
        return np.asarray(np.divide(shared, both, out=np.full(both.shape, np.nan), where=both > 0))

    return Family(metrics=("dice_pooled",), of=of, known=np.ones((len(table), 1), bool))


def false_per_scan(false: Sequence[int]) -> Family:
    """Return the mean number of false lesions per scan."""
    return means([{"false_per_scan": float(count)} for count in false], ("false_per_scan",))


FROC_METRICS: Final = ("cpm", *(f"sensitivity_at_{count:g}" for count in FALSE_MARKS_PER_SCAN))


def free_response(scans: Sequence[ScanHits]) -> Family:
    """Return the CPM and the sensitivities at 1/8 to 8 false marks per scan."""
    hits = SortedHits(scans)

    def of(weights: Floats) -> Floats:
        curves = (hits.curve(row) for row in weights)
        return np.array([(np.mean(seven), *seven) for seven in (curve.sensitivities for curve in curves)], np.float64)

    return Family(metrics=FROC_METRICS, of=of, known=np.ones((len(scans), len(FROC_METRICS)), bool))


PRECISION_METRICS: Final = ("map_10_50", "ap_10", "ap_50")


def box_precision(scans: Sequence[ScanBoxes]) -> Family:
    """Return mean average precision over IoU 0.10 to 0.50, and average precision at either end."""
    ranked = Ranked(scans)

    def of(weights: Floats) -> Floats:
        return np.array([[ranked.mean_average_precision(row), ranked.average_precision(0.1, row),
                          ranked.average_precision(0.5, row)] for row in weights], np.float64)

    return Family(metrics=PRECISION_METRICS, of=of, known=np.ones((len(scans), len(PRECISION_METRICS)), bool))


def area_under_roc(scores: Sequence[float], truth: Sequence[bool]) -> Family:
    """Return the area under the ROC of one class against the others."""
    values, yes = np.asarray(scores, np.float64), np.asarray(truth, bool)

    def of(weights: Floats) -> Floats:
        often = weights.astype(int)
        return np.array([[roc_auc(np.repeat(values, row), np.repeat(yes, row))] for row in often], np.float64)

    return Family(metrics=("roc_auc",), of=of, known=np.ones((len(values), 1), bool))


def lesions_of(rows: Sequence[CaseScores], label: str) -> list[LesionScores | None]:
    """Return the lesions of a label in each case."""
    return [row.labels[label].lesions if label in row.labels else None for row in rows]


def hits_of_size(lesions: LesionScores | None, low_mm: float, high_mm: float, *, reported: bool = False) -> ScanHits:
    """Return the hits of lesions of a size; those of other sizes count neither way, false marks stay."""
    if lesions is None:
        return EMPTY
    hits = lesions.reported if reported else lesions.hits
    fits = (lesions.diameters_mm >= low_mm) & (lesions.diameters_mm < high_mm)
    return ScanHits(found=hits.found[fits], false=hits.false)


def _weights(family: Family, chosen: Indices, seed: int, patients: Indices | None) -> Floats:
    """Each row says how often each case counts: once each in the first, as its patient was drawn in the others."""
    whose = chosen if patients is None else patients[chosen]
    people, places = np.unique(whose, return_inverse=True)
    count = DRAWS if len(people) >= FEWEST_CASES else 0
    weights = np.zeros((1 + count, len(family.known)))
    weights[0, chosen] = 1.0
    if count:
        weights[1:, chosen] = draws(len(people), seed)[:, places]
    return weights


def _read_off(values: Floats, known: NDArray[np.bool_], whose: Indices) -> list[Estimate]:
    """Each metric with its interval, which needs three patients who have a number."""
    return [estimate(column, int(there.sum()), np.unique(whose[there]).size)
            for column, there in zip(values.T, known.T, strict=True)]
