"""An evaluation as a document: what was scored on what, every score with its interval, every case."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from dicomnode import __version__
from dicomnode.train.dataset.cases import Dataset
from dicomnode.train.evaluate.runner import ModelScores
from dicomnode.train.score.bootstrap import DRAWS, Estimate
from dicomnode.train.score.case_scores import CaseScores, LesionScores
from dicomnode.train.score.froc import FALSE_MARKS_PER_SCAN, Froc, froc
from dicomnode.train.score.ranking import roc_points
from dicomnode.train.score.summary import Difference, Score, compared, scored, summary

FORMAT: Final = "dicomnode-evaluation/1"
MOST_CURVE_POINTS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """One or two models on the same cases.

    Parameters
    ----------
    scores : one list of rows per model.
    differences : second model minus first; empty for one model.
    """

    dataset: Dataset
    split: str
    seed: int
    made_at: datetime
    models: tuple[ModelScores, ...]
    scores: tuple[tuple[Score, ...], ...]
    differences: tuple[Difference, ...]


def evaluation_of(dataset: Dataset, split: str, models: Sequence[ModelScores], *, seed: int,
                  now: datetime) -> Evaluation:
    """Sum up what one or two models came to."""
    differences = tuple(compared(models[0], models[1], seed=seed)) if len(models) > 1 else ()
    return Evaluation(dataset=dataset, split=split, seed=seed, made_at=now, models=tuple(models),
                      scores=tuple(tuple(summary(one, seed=seed)) for one in models), differences=differences)


def to_json(evaluation: Evaluation) -> str:
    """Return the document; what is no number is null."""
    return json.dumps(_plain(document(evaluation)), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def score_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the scores of all models as rows: model, label, key, group, metric, value, low, high, cases."""
    rows: list[dict[str, Any]] = _plain([
        {"model": model.model.name, "label": score.label, "key": score.key, "group": score.group,
         "metric": score.metric, **_estimate(score.estimate)}
        for model, scores in zip(evaluation.models, evaluation.scores, strict=True) for score in scores])
    return rows


def difference_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """Return the differences as rows; ``verdict``: which model is higher, or that none is shown to be."""
    rows: list[dict[str, Any]] = _plain([
        {"label": one.label, "metric": one.metric, "first": one.first, "second": one.second,
         "difference": one.estimate.value, "low": one.estimate.low, "high": one.estimate.high,
         "cases": one.estimate.cases, "verdict": verdict(one.estimate)} for one in evaluation.differences])
    return rows


def verdict(estimate: Estimate) -> str:
    """Say whether a difference is one: 'second is higher', 'second is lower', or 'not shown'."""
    if estimate.low > 0:
        return "second is higher"
    return "second is lower" if estimate.high < 0 else "not shown"


def document(evaluation: Evaluation) -> dict[str, Any]:
    """Return the evaluation as plain data."""
    dataset = evaluation.dataset
    return {
        "format": FORMAT, "made_at": evaluation.made_at.isoformat(timespec="seconds"), "dicomnode": __version__,
        "dataset": {"name": dataset.name, "digest": dataset.digest, "task": dataset.task, "split": evaluation.split,
                    "cases": len(evaluation.models[0].cases)},
        "bootstrap": {"draws": DRAWS, "seed": evaluation.seed, "level": 0.95},
        "models": [_model(one) for one in evaluation.models],
        "scores": score_rows(evaluation),
        "differences": difference_rows(evaluation),
        "froc": [curve for one in evaluation.models for curve in _frocs(one)],
        "roc": [curve for one in evaluation.models for curve in _rocs(one)],
        "confusion": [row for one in evaluation.models for row in confusion(one)],
        "cases": [_case(one, row) for one in evaluation.models for row in one.cases],
    }


def confusion(scores: ModelScores) -> list[dict[str, Any]]:
    """Return, of a classification, how many cases of each true class were reported as which; null is none of them."""
    rows = [(row.truth or None, row.given or None) for row in scored(scores.cases) if row.probabilities]
    return [{"model": scores.model.name, "truth": truth, "reported": given, "cases": count}
            for (truth, given), count in sorted(Counter(rows).items(), key=lambda item: str(item[0]))]


