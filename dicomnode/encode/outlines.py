"""The outlines of a mask along the edges of its pixels: filled again, they give back the same pixels.

Corners are counted from the image's top left corner: pixel (row, column) covers ``row`` to ``row + 1`` and ``column``
to ``column + 1``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


def outlines(mask_yx: NDArray[np.bool_]) -> list[Ints]:
    """Return one polygon per part of the mask, each shape (n, 2): corners as (row, column), not closed.

    Pixels that touch at a corner only are parts of their own. A hole is drawn by a keyhole: a channel without width
    along pixel edges leads from the outline to the hole, round it the other way, and back. Every reader of contours
    understands that; several contours on a slice some add, some subtract (PS3.3 C.8.8.6.3).

    Notes
    -----
    A corner is a vertex of the grid with one or three marked pixels round it, or two on a diagonal, which are two
    corners. Along a row of the grid corners pair up to horizontal edges, along a column to vertical ones.
    """
    rows, columns = (np.flatnonzero(mask_yx.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return []
    part = mask_yx[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    corners = _corners(part)
    loops = list(_loops(corners))
    drawing = _Drawing(corners=corners, loops=loops, places=[(row, column) for row, column in corners.yx.tolist()])
    outer = [bool(part[tuple(corners.yx[loop[0]])]) for loop in loops]
    drawing.attach([one for one, is_outer in enumerate(outer) if not is_outer])
    first = np.array([rows[0], columns[0]], dtype=np.int64)
    return [drawing.polygon(one) + first for one, is_outer in enumerate(outer) if is_outer]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Corners:
    """Corners in reading order; ``beside`` and ``above`` name each one's neighbour along its row and its column."""

    yx: Ints
    beside: Ints
    above: Ints


def _corners(mask_yx: NDArray[np.bool_]) -> _Corners:
    padded = np.pad(mask_yx, 1)
    upper_left, upper_right = padded[:-1, :-1], padded[:-1, 1:]
    lower_left, lower_right = padded[1:, :-1], padded[1:, 1:]
    falling = upper_left & lower_right & ~upper_right & ~lower_left
    rising = upper_right & lower_left & ~upper_left & ~lower_right
    single = np.argwhere(upper_left ^ upper_right ^ lower_left ^ lower_right)
    # Two corners on one spot: which comes first along the row, and which along the column, keeps the two pixels apart.
    kinds = [(single, 0, 0), (np.argwhere(falling), 0, 0), (np.argwhere(falling), 1, 1),
             (np.argwhere(rising), 0, 1), (np.argwhere(rising), 1, 0)]
    yx = np.concatenate([places for places, _, _ in kinds])
    in_row = np.concatenate([np.full(len(places), rank) for places, rank, _ in kinds])
    in_column = np.concatenate([np.full(len(places), rank) for places, _, rank in kinds])
    order = np.lexsort((in_row, yx[:, 1], yx[:, 0]))
    yx, in_column = yx[order], in_column[order]
    by_row = np.arange(len(yx))
    by_column = np.lexsort((in_column, yx[:, 0], yx[:, 1]))
    return _Corners(yx=yx, beside=_partners(by_row), above=_partners(by_column))


def _partners(order: Ints) -> Ints:
    partner = np.empty_like(order)
    partner[order[0::2]], partner[order[1::2]] = order[1::2], order[0::2]
    return partner


def _loops(corners: _Corners) -> list[list[int]]:
    """Return every closed walk over corners, each from its first corner in reading order, along its row at first."""
    beside, above = corners.beside.tolist(), corners.above.tolist()
    seen = [False] * len(beside)
    found = []
    for first in range(len(beside)):
        if seen[first]:
            continue
        loop, here = [], first
        while not seen[here]:
            there = beside[here]
            seen[here] = seen[there] = True
            loop += [here, there]
            here = above[there]
        found.append(loop)
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Drawing:
    """Loops, where corners lie, and which holes hang on which vertical edge: edge (corners, smaller first) → holes."""

    corners: _Corners
    loops: list[list[int]]
    places: list[tuple[int, int]]
    hanging: dict[tuple[int, int], list[int]] = field(default_factory=lambda: defaultdict(list))

    def attach(self, holes: Sequence[int]) -> None:
        """Hang each hole on the nearest vertical edge to the left of its first corner.

        Between the two all pixels above and below are marked: the edge belongs to the hole's own part of the mask.
        """
        yx, above = self.corners.yx, self.corners.above
        upper = np.flatnonzero(yx[:, 0] < yx[above, 0])
        length = yx[above[upper], 0] - yx[upper, 0] + 1
        edge = np.repeat(upper, length)
        row = np.arange(length.sum()) - np.repeat(np.cumsum(length) - length, length) + yx[edge, 0]
        edge_at = np.full(yx.max(axis=0) + 1, -1, dtype=np.int64)
        edge_at[row, yx[edge, 1]] = edge
        column = np.where(edge_at >= 0, np.arange(edge_at.shape[1]), -1)
        nearest = np.maximum.accumulate(column, axis=1)
        for hole in holes:
            y, x = self.places[self.loops[hole][0]]
            one = int(edge_at[y, nearest[y, x - 1]])
            other = int(above[one])
            self.hanging[min(one, other), max(one, other)].append(hole)

    def polygon(self, outer: int) -> Ints:
        """Return an outer loop with its holes as one polygon."""
        points: list[tuple[int, int]] = []
        self._walk(self.loops[outer], points)
        found = np.array(points, dtype=np.int64)
        moved = (found != np.roll(found, 1, axis=0)).any(axis=1)
        return np.asarray(found[moved])

    def _walk(self, loop: list[int], points: list[tuple[int, int]]) -> None:
        for here, there in zip(loop, [*loop[1:], loop[0]], strict=True):
            row, column = self.places[here]
            points.append((row, column))
            holes = self.hanging.get((min(here, there), max(here, there)))
            if holes:
                upwards = self.places[there][0] < row
                for hole in sorted(holes, key=lambda one: self.places[self.loops[one][0]], reverse=upwards):
                    self._walk_round(hole, column, points)

    def _walk_round(self, hole: int, column: int, points: list[tuple[int, int]]) -> None:
        """Go to a hole from the edge at ``column``, round it, and back."""
        first, *others = self.loops[hole]
        contact = self.places[first][0], column
        points.append(contact)
        self._walk([first, *reversed(others)], points)
        points += [self.places[first], contact]
