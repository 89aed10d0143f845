"""An evaluation as one HTML page that needs nothing else: plots, the worst cases pictured, every score."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dicomnode import __version__
from dicomnode.train.evaluate import plots
from dicomnode.train.evaluate.document import Evaluation, confusion, curves, verdict
from dicomnode.train.evaluate.gallery import Gallery
from dicomnode.train.evaluate.glossary import GLOSSARY
from dicomnode.train.evaluate.plots import metric_name, unit_of
from dicomnode.train.evaluate.runner import ModelScores
from dicomnode.train.score.bootstrap import DRAWS, Estimate
from dicomnode.train.score.case_scores import CaseScores
from dicomnode.train.score.froc import FALSE_MARKS_PER_SCAN
from dicomnode.train.score.subgroups import ALL
from dicomnode.train.score.summary import WHOLE, Score, scored

HEADLINES: Final = ("dice", "hd95_mm", "volume_error_percent", "sensitivity_at_1", "cpm", "map_10_50", "lesion_recall",
                    "false_per_scan", "roc_auc", "f1", "recall", "precision", "accuracy")
VOXELS_LAST: Final = 3
"""The last headlines are for cases only: of voxels they say little."""
MOST_HEADLINES: Final = 6
PLACES: Final = ("first", "second")
NOTHING: Final = "–"


def page(evaluation: Evaluation, gallery: Gallery) -> str:
    """Return the page; it holds no patient data, as the data set holds none."""
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("evaluation.html").render(_context(evaluation, gallery))


def _context(evaluation: Evaluation, gallery: Gallery) -> dict[str, Any]:
    models = evaluation.models
    names = [pair.name for pair in models[0].pairs]
    names += [pair.name for pair in models[-1].pairs if pair.name not in names]
    whole = [WHOLE] if any(one.model.task == "classification" for one in models) else []
    metrics = {score.metric for scores in evaluation.scores for score in scores}
    columns = list(_columns(models, names))
    return {
        "title": f"{' and '.join(one.model.name for one in models)} on {evaluation.dataset.name}",
        "dataset": evaluation.dataset, "split": evaluation.split, "cases": len(models[0].cases),
        "scored": min(len(scored(one.cases)) for one in models), "draws": DRAWS, "seed": evaluation.seed,
        "several": len(models) > 1, "version": __version__, "made_at": f"{evaluation.made_at:%Y-%m-%d %H:%M} UTC",
        "models": [_model(one, place) for place, one in enumerate(models)],
        "notes": [*dict.fromkeys(f"{one.model.name}: {note}" for one in models for note in one.notes), *_no_plots()],
        "failures": [f"{one.model.name}, case {row.case.id} is not scored: {row.failed}"
                     for one in models for row in one.cases if row.failed],
        "labels": [_label(evaluation, gallery, name) for name in (*whole, *names)],
        "confusions": [_confusion(one) for one in models if confusion(one)],
        "case_columns": [f"{name}: {what}" for name, what in columns],
        "case_rows": [_case(one, row, columns) for one in models for row in one.cases],
        "glossary": [(term, meaning) for term, about, meaning in GLOSSARY
                     if any(metric.startswith(about) for metric in metrics)],
    }


def _no_plots() -> list[str]:
    return [] if plots.can_plot() else ["No plots: matplotlib is not installed (pip install 'dicomnode-monai[train]')"]


def _model(scores: ModelScores, place: int) -> dict[str, Any]:
    model, rows = scores.model, scored(scores.cases)
    return {
        "name": model.name, "version": model.version, "task": model.task, "digest": model.digest,
        "intended_use": model.intended_use, "device": scores.device or NOTHING, "colour": plots.COLOURS[place],
        "seconds": f"{np.mean([row.seconds for row in rows]):.1f}" if rows else NOTHING,
        "peak_mb": f"{max((row.peak_mb for row in rows), default=0.0):.0f}",
    }


def _label(evaluation: Evaluation, gallery: Gallery, name: str) -> dict[str, Any]:
    rows = [(one.model.name, place, score) for place, (one, scores) in
            enumerate(zip(evaluation.models, evaluation.scores, strict=True)) for score in scores
            if score.label == name]
    pictures = [{"model": one.model.name, "case_id": picture.case_id, "caption": picture.caption,
                 "source": picture.source}
                for one in evaluation.models for picture in gallery.pictures(one.model.name, name)]
    return {
        "name": name, "cards": list(_cards(rows)), "thresholds": list(_thresholds(evaluation, name)),
        "plots": list(_plots(evaluation, name)), "pictures": pictures,
        "scores": [_score(model, score) for model, _, score in rows if score.key == ALL],
        "groups": [_score(model, score) for model, _, score in rows if score.key != ALL],
        "differences": [
            {"metric": metric_name(one.metric), "first": number(one.first, one.metric),
             "second": number(one.second, one.metric), "difference": number(one.estimate.value, one.metric),
             "range": _range(one.estimate, one.metric), "cases": one.estimate.cases, "verdict": verdict(one.estimate)}
            for one in evaluation.differences if one.label == name],
    }


def _thresholds(evaluation: Evaluation, name: str) -> Iterator[dict[str, Any]]:
    """What a detector's ``score_at_least`` would have to be for so many false marks per scan, and what it then sees."""
    for one in evaluation.models:
        curve = curves(one).get(name)
        if curve is not None and curve.findings:
            points = [(count, curve.threshold(count), curve.at(count)) for count in FALSE_MARKS_PER_SCAN]
            yield {"model": one.model.name, "now": f"{one.model.detection.score_at_least:g}", "points": [
                (f"{count:g}", f"{score:.4f}" if np.isfinite(score) else NOTHING, f"{seen:.3f}")
                for count, score, seen in points]}


