"""Long lists of UIDs or numbers, cut to what one statement may carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

PARAMETERS_AT_MOST: Final = 5000
"""SQLite takes 32,766 parameters in one statement, PostgreSQL 65,535."""

T = TypeVar("T")


def chunks(values: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield ``values`` in parts that fit."""
    for start in range(0, len(values), PARAMETERS_AT_MOST):
        yield values[start:start + PARAMETERS_AT_MOST]
