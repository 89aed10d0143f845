"""The plots of an evaluation, each as an SVG in a data URI, so that the page needs no other file."""

from __future__ import annotations

import base64
import importlib.util
import io
from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np

from dicomnode.train.evaluate.document import curves
from dicomnode.train.evaluate.runner import ModelScores
from dicomnode.train.score.froc import FALSE_MARKS_PER_SCAN
from dicomnode.train.score.ranking import roc_points
from dicomnode.train.score.subgroups import ALL
from dicomnode.train.score.summary import Difference, Score, scored

COLOURS: Final = ("#1f5fbf", "#d1660b")
"""Of the first and of the second model."""
GREY: Final = "#5b6675"
SIZE_INCHES: Final = (5.4, 3.3)

Axes = Any


def per_case(models: Sequence[ModelScores], label: str, metric: str, title: str) -> str:
    """Each case as a dot, with the median; the models side by side."""
    columns = [[row.labels[label].overlap[metric] for row in scored(one.cases) if row.labels[label].overlap]
               for one in models]
    columns = [[value for value in column if not np.isnan(value)] for column in columns]
    if not any(columns):
        return ""

    def draw(axes: Axes) -> None:
        for place, values in enumerate(columns):
            spread = np.random.default_rng(len(values)).uniform(-0.16, 0.16, len(values))
            axes.plot(spread + place, values, "o", ms=4.5, alpha=0.65, color=COLOURS[place], mec="none")
            if values:
                axes.hlines(np.median(values), place - 0.28, place + 0.28, color=COLOURS[place], lw=2)
        axes.set_xticks(range(len(models)), [one.model.name for one in models])
        axes.set_xlim(-0.6, len(models) - 0.4)

    return _svg(draw, title, "", metric_name(metric))


def volumes(models: Sequence[ModelScores], label: str) -> str:
    """Found volume against the true one, with the line where both are equal."""
    rows = [[row.labels[label].overlap for row in scored(one.cases) if row.labels[label].overlap] for one in models]
    top = max((max(one["truth_ml"], one["found_ml"]) for column in rows for one in column), default=0.0)
    if top <= 0:
        return ""

    def draw(axes: Axes) -> None:
        axes.plot([0, top * 1.05], [0, top * 1.05], color=GREY, lw=1, ls="--")
        for place, column in enumerate(rows):
            axes.plot([one["truth_ml"] for one in column], [one["found_ml"] for one in column], "o", ms=4.5,
                      alpha=0.7, color=COLOURS[place], mec="none", label=models[place].model.name)
        axes.set_xlim(0, top * 1.05)
        axes.set_ylim(0, top * 1.05)
        axes.legend(frameon=False, fontsize=8)

    return _svg(draw, f"{label}: volume", "true volume, ml", "found volume, ml")


def free_response(models: Sequence[ModelScores], label: str) -> str:
    """The FROC with the seven points that the CPM is the mean of; a model without scores is one cross."""
    points = [(place, _point(one, label)) for place, one in enumerate(models)]
    found = [(place, curves(one).get(label)) for place, one in enumerate(models)]
    known = [(place, curve) for place, curve in found if curve is not None and curve.findings]
    if not known:
        return ""

    def draw(axes: Axes) -> None:
        for place, curve in known:
            across = np.geomspace(FALSE_MARKS_PER_SCAN[0], FALSE_MARKS_PER_SCAN[-1], 200)
            name = f"{models[place].model.name}, CPM {curve.cpm:.3f}"
            axes.plot(across, [curve.at(count) for count in across], color=COLOURS[place], lw=1.8, label=name)
            axes.plot(FALSE_MARKS_PER_SCAN, curve.sensitivities, "o", ms=4.5, color=COLOURS[place])
        for place, point in points:
            name = f"{models[place].model.name}, as reported"
            axes.plot([max(point[0], FALSE_MARKS_PER_SCAN[0])], [point[1]], "X", ms=9, color=COLOURS[place],
                      mec="white", label=name)
        axes.set_xscale("log", base=2)
        axes.set_xlim(FALSE_MARKS_PER_SCAN[0] / 1.2, FALSE_MARKS_PER_SCAN[-1] * 1.2)
        axes.set_xticks(FALSE_MARKS_PER_SCAN, ["1/8", "1/4", "1/2", "1", "2", "4", "8"])
        axes.set_ylim(0, 1.02)
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    return _svg(draw, f"{label}: FROC", "false marks per scan", "sensitivity")


def _point(scores: ModelScores, label: str) -> tuple[float, float]:
    """False lesions per scan and sensitivity at what the node reports."""
    lesions = [row.labels[label].lesions for row in scored(scores.cases) if label in row.labels]
    counts = [one.counts for one in lesions if one is not None]
    true = sum(one.true_positive + one.false_negative for one in counts)
    false = sum(one.false_positive for one in counts)
    return false / max(len(counts), 1), sum(one.true_positive for one in counts) / max(true, 1.0)


