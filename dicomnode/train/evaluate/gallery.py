"""Pictures of the worst cases: the slice with most error, truth and finding drawn on it."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.findings import ModelFindings
from dicomnode.domain.model import ModelFile
from dicomnode.train.dataset.cases import Dataset
from dicomnode.train.evaluate.slice_picture import Drawn, drawn_boxes, drawn_masks
from dicomnode.train.score.case_image import CaseImage
from dicomnode.train.score.case_scores import CaseScores, LabelScores, found_boxes, found_mask, true_boxes
from dicomnode.train.score.label_match import Pair, matched
from dicomnode.train.score.lesions import upright

KEPT: Final = 3
"""Worst cases pictured per model and label."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One case of one label: how bad it is (1 is nothing right), what is said below it, and a PNG as data URI."""

    badness: float
    case_id: str
    caption: str
    source: str


class Gallery:
    """Keeps the worst pictures of each model and label while cases come and go."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._kept: dict[tuple[str, str], list[Picture]] = {}

    def pictures(self, model: str, label: str) -> list[Picture]:
        """Return what was kept, the worst first."""
        return self._kept.get((model, label), [])

    def watch(self, model: ModelFile) -> Callable[[CaseImage, ModelFindings, CaseScores], None]:
        """Return what ``evaluate`` calls after each case of a model."""
        pairs, _ = matched(model, self._dataset)

        def look(image: CaseImage, findings: ModelFindings, row: CaseScores) -> None:
            for pair in pairs:
                if pair.name in row.labels:
                    self._look(model, image, findings, pair, row.labels[pair.name])

        return look

    def _look(self, model: ModelFile, image: CaseImage, findings: ModelFindings, pair: Pair,
              scores: LabelScores) -> None:
        how_bad = badness(scores)
        kept = self._kept.setdefault((model.name, pair.name), [])
        if how_bad <= 0 or (len(kept) == KEPT and how_bad <= kept[-1].badness):
            return
        drawn = self._drawn(image, findings, pair)
        if drawn is None:
            return
        kept.append(Picture(badness=how_bad, case_id=image.case.id, source=_data_uri(drawn.rgb_yx),
                            caption=f"slice {drawn.slice_number} of {image.volume.stack.shape_zyx[0]}: "
                                    f"{described(scores)}"))
        kept.sort(key=lambda picture: -picture.badness)
        del kept[KEPT:]

    def _drawn(self, image: CaseImage, findings: ModelFindings, pair: Pair) -> Drawn | None:
        mask = found_mask(findings, pair)
        if mask is not None and image.truth_zyx is not None:
            return drawn_masks(image.volume, mask, image.truth_zyx == pair.truth_value)
        stack = image.volume.stack
        to_index = np.asarray(np.linalg.inv(stack.affine_lps_mm), np.float64)
        truth = upright(true_boxes(image, self._dataset, pair), to_index)
        found = upright(found_boxes(findings, stack, pair, mask)[0], to_index)
        return drawn_boxes(image.volume, found, truth)


def badness(scores: LabelScores) -> float:
    """Return how bad a case is, to order cases by: lesions missed or dreamt up first, then what overlap lacks."""
    lacks = 1.0 - scores.overlap["dice"] if "dice" in scores.overlap else 0.0
    lacks = 0.0 if np.isnan(lacks) else lacks
    if scores.lesions is None:
        return lacks
    return scores.lesions.counts.false_negative + scores.lesions.counts.false_positive + lacks


def described(scores: LabelScores) -> str:
    """Return a case in few words."""
    words = []
    if "dice" in scores.overlap:
        words.append(f"Dice {scores.overlap['dice']:.3f}")
        if not np.isnan(scores.overlap["hd95_mm"]):
            words.append(f"HD95 {scores.overlap['hd95_mm']:.1f} mm")
    if scores.lesions is not None:
        seen = scores.lesions.counts
        words.append(f"{seen.true_positive:g} of {scores.lesions.reported.found.size} lesions seen, "
                     f"{seen.false_positive:g} false")
    return ", ".join(words)


def _data_uri(rgb_yx: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = io.BytesIO()
    picture: Any = Image.fromarray(rgb_yx)
    picture.save(file, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
