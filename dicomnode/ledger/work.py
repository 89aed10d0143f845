"""The engine of one state machine over any work table: jobs and deliveries differ only in what they carry.

Each function is one guarded UPDATE that names the states it may start from (``domain.work.TRANSITIONS``),
checks the row count, and writes the event in the same transaction.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Final, TypeAlias

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, literal_column, select, update

from dicomnode.domain.work import TRANSITIONS, Backoff, Claim, Move, State
from dicomnode.errors import ClaimLost
from dicomnode.ledger import events, tables

Values = Mapping[str, Any]
Found: TypeAlias = "Row[*tuple[Any, ...]]"

PAST: Final[Mapping[Move, str]] = MappingProxyType({
    Move.CLAIM: "claimed", Move.COMPLETE: "completed", Move.RETRY: "retried", Move.FAIL: "failed",
    Move.RELEASE: "released", Move.RESCUE: "rescued", Move.BURY: "buried", Move.AWAIT: "awaiting_commitment",
    Move.PROVED: "proved", Move.DISPROVED: "disproved", Move.REJECT: "rejected", Move.SUPERSEDE: "superseded",
    Move.CANCEL: "canceled", Move.REQUEUE: "requeued", Move.RESEND: "to_be_resent",
})
"""Move → end of its event's kind. RENEW has none: three a minute would drown the timeline, and no state changes."""

NOTHING: Final[Values] = MappingProxyType({})
FREE: Final[Values] = MappingProxyType({"token": None, "lease_until": None})
"""Nobody holds the work."""


@dataclass(frozen=True, slots=True)
class Queue:
    """One work table.

    Parameters
    ----------
    noun:
        Begins each event's kind, and its id column is ``<noun>_id``.
    """

    table: Table
    noun: str


JOBS: Final = Queue(tables.jobs, "job")
DELIVERIES: Final = Queue(tables.deliveries, "delivery")


def claim(
    c: Connection, queue: Queue, *, now: datetime, lease_s: float, owner: str, fits: Sequence[ColumnElement[bool]],
) -> tuple[Claim, Found] | None:
    """Take the most urgent work that is due and fits, or None: no two claimants ever take the same row.

    Notes
    -----
    One statement for both databases. On PostgreSQL SKIP LOCKED lets claimants pass each other; SQLite has
    one writer at a time, and SQLAlchemy leaves the clause out.
    """
    t = queue.table
    source, target = TRANSITIONS[Move.CLAIM]
    chosen = (
        _due(select(t.c.id), queue, now, fits).limit(1)
        .with_for_update(skip_locked=True).correlate(None).scalar_subquery()
    )
    token, lease_until = secrets.token_hex(16), now + timedelta(seconds=lease_s)
    row = c.execute(
        update(t).where(t.c.id == chosen, t.c.state.in_(source))
        .values(state=target, token=token, lease_until=lease_until, owner=owner, attempt=t.c.attempt + 1,
                claimed_at=now, changed_at=now)
        .returning(*t.c),
    ).one_or_none()
    if row is None:
        return None
    _tell(c, queue, Move.CLAIM, row, now=now, data={"owner": owner, "attempt": row.attempt})
    return Claim(work_id=row.id, token=token, attempt=row.attempt, lease_until=lease_until), row


def next_up(c: Connection, queue: Queue, *, now: datetime, fits: Sequence[ColumnElement[bool]]) -> Found | None:
    """Return the row that ``claim`` would take now; nothing is taken."""
    return c.execute(_due(select(*queue.table.c), queue, now, fits).limit(1)).one_or_none()


def _due(which: Select[Any], queue: Queue, now: datetime, fits: Sequence[ColumnElement[bool]]) -> Select[Any]:
    """Work that may be claimed, the most urgent first."""
    t = queue.table
    return which.where(scheduled(queue), t.c.run_after <= now, *fits).order_by(
        t.c.priority, t.c.turn, t.c.run_after, t.c.id)


def scheduled(queue: Queue) -> ColumnElement[bool]:
    """Return the condition that work waits, as a constant: a parameter would hide which index fits."""
    return queue.table.c.state == literal_column(f"'{State.SCHEDULED.value}'")


def renew(c: Connection, queue: Queue, held: Claim, *, now: datetime, lease_s: float) -> Claim:
    """Keep the claim for another ``lease_s``; no event.

    Raises
    ------
    ClaimLost
        If the row carries another token: rescued, canceled, superseded or proved meanwhile.
    """
    lease_until = now + timedelta(seconds=lease_s)
    _hold(c, queue, held, {"lease_until": lease_until})
    return Claim(work_id=held.work_id, token=held.token, attempt=held.attempt, lease_until=lease_until)


def touch(c: Connection, queue: Queue, held: Claim, *, now: datetime) -> None:
    """Lock the row for this transaction and see that the claim still stands; raises ClaimLost as ``renew``."""
    _hold(c, queue, held, {"changed_at": now})


