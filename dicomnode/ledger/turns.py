"""Whose turn it is: lanes of one priority are served in rotation, whatever the backlog of each.

Work gets its turn when it is made, so that a claim stays one look at the head of an index. A lane's next turn is one
behind its last that still waits, and never before the one that is served now: five hundred studies of one sender stand
behind one another, and the first of another sender goes in at the head.

Notes
-----
This is fair queueing by start times, in units of work. Every turn is reached, since those given later are never lower:
nothing starves. To choose the lane at the claim instead, by counting what each has in progress, made a claim as dear as
the backlog is long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, func, select, update

from dicomnode.ledger.chunks import chunks
from dicomnode.ledger.work import JOBS, Queue, scheduled


def next_turn(c: Connection, queue: Queue, *, lane: str, priority: int) -> int:
    """Return the turn of what joins a lane now; two who ask at once may get the same, and the older goes first."""
    t = queue.table.c
    last = select(func.max(t.turn)).where(lane_of(queue) == lane, t.priority == priority, scheduled(queue))
    served = select(func.max(t.turn)).where(t.priority == priority, t.claimed_at.is_not(None), ~scheduled(queue))
    return max(_number(c, last), _number(c, served)) + 1


def rejoin(c: Connection, queue: Queue, ids: Sequence[int], *, priority: int | None = None) -> None:
    """Let work go to the end of its lane, in the order of its ids; of another priority where one is given."""
    t = queue.table.c
    rows = [row for part in chunks(ids)
            for row in c.execute(select(t.id, lane_of(queue).label("lane"), t.priority).where(t.id.in_(part)))]
    for row in sorted(rows, key=lambda one: one.id):
        wanted = row.priority if priority is None else priority
        turn = next_turn(c, queue, lane=row.lane, priority=wanted)
        c.execute(update(queue.table).where(t.id == row.id).values(turn=turn, priority=wanted))


def lane_of(queue: Queue) -> Column[Any]:
    """Return the column whose values take turns: sender and route of a job, receiver of a delivery."""
    return queue.table.c.lane if queue is JOBS else queue.table.c.peer


def _number(c: Connection, query: Select[Any]) -> int:
    found: Row[Any] = c.execute(query).one()
    return int(found[0] or 0)
