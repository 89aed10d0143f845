"""Free-response ROC: how many findings are seen, at how many false marks per scan.

The rules are those of the LUNA16 challenge: a mark within a finding sees it; of several marks in one finding the
surest counts and the others are no errors; a mark in a finding that readers called irrelevant counts neither way;
the curve is linear between its points and is read at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false marks per scan, whose mean is
the competition performance metric (CPM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

FALSE_MARKS_PER_SCAN: Final = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
MOST_MARKS: Final = 100
"""Of each scan only so many of the surest marks are read, as in the challenge."""
UNKNOWN_SIZE_MM: Final = 10.0
"""Diameter of an irrelevant finding whose size nobody noted (given as -1)."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ScanHits:
    """What the marks of one scan came to.

    Parameters
    ----------
    found : for each finding, the score of the surest mark within it; -inf where it was missed.
    false : the scores of the marks that lie in nothing.
    """

    found: Floats
    false: Floats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Froc:
    """The curve, from the strictest threshold to the mildest; the first point is (0, 0).

    Parameters
    ----------
    false_per_scan, sensitivity, score : the points, and the score at or above which marks count there.
    """

    false_per_scan: Floats
    sensitivity: Floats
    score: Floats
    findings: float
    scans: float

    def at(self, false_per_scan: float) -> float:
        """Sensitivity at a number of false marks per scan; nan where there was nothing to find."""
        if not self.findings:
            return float("nan")
        return float(np.interp(false_per_scan, self.false_per_scan, self.sensitivity))

    def threshold(self, false_per_scan: float) -> float:
        """The lowest score at which there are no more false marks per scan; above all scores where none is."""
        return float(self.score[np.flatnonzero(self.false_per_scan <= false_per_scan)[-1]])

    @property
    def sensitivities(self) -> tuple[float, ...]:
        """Sensitivity at each of ``FALSE_MARKS_PER_SCAN``."""
        return tuple(self.at(count) for count in FALSE_MARKS_PER_SCAN)

    @property
    def cpm(self) -> float:
        """The mean of the seven sensitivities."""
        return float(np.mean(self.sensitivities))


def scan_hits(
    marks_mm: ArrayLike,
    scores: ArrayLike,
    centres_mm: ArrayLike,
    sizes_mm: ArrayLike,
    *,
    irrelevant_mm: ArrayLike = (),
    irrelevant_sizes_mm: ArrayLike = (),
    most: int = MOST_MARKS,
) -> ScanHits:
    """Match the marks of one scan with its findings.

    Parameters
    ----------
    marks_mm : (n, 3) points, in the frame of the findings.
    centres_mm : (m, 3).
    sizes_mm : (m,) diameters of spheres, or (m, 3) edges of boxes, of which the inscribed ellipsoid counts.
    irrelevant_mm, irrelevant_sizes_mm : findings that need not be seen; a size of -1 is unknown.
    """
    points, sure = _points(marks_mm), np.asarray(scores, np.float64).reshape(-1)
    kept = np.argsort(-sure, kind="stable")[:most]
    points, sure = points[kept], sure[kept]
    within = _within(points, _points(centres_mm), sizes_mm)
    aside = _within(points, _points(irrelevant_mm), irrelevant_sizes_mm)
    found = np.where(within, sure[:, None], -np.inf).max(axis=0, initial=-np.inf)
    return ScanHits(found=found, false=sure[~within.any(axis=1) & ~aside.any(axis=1)])


def froc(scans: Sequence[ScanHits]) -> Froc:
    """Return the curve over scans."""
    return SortedHits(scans).curve()


class SortedHits:
    """The hits of all scans sorted by score once, so that each draw of a bootstrap only counts."""

    def __init__(self, scans: Sequence[ScanHits]) -> None:
        scores = np.concatenate([np.empty(0), *(np.concatenate([scan.found, scan.false]) for scan in scans)])
        real = np.concatenate([np.empty(0, bool), *(_real(scan) for scan in scans)])
        scan = np.repeat(np.arange(len(scans)), [scan.found.size + scan.false.size for scan in scans])
        seen = scores > -np.inf
        order = np.argsort(-scores[seen], kind="stable")
        self._scores, self._real, self._scan = scores[seen][order], real[seen][order], scan[seen][order]
        self._last = np.flatnonzero(np.diff(self._scores, append=-np.inf))  # equal scores share one threshold
        self._findings = np.array([scan.found.size for scan in scans], np.float64)

    def curve(self, weights: ArrayLike | None = None) -> Froc:
        """Return the curve.

        Parameters
        ----------
        weights : (scans,) how often each scan counts: a draw of a bootstrap; once where None.
        """
        often = np.ones(self._findings.size) if weights is None else np.asarray(weights, np.float64)
        findings, scans, weight = float(often @ self._findings), float(often.sum()), often[self._scan]
        return Froc(
            false_per_scan=self._points(weight * ~self._real) / max(scans, 1.0),
            sensitivity=self._points(weight * self._real) / max(findings, 1.0),
            score=np.concatenate([[np.inf], self._scores[self._last]]),
            findings=findings, scans=scans)

    def _points(self, steps: Floats) -> Floats:
        return np.concatenate([[0.0], np.cumsum(steps)[self._last]])


def _real(scan: ScanHits) -> NDArray[np.bool_]:
    return np.arange(scan.found.size + scan.false.size) < scan.found.size


def _points(values: ArrayLike) -> Floats:
    return np.asarray(values, np.float64).reshape(-1, 3)


def _within(points: Floats, centres: Floats, sizes_mm: ArrayLike) -> NDArray[np.bool_]:
    """(n, m): whether each point lies strictly within each finding."""
    sizes = np.asarray(sizes_mm, np.float64)
    edges = sizes if sizes.ndim == 2 else np.repeat(sizes.reshape(-1, 1), 3, axis=1)  # noqa: PLR2004 - (m, 3) or (m,)
    half = np.where(edges < 0, UNKNOWN_SIZE_MM, edges) / 2.0
    apart = (points[:, None] - centres[None]) / np.maximum(half, np.finfo(np.float64).tiny)[None]
    return np.asarray((apart**2).sum(axis=2) < 1.0)