def receiver(models: Sequence[ModelScores], label: str) -> str:
    """The ROC of a class against all others."""
    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--")
        for place, one in enumerate(models):
            rows = [row for row in scored(one.cases) if row.probabilities]
            false, true = roc_points([row.probabilities.get(label, 0.0) for row in rows],
                                     [row.truth == label for row in rows])
            axes.plot(false, true, color=COLOURS[place], lw=1.8, label=one.model.name)
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    return _svg(draw, f"{label}: ROC", "1 - specificity", "sensitivity")


def intervals(scores: Sequence[Score], metric: str, title: str) -> str:
    """One metric by group, each with its interval; a line where all cases lie."""
    rows = [score for score in scores if score.metric == metric and not np.isnan(score.estimate.value)]
    whole = next((score.estimate.value for score in rows if score.key == ALL), None)
    parts = [score for score in rows if score.key != ALL]
    if not parts:
        return ""

    def draw(axes: Axes) -> None:
        for place, score in enumerate(reversed(parts)):
            _interval(axes, place, score.estimate.value, score.estimate.low, score.estimate.high)
        if whole is not None:
            axes.axvline(whole, color=GREY, lw=1, ls="--")
        axes.set_ylim(-0.6, len(parts) - 0.4)
        axes.set_yticks(range(len(parts)), [f"{score.key}: {score.group} (n={score.estimate.cases})"
                                            for score in reversed(parts)], fontsize=8)

    return _svg(draw, title, metric_name(metric), "", height=1.1 + 0.26 * len(parts))


def forest(differences: Sequence[Difference], label: str) -> str:
    """The differences of the metrics of a label that run from 0 to 1, each with its interval."""
    rows = [one for one in differences if one.label == label and unit_of(one.metric) == ""
            and not np.isnan(one.estimate.value)]
    if not rows:
        return ""

    def draw(axes: Axes) -> None:
        axes.axvline(0, color=GREY, lw=1, ls="--")
        for place, one in enumerate(reversed(rows)):
            _interval(axes, place, one.estimate.value, one.estimate.low, one.estimate.high)
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(range(len(rows)), [metric_name(one.metric) for one in reversed(rows)], fontsize=8)

    return _svg(draw, f"{label}: second minus first", "difference", "", height=1.1 + 0.24 * len(rows))


def unit_of(metric: str) -> str:
    """Return the unit of a metric: mm, ml, %, per scan, or nothing where it runs from 0 to 1."""
    for ending, unit in (("_mm", "mm"), ("_ml", "ml"), ("_percent", "%"), ("false_per_scan", "per scan")):
        if metric.endswith(ending):
            return unit
    return ""


NAMES: Final = {
    "dice": "Dice (= F1 of voxels)", "dice_pooled": "Dice, pooled", "iou": "IoU", "hd95_mm": "HD95, mm",
    "assd_mm": "mean surface distance, mm",
    "volume_error_ml": "volume error, ml", "volume_error_percent": "volume error, %", "cpm": "CPM",
    "map_10_50": "mAP, IoU 0.10 to 0.50", "ap_10": "AP at IoU 0.10", "ap_50": "AP at IoU 0.50",
    "roc_auc": "ROC-AUC", "f1": "F1", "lesion_recall": "sensitivity, by lesion", "lesion_precision":
    "precision, by lesion", "lesion_f1": "F1, by lesion", "false_per_scan": "false lesions per scan",
    "recall": "recall (sensitivity)",
}


def metric_name(metric: str) -> str:
    """Return a metric as people say it."""
    if metric in NAMES:
        return NAMES[metric]
    if metric.startswith("sensitivity_at_"):
        return f"sensitivity at {metric.removeprefix('sensitivity_at_')} false per scan"
    if metric.startswith("case_"):
        return f"{metric_name(metric.removeprefix('case_'))}, by case"
    return metric.replace("_", " ")


def _interval(axes: Axes, place: int, value: float, low: float, high: float) -> None:
    if not np.isnan(low):
        axes.hlines(place, low, high, color=COLOURS[0], lw=2)
    axes.plot([value], [place], "o", color=COLOURS[0], ms=5)


def can_plot() -> bool:
    """Whether matplotlib is there; without it the page has no plots."""
    return importlib.util.find_spec("matplotlib") is not None


def _svg(draw: Callable[[Axes], None], title: str, across: str, up: str, *, height: float = SIZE_INCHES[1]) -> str:
    if not can_plot():
        return ""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE_INCHES[0], height), layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    figure.suptitle(title, fontsize=10, x=0.02, ha="left")
    axes.set_xlabel(across, fontsize=9)
    axes.set_ylabel(up, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    file = io.BytesIO()
    with rc_context({"svg.hashsalt": "dicomnode"}):  # the same plot is the same bytes
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
