"""Confidence intervals by drawing cases anew, with a seed: the same cases give the same interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

DRAWS: Final = 1000
LEVEL: Final = 0.95
FEWEST_CASES: Final = 3
"""Below so many patients (cases, where each is its own) an interval would say nothing."""

Weights = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A value with its 95 % interval; ``low`` and ``high`` are nan below three patients.

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
    """Return the mean over cases with its interval; cases that have no number (nan) are left out."""
    array = np.asarray(values, np.float64)
    known = array[~np.isnan(array)]
    if not known.size:
        return estimate([float("nan")], 0)
    drawn = draws(known.size, seed) @ known / known.size
    return estimate([float(known.mean()), *drawn], known.size)


def estimate(column: ArrayLike, cases: int, people: int | None = None) -> Estimate:
    """Return the first number as the value, with the interval that the others, drawn anew, give.

    Parameters
    ----------
    people : whose the cases are; each case its own where None.
    """
    numbers = np.asarray(column, np.float64)
    value, drawn = float(numbers[0]), numbers[1:][~np.isnan(numbers[1:])]
    if (cases if people is None else people) < FEWEST_CASES or not drawn.size or np.isnan(value):
        return Estimate(value=value, low=float("nan"), high=float("nan"), cases=cases)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=value, low=float(low), high=float(high), cases=cases)
