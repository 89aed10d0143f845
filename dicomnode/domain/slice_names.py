"""What people call the slices of a stack: their place along the normal, and the numbers that viewers show."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

INSTANCE: Final = "Instance Number"
FRAME: Final = "frame"
RUNS_SAID: Final = 5
"""Ranges of slices that a sentence lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceNames:
    """Slices count from 1 along the normal; what a viewer shows is said where it is another number.

    Parameters
    ----------
    word:
        What the numbers are: Instance Number (0020,0013), or frame of a multi-frame image.
    numbers:
        One per slice, in the order of their places; () where viewers have none, or one stands twice.
    """

    word: str = INSTANCE
    numbers: tuple[int, ...] = ()

    @property
    def _differ(self) -> bool:
        return self.numbers != tuple(range(1, len(self.numbers) + 1))

    def one(self, index: int) -> str:
        """Name the slice of an index, which counts from 0: ``slice 12 (Instance Number 88)``."""
        return f"slice {index + 1}" + (f" ({self.word} {self.numbers[index]})" if self._differ else "")

    def after(self, index: int) -> str:
        """Name the gap behind a slice: ``after slice 12 (between Instance Numbers 88 and 87)``."""
        if not self._differ:
            return f"after slice {index + 1}"
        return f"after slice {index + 1} (between {self.word}s {self.numbers[index]} and {self.numbers[index + 1]})"

    def pair(self, index: int) -> str:
        """Name a slice and the next: ``slices 12 and 13 (Instance Numbers 88 and 87)``."""
        shown = f" ({self.word}s {self.numbers[index]} and {self.numbers[index + 1]})" if self._differ else ""
        return f"slices {index + 1} and {index + 2}{shown}"

    def several(self, indices: Iterable[int]) -> str:
        """Name slices, single ones and ranges, the first five: ``slices 3, 7 to 9 (Instance Numbers 98, 94 to 92)``."""
        chosen = [int(index) for index in indices]
        plural = "s" if len(chosen) > 1 else ""
        shown = f" ({self.word}{plural} {_runs([self.numbers[index] for index in chosen])})" if self._differ else ""
        return f"slice{plural} {_runs([index + 1 for index in chosen])}{shown}"


def slice_names(shown: Iterable[tuple[int, int | None]]) -> SliceNames:
    """Name slices, in the order of their places, by the frame and the Instance Number of each."""
    frames, numbers = zip(*shown, strict=True)
    multiframe = max(frames) > 1
    found = [number for number in (frames if multiframe else numbers) if number is not None]
    return SliceNames(word=FRAME if multiframe else INSTANCE,
                      numbers=tuple(found) if len(set(found)) == len(frames) else ())


def _runs(numbers: list[int]) -> str:
    """Write numbers as single ones and ranges, which may run down."""
    runs: list[list[int]] = []
    for number in numbers:
        step = runs[-1][1] - runs[-1][0] if runs and len(runs[-1]) > 1 else 0
        if runs and number - runs[-1][-1] in ({step} if step else {1, -1}):
            runs[-1].append(number)
        else:
            runs.append([number])
    named = [f"{run[0]}" if len(run) == 1 else f"{run[0]} to {run[-1]}" for run in runs]
    more = f" and {len(named) - RUNS_SAID} more places" if len(named) > RUNS_SAID else ""
    return ", ".join(named[:RUNS_SAID]) + more