def curves(scores: ModelScores) -> dict[str, Froc]:
    """Return the FROC of each label that the model gives scores for."""
    rows = scored(scores.cases)
    found = {}
    for pair in scores.pairs:
        lesions = [row.labels[pair.name].lesions for row in rows if pair.name in row.labels]
        with_scores = [one for one in lesions if one is not None and one.boxes is not None]
        if with_scores:
            found[pair.name] = froc([one.hits for one in with_scores])
    return found


def _model(scores: ModelScores) -> dict[str, Any]:
    model = scores.model
    return {
        "name": model.name, "version": model.version, "task": model.task, "bundle": model.bundle,
        "digest": model.digest, "model_file_digest": model.file_digest, "device": scores.device,
        "labels": [pair.name for pair in scores.pairs], "notes": list(scores.notes),
        "scored": len(scored(scores.cases)), "failed": sum(bool(row.failed) for row in scores.cases),
        "seconds_per_case": _mean([row.seconds for row in scored(scores.cases)]),
        "peak_mb": max((row.peak_mb for row in scores.cases), default=0.0),
    }


def _frocs(scores: ModelScores) -> list[dict[str, Any]]:
    return [
        {"model": scores.model.name, "label": label, "findings": curve.findings, "scans": curve.scans,
         "false_per_scan": list(FALSE_MARKS_PER_SCAN), "sensitivity": list(curve.sensitivities), "cpm": curve.cpm,
         "threshold": [curve.threshold(count) for count in FALSE_MARKS_PER_SCAN],
         "curve": {"false_per_scan": thinned(curve.false_per_scan.tolist()),
                   "sensitivity": thinned(curve.sensitivity.tolist()), "score": thinned(curve.score.tolist())}}
        for label, curve in curves(scores).items()]


def _rocs(scores: ModelScores) -> list[dict[str, Any]]:
    rows = [row for row in scored(scores.cases) if row.probabilities]
    found = []
    for name in (pair.name for pair in scores.pairs) if rows else ():
        false, true = roc_points([row.probabilities.get(name, 0.0) for row in rows],
                                 [row.truth == name for row in rows])
        found.append({"model": scores.model.name, "label": name, "false_positive_rate": thinned(false),
                      "true_positive_rate": thinned(true)})
    return found


def thinned(values: Sequence[float]) -> list[float]:
    """Return at most ``MOST_CURVE_POINTS`` of a curve's numbers, the first and the last among them."""
    step = -(-len(values) // MOST_CURVE_POINTS)
    return [*values[:-1:step], values[-1]] if step > 1 else list(values)


def _case(scores: ModelScores, row: CaseScores) -> dict[str, Any]:
    return {
        "model": scores.model.name, "id": row.case.id, "group": dict(row.group), "failed": row.failed or None,
        "seconds": row.seconds, "notes": list(row.notes),
        "overlap": {name: dict(label.overlap) for name, label in row.labels.items() if label.overlap},
        "lesions": {name: _lesions(label.lesions) for name, label in row.labels.items() if label.lesions is not None},
        "probabilities": dict(row.probabilities), "truth": row.truth or None, "reported": row.given or None,
    }


def _lesions(lesions: LesionScores) -> dict[str, Any]:
    reported = (lesions.reported.found > -math.inf).tolist()
    return {
        "true": [{"diameter_mm": diameter, "reported": seen, "best_score": score if score > -math.inf else None}
                 for diameter, seen, score in zip(lesions.diameters_mm.tolist(), reported,
                                                  lesions.hits.found.tolist(), strict=True)],
        "false_reported": lesions.reported.false.size,
        "false_scores": sorted(lesions.hits.false.tolist(), reverse=True)[:20],
    }


def _estimate(estimate: Estimate) -> dict[str, Any]:
    return {"value": estimate.value, "low": estimate.low, "high": estimate.high, "cases": estimate.cases}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON is what it is
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else None
    return value
