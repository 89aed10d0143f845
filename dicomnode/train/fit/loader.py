"""The samples of every step, drawn ahead by worker processes; which they are depends on seed and step alone.

Sample k of step s comes from a generator seeded with (seed, s, k). So the number of workers changes nothing, a resumed
training draws what the interrupted one would have drawn, and several processes share one batch as one would draw it.
"""

from __future__ import annotations

import bisect
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from dicomnode.train.fit.tasks import Batch, Prepared, Sample, Stage

Draw = Callable[[Prepared, Stage, np.random.Generator], Sample]
Place = tuple[int, int]
"""Step from 0, and which sample of its batch."""
DRAWS_STREAM: Final = 1
ORDER_STREAM: Final = 2
AHEAD_PER_WORKER: Final = 4


class Timetable:
    """Which stage and which case each sample of each step belongs to."""

    def __init__(self, stages: Sequence[Stage], cases: int, seed: int) -> None:
        self._stages, self._cases, self._seed = tuple(stages), cases, seed
        self._ends = list(accumulate(stage.steps for stage in stages))
        self._samples_before = [0, *accumulate(stage.steps * stage.batch_size for stage in stages)]
        self._order: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    @property
    def steps(self) -> int:
        """How many steps there are in all."""
        return self._ends[-1]

    def stage(self, step: int) -> Stage:
        """The stage of a step counted from 0."""
        return self._stages[bisect.bisect_right(self._ends, step)]

    def case(self, place: Place) -> int:
        """Index of the case: every case comes once before any comes again."""
        step, slot = place
        number = bisect.bisect_right(self._ends, step)
        begin = self._ends[number - 1] if number else 0
        count = self._samples_before[number] + (step - begin) * self._stages[number].batch_size + slot
        epoch, at = divmod(count, self._cases)
        if self._order[0] != epoch:
            generator = np.random.default_rng((self._seed, ORDER_STREAM, epoch))
            self._order = (epoch, generator.permutation(self._cases))
        return int(self._order[1][at])


class _Draws(TorchDataset[tuple[str, Sample]]):
    """What the workers of torch's loader call."""

    def __init__(self, draw: Draw, cases: Sequence[Prepared], timetable: Timetable, seed: int) -> None:
        self._draw, self._cases, self._timetable, self._seed = draw, cases, timetable, seed

    def __getitem__(self, place: Place) -> tuple[str, Sample]:
        prepared = self._cases[self._timetable.case(place)]
        rng = np.random.default_rng((self._seed, DRAWS_STREAM, *place))
        return prepared.case.id, self._draw(prepared, self._timetable.stage(place[0]), rng)


def batches(
    draw: Draw, cases: Sequence[Prepared], timetable: Timetable, *, seed: int, first_step: int, workers: int,
    device: torch.device, rank: int = 0, processes: int = 1,
) -> Iterator[tuple[int, Batch]]:
    """Every step from ``first_step`` on, with this process's part of its batch on the device.

    Parameters
    ----------
    workers : processes that draw ahead; 0 draws in this one.
    rank, processes : this process takes every ``processes``-th sample of a batch, beginning with ``rank``.
    """
    steps = range(first_step, timetable.steps)
    places = [[(step, slot) for slot in range(rank, timetable.stage(step).batch_size, processes)] for step in steps]
    forks = "fork" in multiprocessing.get_all_start_methods()
    workers = workers if forks else 0
    loader: DataLoader[Any] = DataLoader(
        _Draws(draw, cases, timetable, seed), batch_sampler=places, collate_fn=list, num_workers=workers,
        prefetch_factor=AHEAD_PER_WORKER if workers else None, pin_memory=device.type == "cuda",
        multiprocessing_context="fork" if workers else None, worker_init_fn=_end_quietly)
    for step, drawn in zip(steps, loader, strict=True):
        ids, samples = zip(*drawn, strict=True)
        yield step, Batch(case_ids=ids, samples=tuple(moved(sample, device) for sample in samples))


def _end_quietly(_worker: int) -> None:
    """Let a worker whose trainer was interrupted go without a traceback; what a sample raises reaches the trainer."""
    sys.excepthook = lambda *_: None


def moved(sample: Sample, device: torch.device) -> Sample:
    """A sample whose tensors lie on a device."""
    return {key: value.to(device, non_blocking=True) if isinstance(value, torch.Tensor) else value
            for key, value in sample.items()}
