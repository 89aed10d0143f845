"""What of a model's answer becomes a finding: thresholds that belong to a task."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionSettings:
    """Which boxes of a detector become findings.

    ``score_at_least``: boxes below this score are left out.
    ``nms_iou``: of two boxes of one label that overlap more than this (intersection over union), the stronger stays.
    ``most``: of the boxes that remain, so many of the highest scores.
    """

    score_at_least: float = 0.5
    nms_iou: float = 0.15
    most: int = 50

    def __post_init__(self) -> None:
        """Refuse fractions outside 0 to 1 and a number below 1."""
        for name in ("score_at_least", "nms_iou"):
            if not 0 <= getattr(self, name) <= 1:
                msg = f"{name} = {getattr(self, name)}: allowed are values of 0 to 1"
                raise ValueError(msg)
        if self.most < 1:
            msg = f"most = {self.most}: allowed are values above 0"
            raise ValueError(msg)
