"""What one model came to in one case: overlap of each structure, lesions seen and dreamt up, classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.findings import ModelFindings, Presence, marked
from dicomnode.domain.model import ModelFile
from dicomnode.domain.volume import SliceStack
from dicomnode.infer.output import RawOutput
from dicomnode.train.dataset.cases import Case, Dataset
from dicomnode.train.score.case_image import CaseImage
from dicomnode.train.score.froc import ScanHits, scan_hits
from dicomnode.train.score.intended import refusals
from dicomnode.train.score.label_match import Pair
from dicomnode.train.score.lesions import (
    SURE,
    centres_and_sizes,
    component_boxes,
    component_hits,
    diameters_mm,
    edges_of,
    from_centre_and_size,
    upright,
)
from dicomnode.train.score.overlap import Counts, counts, surface_distance
from dicomnode.train.score.precision import ScanBoxes

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LesionScores:
    """The lesions of one label in one case.

    Parameters
    ----------
    hits : at every score that the model gives, most below what the node reports.
    reported : at what the node reports.
    boxes : for average precision; None where the model gives no scores.
    diameters_mm : of the true lesions, in the order of ``hits.found``.
    """

    hits: ScanHits
    reported: ScanHits
    boxes: ScanBoxes | None
    diameters_mm: Floats

    @property
    def counts(self) -> Counts:
        """What the node reports: seen, false, missed."""
        seen = int((self.reported.found > -np.inf).sum())
        return Counts(true_positive=seen, false_positive=self.reported.false.size,
                      false_negative=self.reported.found.size - seen, true_negative=0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelScores:
    """One label in one case; ``overlap`` holds the metrics of masks by name and is empty without masks."""

    overlap: Mapping[str, float] = field(default_factory=dict)
    lesions: LesionScores | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CaseScores:
    """One model in one case.

    Parameters
    ----------
    group : what scores are broken down by, text or number.
    failed : why there is no score; empty otherwise.
    probabilities : of a classification, by the names of the pairs.
    truth, given : the true class, and the one that the node reports; empty for none of the pairs.
    """

    case: Case
    group: Mapping[str, str | float]
    labels: Mapping[str, LabelScores] = field(default_factory=dict)
    probabilities: Mapping[str, float] = field(default_factory=dict)
    truth: str = ""
    given: str = ""
    seconds: float = 0.0
    peak_mb: float = 0.0
    notes: tuple[str, ...] = ()
    failed: str = ""


def score_case(image: CaseImage, dataset: Dataset, model: ModelFile, pairs: Sequence[Pair], output: RawOutput,
               findings: ModelFindings, every: ModelFindings) -> CaseScores:
    """Score what the node gave for one case.

    Parameters
    ----------
    findings : what the node reports.
    every : what it would report of a detector if its threshold were 0; else the same.
    """
    labels = {pair.name: _label_scores(image, dataset, model, pair, findings, every) for pair in pairs}
    given = output.probabilities or {}
    names = {pair.truth_index: pair.name for pair in pairs}
    return CaseScores(
        case=image.case, group=group_of(image), labels=labels,
        probabilities={pair.name: float(given[pair.model_value]) for pair in pairs if pair.model_value in given},
        truth=names.get(image.case.klass, "") if image.case.klass is not None else "",
        given=_reported_class(findings, pairs),
        seconds=sum(output.seconds.values()) - output.seconds.get("load", 0.0), peak_mb=output.peak_mb,
        notes=(*refusals(image, dataset, model), *output.notes, *findings.warnings))


def _reported_class(findings: ModelFindings, pairs: Sequence[Pair]) -> str:
    """The most probable class that the node calls present; empty where it calls none, or cannot tell."""
    names = {pair.model_value: pair.name for pair in pairs}
    present = [one for one in findings.classifications if one.presence is Presence.PRESENT]
    best = max(present, key=lambda one: one.probability, default=None)
    return "" if best is None else names.get(best.of.value, "")


def group_of(image: CaseImage) -> dict[str, str | float]:
    """Return the case's group; the distance of its slices is measured where the data set does not say it."""
    given = {key: value if isinstance(value, str) else float(value) for key, value in image.case.group.items()}
    return {"slice_mm": round(image.volume.stack.slice_spacing_mm, 3), **given}


def found_mask(findings: ModelFindings, pair: Pair) -> Mask | None:
    """Return what the node's segmentation shows of a label; None where there is no segmentation."""
    segmentation = findings.segmentation
    if segmentation is None:
        return None
    return marked(segmentation.mask_zyx, pair.model_value, overlapping=segmentation.overlapping)