def _confusion(scores: ModelScores) -> dict[str, Any]:
    rows = confusion(scores)
    truths = sorted({row["truth"] or NOTHING for row in rows})
    given = sorted({row["reported"] or NOTHING for row in rows})
    counts = {(row["truth"] or NOTHING, row["reported"] or NOTHING): row["cases"] for row in rows}
    return {"model": scores.model.name, "given": given,
            "rows": [(truth, [counts.get((truth, one), 0) for one in given]) for truth in truths]}


def _cards(rows: Sequence[tuple[str, int, Score]]) -> Iterator[dict[str, str]]:
    by_metric = {(score.metric, place): (model, score) for model, place, score in rows
                 if score.key == ALL and not np.isnan(score.estimate.value)}
    known = {metric for metric, _ in by_metric}
    wanted = HEADLINES[:-VOXELS_LAST] if "dice" in known else HEADLINES
    shown = [metric for metric in wanted if metric in known][:MOST_HEADLINES]
    for metric in shown:
        for place, css in enumerate(PLACES):
            if (metric, place) in by_metric:
                model, score = by_metric[metric, place]
                yield {"what": metric_name(metric), "model": model, "place": css,
                       "value": number(score.estimate.value, metric), "range": _range(score.estimate, metric)}


def _plots(evaluation: Evaluation, name: str) -> Iterator[dict[str, str]]:
    models = [one for one in evaluation.models if name in {pair.name for pair in one.pairs}]
    if not models:
        return
    with_masks = [one for one in models if any(row.labels[name].overlap for row in scored(one.cases))]
    scores = [score for score in evaluation.scores[0] if score.label == name]
    made = []
    if with_masks:
        made += [("Dice of each case", plots.per_case(with_masks, name, "dice", f"{name}: Dice of each case")),
                 ("volumes", plots.volumes(with_masks, name))]
    made.append(("FROC", plots.free_response(models, name)))
    if any(row.probabilities for one in models for row in one.cases):
        made.append(("ROC", plots.receiver(models, name)))
    first = evaluation.models[0].model.name
    made += [(f"{metric} by group", plots.intervals(scores, metric, f"{name}: {metric_name(metric)}, {first}"))
             for metric in ("dice", "lesion_recall", "sensitivity_at_1", "f1")]
    made.append(("differences", plots.forest(evaluation.differences, name)))
    yield from ({"alt": f"{name}: {alt}", "source": source} for alt, source in made if source)


def _columns(models: Sequence[ModelScores], names: Sequence[str]) -> Iterator[tuple[str, str]]:
    rows = [row for one in models for row in scored(one.cases)]
    for name in names:
        known = [row.labels[name] for row in rows if name in row.labels]
        if any(one.overlap for one in known):
            yield from ((name, "Dice"), (name, "HD95 mm"))
        if any(one.lesions is not None for one in known):
            yield name, "seen / false"
        if any(name in row.probabilities for row in rows):
            yield name, "probability"


def _case(scores: ModelScores, row: CaseScores, columns: Sequence[tuple[str, str]]) -> dict[str, Any]:
    said = f"truth {row.truth or NOTHING}, reported {row.given or NOTHING}" if row.probabilities else ""
    return {
        "model": scores.model.name, "id": row.case.id, "failed": row.failed, "seconds": f"{row.seconds:.1f}",
        "group": ", ".join(f"{key} {value}" for key, value in row.group.items()),
        "cells": [_cell(row, name, what) for name, what in columns],
        "remark": row.failed or "; ".join((*([said] if said else []), *row.notes)),
    }


def _cell(row: CaseScores, name: str, what: str) -> str:
    label = row.labels.get(name)
    if what == "probability":
        return f"{row.probabilities[name]:.3f}" if name in row.probabilities else NOTHING
    if label is None:
        return NOTHING
    if what == "seen / false":
        if label.lesions is None:
            return NOTHING
        counts = label.lesions.counts
        return f"{counts.true_positive:g} of {label.lesions.reported.found.size} / {counts.false_positive:g}"
    metric = "dice" if what == "Dice" else "hd95_mm"
    return number(label.overlap.get(metric, float("nan")), metric)


def _score(model: str, score: Score) -> dict[str, Any]:
    return {"model": model, "key": score.key, "group": score.group, "metric": metric_name(score.metric),
            "value": number(score.estimate.value, score.metric), "range": _range(score.estimate, score.metric),
            "cases": score.estimate.cases}


def number(value: float, metric: str) -> str:
    """Write a value as finely as its metric deserves."""
    if np.isnan(value):
        return NOTHING
    if unit_of(metric) not in {"mm", "ml", "%"}:
        return f"{value:.3f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"  # noqa: PLR2004 - two digits or more


def _range(estimate: Estimate, metric: str) -> str:
    if np.isnan(estimate.low):
        return NOTHING
    return f"{number(estimate.low, metric)} to {number(estimate.high, metric)}"
