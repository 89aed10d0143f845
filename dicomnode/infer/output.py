"""What a model gave, as the parent holds it: a label map, boxes or probabilities, on the source grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBox:
    """One detected box, axis-aligned with the source grid.

    Parameters
    ----------
    box_zyx:
        Edges (z0, y0, x0, z1, y1, x1) in source index coordinates: voxel k covers k - 0.5 to k + 0.5.
    label:
        Value of one of the model file's ``[[labels]]``.
    """

    box_zyx: tuple[float, float, float, float, float, float]
    label: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RawOutput:
    """What a bundle gave, on the source grid.

    Parameters
    ----------
    labels_zyx:
        uint8 or uint16, in the order of the stack's planes.
    seconds:
        Per stage: ``load`` (0 when warm), ``preprocess``, ``inference``, ``postprocess``, and ``transfer``, which is
        the rest of the wall time: copying, messages, checks.
    peak_mb:
        Largest resident memory of the child during this run.
    notes:
        Fallbacks that were taken.
    warnings:
        What a reader of the result must know.
    boxes:
        Of a detection; None for other tasks.
    probabilities:
        Of a classification: label value → probability; None for other tasks.
    map_zyx:
        Of each voxel what the model file's ``[outputs] quantity`` names, 0 to 1; None where nobody asked, or the model
        gives none.
    """

    labels_zyx: NDArray[np.uint8] | NDArray[np.uint16] | None
    seconds: Mapping[str, float]
    peak_mb: float
    device: str
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    boxes: tuple[RawBox, ...] | None = None
    probabilities: Mapping[int, float] | None = None
    map_zyx: NDArray[np.float32] | None = None


def boxes(found: Mapping[str, Any]) -> tuple[RawBox, ...] | None:
    """Return the boxes of a detection's answer; raises KeyError, TypeError, ValueError where it is none."""
    if "boxes" not in found:
        return None
    return tuple(_box(box) for box in found["boxes"])


def _box(said: Mapping[str, Any]) -> RawBox:
    z0, y0, x0, z1, y1, x1 = map(float, said["box_zyx"])
    return RawBox(box_zyx=(z0, y0, x0, z1, y1, x1), label=int(said["label"]), score=float(said["score"]))


def probabilities(found: Mapping[str, Any]) -> Mapping[int, float] | None:
    """Return the probabilities of a classification's answer; raises TypeError, ValueError where it is none."""
    said = found.get("probabilities")
    return None if said is None else {int(value): float(probability) for value, probability in said.items()}
