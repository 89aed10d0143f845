"""The learning rate as a function of the step, so that a resumed training needs no memory of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicomnode.train.fit.settings import Schedule
    from dicomnode.train.fit.tasks import Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycle:
    """One rise and fall of the rate: steps ``begin`` (inclusive) to ``end`` (exclusive), counted from 0."""

    begin: int
    end: int
    peak: float

    def rate(self, step: int, schedule: Schedule) -> float:
        """Learning rate of a step of this cycle."""
        return self.peak * share_of_peak((step - self.begin) / max(1, self.end - self.begin - 1), schedule)


def share_of_peak(progress: float, schedule: Schedule) -> float:
    """Rate over peak rate at ``progress`` (0 to 1) of a cycle.

    ``one_cycle`` rises as a cosine over ``warm_up`` and falls as one; ``cosine`` rises in a line and falls as a cosine;
    ``constant`` rises in a line and stays.
    """
    warm = schedule.warm_up
    if progress < warm:
        part = progress / warm
        part = (1.0 - math.cos(math.pi * part)) / 2.0 if schedule.shape == "one_cycle" else part
        return schedule.first + (1.0 - schedule.first) * part
    if schedule.shape == "constant":
        return 1.0
    part = (progress - warm) / (1.0 - warm)
    return schedule.final + (1.0 - schedule.final) * (1.0 + math.cos(math.pi * part)) / 2.0


def cycles_of(stages: Sequence[Stage]) -> tuple[Cycle, ...]:
    """The cycles that the stages make: one begins with the first stage and at every restart."""
    cycles: list[Cycle] = []
    begin = end = 0
    peak = stages[0].learning_rate
    for number, stage in enumerate(stages):
        if stage.restart and number:
            cycles.append(Cycle(begin=begin, end=end, peak=peak))
            begin, peak = end, stage.learning_rate
        end += stage.steps
    return (*cycles, Cycle(begin=begin, end=end, peak=peak))