def leave(
    c: Connection, queue: Queue, move: Move, held: Claim, *, now: datetime, spend: bool = True, text: str = "",
    data: Values | None = None, values: Values = NOTHING,
) -> Found:
    """End a claim by ``move``; with ``spend=False`` the attempt is given back.

    Raises
    ------
    ClaimLost
        As ``renew``; nothing is written.
    """
    t = queue.table
    attempt = {} if spend else {"attempt": t.c.attempt - 1}
    moved = _move(c, queue, move, [t.c.id == held.work_id, t.c.token == held.token], now=now, text=text, data=data,
                  values={**attempt, **values})
    if not moved:
        raise _lost(c, queue, move, held.work_id)
    return moved[0]


def order(
    c: Connection, queue: Queue, move: Move, work_id: int, *, now: datetime, text: str = "",
    values: Values = NOTHING,
) -> None:
    """Move one piece of work at an operator's word, whoever holds it.

    Raises
    ------
    ClaimLost
        If its state does not allow the move, or no such work is known; the message says which.
    """
    if not _move(c, queue, move, [queue.table.c.id == work_id], now=now, text=text, values=values):
        raise _lost(c, queue, move, work_id)


def order_all(
    c: Connection, queue: Queue, move: Move, which: Sequence[ColumnElement[bool]], *, now: datetime, text: str = "",
    values: Values = NOTHING,
) -> list[int]:
    """Move all work that satisfies ``which`` and whose state allows it; return the ids."""
    return sorted(row.id for row in _move(c, queue, move, which, now=now, text=text, values=values))


def rescue(
    c: Connection, queue: Queue, *, now: datetime, spent: ColumnElement[bool], backoff: Backoff,
) -> tuple[list[int], list[int]]:
    """Free what a dead claimant still holds; return (rescued, buried) ids.

    Parameters
    ----------
    spent:
        True for rows whose budget is used up: they are buried.
    """
    rescued, buried = [], []
    for row in _expired(c, queue, now, spent):
        t = queue.table
        which = [t.c.id == row.id, t.c.token == row.token, t.c.lease_until < now]
        said = f"{row.owner} claimed it and was not heard of again (attempt {row.attempt})"
        if row.is_spent:
            said = f"{said}; the budget is spent"
            moved = _move(c, queue, Move.BURY, which, now=now, text=said, values={"reason": said})
            buried += [one.id for one in moved]
        else:
            values = {"reason": said, "run_after": backoff.after(row.attempt, now)}
            moved = _move(c, queue, Move.RESCUE, which, now=now, text=said, values=values)
            rescued += [one.id for one in moved]
    return rescued, buried


def _hold(c: Connection, queue: Queue, held: Claim, values: Values) -> None:
    t = queue.table
    source, _ = TRANSITIONS[Move.RENEW]
    which = (t.c.id == held.work_id, t.c.token == held.token, t.c.state.in_(source))
    if c.execute(update(t).where(*which).values(**values)).rowcount != 1:
        raise _lost(c, queue, Move.RENEW, held.work_id)


def _expired(c: Connection, queue: Queue, now: datetime, spent: ColumnElement[bool]) -> Iterator[Found]:
    t = queue.table
    yield from c.execute(
        select(t.c.id, t.c.token, t.c.owner, t.c.attempt, spent.label("is_spent"))
        .where(t.c.state == State.IN_PROGRESS, t.c.lease_until < now)
        .order_by(t.c.id).with_for_update(skip_locked=True),
    ).all()


def _move(
    c: Connection, queue: Queue, move: Move, which: Sequence[ColumnElement[bool]], *, now: datetime, text: str = "",
    data: Values | None = None, values: Values = NOTHING,
) -> Sequence[Found]:
    """Move all rows that fit; whatever leaves a claim or enters another state is held by nobody."""
    t = queue.table
    source, target = TRANSITIONS[move]
    moved = c.execute(
        update(t).where(t.c.state.in_(source), *which).values(state=target, changed_at=now, **FREE, **values)
        .returning(t.c.id, t.c.study_uid, *([] if queue is JOBS else [t.c.job_id])),
    ).all()
    for row in moved:
        _tell(c, queue, move, row, now=now, text=text, data=data)
    return moved


def _tell(
    c: Connection, queue: Queue, move: Move, row: Found, *, now: datetime, text: str = "", data: Values | None = None,
) -> None:
    ids = {"job_id": row.id} if queue is JOBS else {"job_id": row.job_id, "delivery_id": row.id}
    events.record(c, at=now, kind=f"{queue.noun}_{PAST[move]}", study_uid=row.study_uid, text=text, data=data, **ids)


def _lost(c: Connection, queue: Queue, move: Move, work_id: int) -> ClaimLost:
    t = queue.table
    row = c.execute(select(t.c.state, t.c.owner).where(t.c.id == work_id)).one_or_none()
    if row is None:
        return ClaimLost(f"{queue.noun} {work_id} is not in the ledger")
    allowed = " or ".join(sorted(TRANSITIONS[move][0]))
    holder = f", held by {row.owner}" if row.state == State.IN_PROGRESS else ""
    return ClaimLost(f"{queue.noun} {work_id} is {row.state}{holder}; {move.value} is allowed from {allowed}")
