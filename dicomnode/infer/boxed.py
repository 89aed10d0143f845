"""From a detector's boxes to findings: which boxes count, and what each says about its place and size.

The diameter is the longer side of the box in the slice; a box has no volume. The key slice is the one nearest to
the box's middle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.findings import Detection, ModelFindings, Provenance
from dicomnode.domain.model import Label, ModelFile
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.errors import ModelFailed
from dicomnode.infer.boxes import strongest
from dicomnode.infer.midline import left_right_axis, middle_mm, side
from dicomnode.infer.output import RawBox, RawOutput

Box = tuple[float, float, float, float, float, float]


def box_findings(
    model: ModelFile, volume: Volume, output: RawOutput, *, provenance: Provenance,
    tracking_uid: Callable[[str], str],
) -> ModelFindings:
    """Turn a detector's boxes into findings, largest first.

    Boxes below ``[detection] score_at_least`` or their label's ``min_diameter_mm`` are left out first, so that none of
    them takes the place of a finding; then of boxes of one type of finding that mark the same place all but the
    strongest (``boxes.strongest``); at most ``most`` remain.

    Raises
    ------
    ModelFailed
        If a box has a label that the model file does not name, or no extent.
    """
    if output.boxes is None:
        msg = f"model {model.name}: gave no boxes; expected is a list of them, empty where nothing was found"
        raise ModelFailed(msg)
    stack, labels = volume.stack, {label.value: label for label in model.labels}
    inside = [box for box in (_within(one, stack, model) for one in output.boxes) if box is not None]
    chosen = _strong(model, [box for box in inside
                             if _diameter_mm(box.box_zyx, stack) >= labels[box.label].min_diameter_mm])
    chosen.sort(key=lambda box: (-_diameter_mm(box.box_zyx, stack), box.box_zyx))
    empty = np.zeros(stack.shape_zyx[left_right_axis(stack)], dtype=np.int64)
    middle = middle_mm(volume, empty) if chosen else None
    names = numbered([labels[box.label] for box in chosen])
    return ModelFindings(
        provenance=provenance, stack=stack, looked_for=model.labels, seconds=output.seconds,
        detections=tuple(_detection(box, labels[box.label], (number, name), stack, middle, tracking_uid)
                         for number, (box, name) in enumerate(zip(chosen, names, strict=True), start=1)))


def numbered(labels: Sequence[Label]) -> list[str]:
    """Name findings by their label and their place among those of it: no reader looks for a missing ``Mass 1``."""
    counts: Counter[str] = Counter()
    names = []
    for label in labels:
        counts[label.name] += 1
        names.append(f"{label.name} {counts[label.name]}")
    return names


def _within(box: RawBox, stack: SliceStack, model: ModelFile) -> RawBox | None:
    """Return the box cut to the image; None where it lies outside."""
    low, high = np.array(box.box_zyx[:3]), np.array(box.box_zyx[3:])
    if box.label not in {label.value for label in model.labels} or not (low < high).all() or not 0 <= box.score <= 1:
        msg = (f"model {model.name}: box {box.box_zyx} with label {box.label} and score {box.score}: allowed are low "
               f"edges below high ones, the labels {[label.value for label in model.labels]}, scores of 0 to 1")
        raise ModelFailed(msg)
    low, high = np.maximum(low, -0.5), np.minimum(high, np.array(stack.shape_zyx) - 0.5)
    if not (low < high).all():
        return None
    return RawBox(box_zyx=_box(low, high), label=box.label, score=box.score)


def _box(low: NDArray[np.float64], high: NDArray[np.float64]) -> Box:
    z0, y0, x0 = (float(value) for value in low)
    z1, y1, x1 = (float(value) for value in high)
    return z0, y0, x0, z1, y1, x1


def _strong(model: ModelFile, boxes: Sequence[RawBox]) -> list[RawBox]:
    """Return the boxes that the model file's thresholds leave, strongest first."""
    settings = model.detection
    types = {label.value: (label.type.scheme, label.type.value) for label in model.labels}
    kept: list[RawBox] = []
    for kind in dict.fromkeys(types.values()):
        own = [box for box in boxes if types[box.label] == kind and box.score >= settings.score_at_least]
        places = np.array([box.box_zyx for box in own], dtype=np.float64).reshape(-1, 6)
        scores = np.array([box.score for box in own], dtype=np.float64)
        kept += [own[index] for index in strongest(places, scores, settings.nms_iou)]
    return sorted(kept, key=lambda box: (-box.score, box.box_zyx))[: settings.most]


def _diameter_mm(box: Box, stack: SliceStack) -> float:
    row_mm, column_mm = stack.planes[0].pixel_spacing_mm
    return max((box[4] - box[1]) * row_mm, (box[5] - box[2]) * column_mm)


def _detection(box: RawBox, label: Label, called: tuple[int, str], stack: SliceStack, middle: float | None,
               tracking_uid: Callable[[str], str]) -> Detection:
    x, y, z = (float(value) for value in _middle_lps_mm(box.box_zyx, stack, 1.0))
    depth = float(_middle_lps_mm(box.box_zyx, stack, 0.0) @ stack.normal_lps)
    middle_index = round(float(np.interp(depth, stack.along_normal_mm, np.arange(len(stack.planes)))), 6)
    number, name = called
    return Detection(
        label=label, number=number, centre_lps_mm=(x, y, z), key_slice=_clipped(middle_index, len(stack.planes)),
        box_yx=_outline(box.box_zyx, stack), diameter_mm=_diameter_mm(box.box_zyx, stack), volume_ml=None,
        probability=box.score, tracking_uid=tracking_uid(name), tracking_id=name, box_zyx=box.box_zyx,
        side=side(x, middle, label.modifier))


def _middle_lps_mm(box: Box, stack: SliceStack, inside: float) -> NDArray[np.float64]:
    """Return the place halfway in mm between a box's two faces; with ``inside`` 0 that of row 0 and column 0.

    Where slices are uneven, the slice halfway by number lies elsewhere.
    """
    row, column = inside * (box[1] + box[4]) / 2, inside * (box[2] + box[5]) / 2
    return (stack.to_lps_mm((box[0], row, column)) + stack.to_lps_mm((box[3], row, column))) / 2


def _outline(box: Box, stack: SliceStack) -> tuple[int, int, int, int]:
    """Return the voxels of the slice whose larger part lies inside: first row, first column, last row, last column."""
    first_row, first_column = _clipped(box[1] + 0.5, stack.rows), _clipped(box[2] + 0.5, stack.columns)
    last_row, last_column = _clipped(box[4] - 0.5, stack.rows), _clipped(box[5] - 0.5, stack.columns)
    return first_row, first_column, max(first_row, last_row), max(first_column, last_column)


def _clipped(place: float, count: int) -> int:
    return int(np.clip(np.floor(place + 0.5), 0, count - 1))