def true_boxes(image: CaseImage, dataset: Dataset, pair: Pair) -> Floats:
    """Return the true lesions of a label as (n, 6) corners in LPS mm: the data set's boxes, or those of its maps."""
    if dataset.task == "detection" or image.truth_zyx is None:
        chosen = [place for place, index in enumerate(image.case.box_labels) if index == pair.truth_index]
        return from_centre_and_size(image.case.boxes_lps_mm[chosen])
    parts = component_boxes(image.truth_zyx == pair.truth_value)
    return upright(edges_of(parts), image.volume.stack.affine_lps_mm)


def found_boxes(findings: ModelFindings, stack: SliceStack, pair: Pair, mask: Mask | None) -> tuple[Floats, Floats]:
    """Return the marks of a model for a label: (n, 6) corners in LPS mm, and their scores."""
    if mask is not None:
        parts = component_boxes(mask)
        return upright(edges_of(parts), stack.affine_lps_mm), np.full(len(parts), SURE)
    said = [(one.box_zyx, one.probability) for one in findings.detections
            if one.label.value == pair.model_value and one.box_zyx is not None]
    corners = upright([box for box, _ in said], stack.affine_lps_mm)
    return corners, np.array([SURE if score is None else score for _, score in said], np.float64)


def _label_scores(image: CaseImage, dataset: Dataset, model: ModelFile, pair: Pair, findings: ModelFindings,
                  every: ModelFindings) -> LabelScores:
    if model.task == "classification":
        return LabelScores()
    mask = found_mask(findings, pair)
    truth = None if image.truth_zyx is None else image.truth_zyx == pair.truth_value
    overlap = _overlap(mask, truth, image.volume.stack) if mask is not None and truth is not None else {}
    if not pair.lesion and model.task != "detection":
        return LabelScores(overlap=overlap)
    boxes = true_boxes(image, dataset, pair)
    if mask is not None and truth is not None and dataset.task == "segmentation":
        hits = reported = component_hits(mask, truth)
        return LabelScores(overlap=overlap, lesions=LesionScores(
            hits=hits, reported=reported, boxes=None, diameters_mm=diameters_mm(boxes, image.volume.stack.normal_lps)))
    return LabelScores(overlap=overlap, lesions=_lesions(image, pair, mask, findings, every, boxes))


def _lesions(image: CaseImage, pair: Pair, mask: Mask | None, findings: ModelFindings, every: ModelFindings,
             truth: Floats) -> LesionScores:
    """Match boxes, or the boxes of a mask's components, with true boxes."""
    (reported, reported_scores), (corners, scores) = (
        found_boxes(found, image.volume.stack, pair, mask) for found in (findings, every))
    centres, sizes = centres_and_sizes(truth)
    return LesionScores(
        hits=scan_hits(centres_and_sizes(corners)[0], scores, centres, sizes),
        reported=scan_hits(centres_and_sizes(reported)[0], reported_scores, centres, sizes),
        boxes=ScanBoxes(found=corners, scores=scores, truth=truth) if mask is None else None,
        diameters_mm=diameters_mm(truth, image.volume.stack.normal_lps))


def _overlap(found: Mask, truth: Mask, stack: SliceStack) -> dict[str, float]:
    both = counts(found, truth)
    row_mm, column_mm = stack.planes[0].pixel_spacing_mm
    surface = surface_distance(found, truth, (stack.slice_spacing_mm, row_mm, column_mm))
    found_ml, truth_ml, shared_ml = (_volume_ml(mask, stack) for mask in (found, truth, found & truth))
    error = found_ml - truth_ml
    return {
        "dice": both.dice, "iou": both.iou, "precision": both.precision, "recall": both.recall,
        "specificity": both.specificity, "accuracy": both.accuracy,
        "hd95_mm": surface.hd95_mm, "assd_mm": surface.assd_mm,
        "volume_error_ml": error, "volume_error_percent": 100 * error / truth_ml if truth_ml else float("nan"),
        "found_ml": found_ml, "truth_ml": truth_ml, "shared_ml": shared_ml,
    }


def _volume_ml(mask: Mask, stack: SliceStack) -> float:
    per_slice: NDArray[Any] = np.count_nonzero(mask, axis=(1, 2))
    return float(per_slice @ stack.slice_volumes_ml)
