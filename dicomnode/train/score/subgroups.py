"""Which cases, and which lesions, are looked at apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.train.score.case_scores import CaseScores

ALL: Final = "all"
SLICE_EDGES_MM: Final = (0.0, 1.5, 2.5, 4.0, np.inf)
LESION_EDGES_MM: Final = (0.0, 4.0, 6.0, 8.0, 11.0, 16.0, 30.0, np.inf)
FEWEST_FOR_THIRDS: Final = 6
MOST_TEXTS: Final = 12
"""A key with more different texts than this is no group but a name."""

Indices = NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """Cases that have something in common; ``key`` says what, ``name`` what it is."""

    key: str
    name: str
    cases: Indices


def case_groups(rows: Sequence[CaseScores]) -> list[Group]:
    """Return all cases, then the groups of each key that splits them: slice distance, maker, what the data set says."""
    found = [Group(key=ALL, name=ALL, cases=np.arange(len(rows)))]
    for key in sorted({key for row in rows for key in row.group}):
        values = [row.group.get(key) for row in rows]
        texts = [value for value in values if isinstance(value, str)]
        parts = _by_text(key, values) if texts else _by_number(key, values)
        found += parts if len(parts) > 1 else []
    return found


def size_groups(rows: Sequence[CaseScores], label: str) -> list[Group]:
    """Return the cases whose structure is small, middle or large, a third each."""
    volumes = [row.labels[label].overlap.get("truth_ml", 0.0) or None if label in row.labels else None for row in rows]
    return _thirds("size", volumes, "ml")


def lesion_bins(diameters_mm: Sequence[float]) -> list[tuple[str, float, float]]:
    """Return the ranges of diameters that hold a lesion: name, from, below; none where all lie in one."""
    bins = [(low, high) for low, high in pairwise(LESION_EDGES_MM) if any(low <= d < high for d in diameters_mm)]
    return [(_range(low, high, "mm"), low, high) for low, high in bins] if len(bins) > 1 else []


def _by_text(key: str, values: Sequence[object]) -> list[Group]:
    texts = sorted({value for value in values if isinstance(value, str)})
    if len(texts) > MOST_TEXTS:
        return []
    return [Group(key=key, name=text, cases=_where([value == text for value in values])) for text in texts]


def _by_number(key: str, values: Sequence[str | float | None]) -> list[Group]:
    numbers = [value if isinstance(value, int | float) else None for value in values]
    if key != "slice_mm":
        return _thirds(key, numbers, "")
    parts = [Group(key=key, name=_range(low, high, "mm"),
                   cases=_where([value is not None and low < value <= high for value in numbers]))
             for low, high in pairwise(SLICE_EDGES_MM)]
    return [part for part in parts if len(part.cases)]


def _thirds(key: str, values: Sequence[float | None], unit: str) -> list[Group]:
    known = [value for value in values if value is not None]
    if len(known) < FEWEST_FOR_THIRDS or len(set(known)) < len(("small", "middle", "large")):
        return []
    edges = [-np.inf, *np.quantile(known, [1 / 3, 2 / 3]), np.inf]
    parts = [Group(key=key, name=_range(low, high, unit),
                   cases=_where([value is not None and low < value <= high for value in values]))
             for low, high in pairwise(edges)]
    return [part for part in parts if len(part.cases)]


def _range(low: float, high: float, unit: str) -> str:
    least, most = (f"{edge:.0f}" if abs(edge) >= 100 else f"{edge:.3g}" for edge in (low, high))  # noqa: PLR2004
    if not np.isfinite(high):
        return f"above {least} {unit}".rstrip()
    return f"up to {most} {unit}".rstrip() if low <= 0 else f"{least} to {most} {unit}".rstrip()


def _where(chosen: Sequence[bool]) -> Indices:
    return np.flatnonzero(np.asarray(chosen, bool))
