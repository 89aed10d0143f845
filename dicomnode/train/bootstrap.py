"""Confidence intervals by drawing cases anew, with a seed: the same cases give the same interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

DRAWS: Final = 1000
LEVEL: Final = 0.95
FEWEST_CASES: Final = 3
"""Below so many cases an interval would say nothing."""

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; ``low`` and ``high`` are nan below three cases.

    Parameters
    ----------
    cases : over how many cases the value runs.
    """

    value: float
    low: float
    high: float
    cases: int


def draws(cases: int, seed: int, *, count: int = DRAWS) -> Weights:
    """(count, cases): how often each draw, with replacement, took each case."""
    rng = np.random.default_rng((seed, cases, 0xB007))
    return np.asarray(rng.multinomial(cases, np.full(cases, 1.0 / cases), size=count), np.float64)


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean over cases with its interval; cases that have no number are left out."""
    array = np.asarray(values, np.float64)
    known = array[~np.isnan(array)]
    if not known.size:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), cases=0)
    if known.size < FEWEST_CASES:
        return Estimate(value=float(known.mean()), low=float("nan"), high=float("nan"), cases=known.size)
    means = draws(known.size, seed) @ known / known.size
    return _estimate(float(known.mean()), means, known.size)


def bootstrap_statistic(statistic: Callable[[Weights], float], cases: int, seed: int = 0) -> Estimate:
    """Return a statistic of all cases, which takes how often each counts, with its interval."""
    value = statistic(np.ones(cases)) if cases else float("nan")
    if cases < FEWEST_CASES:
        return Estimate(value=value, low=float("nan"), high=float("nan"), cases=cases)
    return _estimate(value, np.array([statistic(row) for row in draws(cases, seed)]), cases)


def _estimate(value: float, drawn: NDArray[np.float64], cases: int) -> Estimate:
    known = drawn[~np.isnan(drawn)]
    if not known.size:
        return Estimate(value=value, low=float("nan"), high=float("nan"), cases=cases)
    low, high = np.quantile(known, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), cases=cases)
