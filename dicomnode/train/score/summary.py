"""The scores of a model over all cases, and of two models against one another, as rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.train.evaluate.runner import ModelScores
from dicomnode.train.score.bootstrap import Estimate
from dicomnode.train.score.case_scores import CaseScores
from dicomnode.train.score.overlap import Counts
from dicomnode.train.score.statistics import (
    Family,
    area_under_roc,
    box_precision,
    estimates,
    false_per_scan,
    free_response,
    hits_of_size,
    lesions_of,
    means,
    paired,
    pooled_dice,
    ratios,
)
from dicomnode.train.score.subgroups import ALL, Group, case_groups, lesion_bins, size_groups

OVERLAP_METRICS: Final = (
    "dice", "iou", "precision", "recall", "specificity", "accuracy", "hd95_mm", "assd_mm", "volume_error_ml",
    "volume_error_percent")
LESION_RATIOS: Final = ("recall", "precision", "f1")
WHOLE: Final = "all classes"
"""Label of what is said of a classification as a whole."""
NEVER_GROUPED: Final = "map_"
"""Average precision is given over all cases only: of few boxes it says little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One number: a metric of a label over a group of cases (or of lesions), with its 95 % interval."""

    label: str
    key: str
    group: str
    metric: str
    estimate: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Second model minus first, on the cases in which both have a number."""

    label: str
    key: str
    group: str
    metric: str
    first: float
    second: float
    estimate: Estimate


def scored(rows: Sequence[CaseScores]) -> list[CaseScores]:
    """Return the cases that did not fail."""
    return [row for row in rows if not row.failed]


def summary(scores: ModelScores, *, seed: int = 0) -> list[Score]:
    """Return every metric of every label: over all cases first, then by group."""
    rows = scored(scores.cases)
    patients = _patients(rows)
    found: list[Score] = []
    for name in (pair.name for pair in scores.pairs):
        for family, group in _asked(rows, name):
            found += [Score(label=name, key=group.key, group=group.name, metric=metric, estimate=estimate)
                      for metric, estimate in zip(
                          family.metrics, estimates(family, group.cases, seed, patients), strict=True)]
    if scores.model.task == "classification":
        found.append(_whole_accuracy(rows, seed))
    return [score for score in found if score.estimate.cases]


def compared(first: ModelScores, second: ModelScores, *, seed: int = 0) -> list[Difference]:
    """Return the differences of the metrics that both models have, on the cases that both were scored on."""
    ids = [row.case.id for row in scored(first.cases)]
    others = {row.case.id: row for row in scored(second.cases)}
    ours = [row for row in scored(first.cases) if row.case.id in others]
    theirs = [others[name] for name in ids if name in others]
    known = {pair.name for pair in second.pairs}
    found: list[Difference] = []
    for name in (pair.name for pair in first.pairs if pair.name in known):
        families = {family.metrics: family for family, group in _asked(theirs, name) if group.key == ALL}
        for family, group in _asked(ours, name):
            if group.key == ALL and family.metrics in families:
                found += [Difference(label=name, key=group.key, group=group.name, metric=metric, first=one.first,
                                     second=one.second, estimate=one.estimate)
                          for metric, one in zip(family.metrics, paired(
                              family, families[family.metrics], group.cases, seed, _patients(ours)), strict=True)]
    return [one for one in found if one.estimate.cases]


def _patients(rows: Sequence[CaseScores]) -> NDArray[np.intp]:
    return np.unique([row.case.patient for row in rows], return_inverse=True)[1]


def _asked(rows: Sequence[CaseScores], name: str) -> Iterator[tuple[Family, Group]]:
    """Each family of a label with each group of cases that it is asked over."""
    everybody, *parts = case_groups(rows)
    for family in families(rows, name):
        groups = [] if family.metrics[0].startswith(NEVER_GROUPED) else parts
        sizes = size_groups(rows, name) if family.metrics == OVERLAP_METRICS else []
        for group in (everybody, *groups, *sizes):
            yield family, group
    for label, family in _by_lesion_size(rows, name):
        yield family, Group(key="diameter", name=label, cases=everybody.cases)


def families(rows: Sequence[CaseScores], name: str) -> list[Family]:
    """Return what can be said of a label: of its masks, its lesions, its class."""
    found = []
    overlaps = [row.labels[name].overlap if name in row.labels else {} for row in rows]
    if any(overlaps):
        found += [means(overlaps, OVERLAP_METRICS), pooled_dice(overlaps), *_presence(overlaps)]
    lesions = lesions_of(rows, name)
    if any(lesions):
        known = [one for one in lesions if one is not None]
        found += [ratios([one.counts for one in known], LESION_RATIOS).prefixed("lesion_"),
                  false_per_scan([one.reported.false.size for one in known])]
        boxes = [one.boxes for one in known if one.boxes is not None]
        if boxes:
            found += [free_response([one.hits for one in known]), box_precision(boxes)]
    if any(row.probabilities for row in rows):
        found += _class(rows, name)
    return found


def _presence(overlaps: Sequence[Mapping[str, float]]) -> list[Family]:
    """Whether a structure was seen at all, case by case: said where some cases have it and others do not."""
    truth = [one["truth_ml"] > 0 for one in overlaps]
    if all(truth) or not any(truth):
        return []
    per_case = [_single(found=one["found_ml"] > 0, truth=there) for one, there in zip(overlaps, truth, strict=True)]
    return [ratios(per_case).prefixed("case_")]


def _class(rows: Sequence[CaseScores], name: str) -> list[Family]:
    truth = [row.truth == name for row in rows]
    per_case = [_single(found=row.given == name, truth=there) for row, there in zip(rows, truth, strict=True)]
    return [ratios(per_case), area_under_roc([row.probabilities.get(name, 0.0) for row in rows], truth)]


def _whole_accuracy(rows: Sequence[CaseScores], seed: int) -> Score:
    """Of the cases whose class the model knows: "none of these" is right for no other."""
    family = means([{"accuracy": float(row.given == row.truth)} if row.truth else {} for row in rows], ("accuracy",))
    (estimate,) = estimates(family, np.arange(len(rows)), seed, _patients(rows))
    return Score(label=WHOLE, key=ALL, group=ALL, metric="accuracy", estimate=estimate)


def _by_lesion_size(rows: Sequence[CaseScores], name: str) -> Iterator[tuple[str, Family]]:
    lesions = lesions_of(rows, name)
    diameters = [float(d) for one in lesions if one is not None for d in one.diameters_mm]
    for label, low, high in lesion_bins(diameters):
        reported = [hits_of_size(one, low, high, reported=True).found > -np.inf for one in lesions]
        seen = [Counts(true_positive=int(one.sum()), false_positive=0, false_negative=int((~one).sum()),
                       true_negative=0) for one in reported]
        yield label, ratios(seen, ("recall",)).prefixed("lesion_")
        if any(one is not None and one.boxes is not None for one in lesions):
            yield label, free_response([hits_of_size(one, low, high) for one in lesions])


def _single(*, found: bool, truth: bool) -> Counts:
    return Counts(true_positive=int(found and truth), false_positive=int(found and not truth),
                  false_negative=int(truth and not found), true_negative=int(not found and not truth))
