"""Peers that do not answer, or that are too busy: nothing is sent to them until it is time to try again.

One outage is one row, whatever the number of results that wait: a peer that is away costs one attempt each time,
and not one for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import cast

from sqlalchemy import Connection, Select, delete, insert, select, update

from dicomnode.domain.work import Backoff, State
from dicomnode.ledger import events, tables
from dicomnode.ledger.chunks import chunks

_OUTAGE = tables.outages.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Outage:
    """A peer that is away, since when, and when it is tried next."""

    peer: str
    since: datetime
    failures: int
    try_at: datetime
    reason: str


def begin(c: Connection, peer: str, *, reason: str, now: datetime, backoff: Backoff) -> datetime:
    """Write down that a peer failed us; return when it is tried again, later with each failure in a row.

    Notes
    -----
    Several senders may find out at once: a failure counts only where the peer was due to be tried.
    """
    known = c.execute(select(*_OUTAGE).where(_OUTAGE.peer == peer).with_for_update()).one_or_none()
    if known is not None and known.try_at > now:
        return cast("datetime", known.try_at)
    failures = 1 if known is None else known.failures + 1
    try_at = backoff.after(failures, now)
    said = {"failures": failures, "try_at": try_at, "reason": reason}
    if known is not None:
        c.execute(update(tables.outages).where(_OUTAGE.peer == peer).values(**said))
    else:
        c.execute(insert(tables.outages).values(peer=peer, since=now, **said))
        events.record(c, at=now, kind=events.PEER_AWAY, text=reason, data={"peer": peer})
    return try_at


def end(c: Connection, peer: str, *, now: datetime) -> None:
    """Write down that a peer took what it was sent: all that waits for it is due as it would have been."""
    ended = c.execute(delete(tables.outages).where(_OUTAGE.peer == peer).returning(_OUTAGE.since)).one_or_none()
    if ended is not None:
        away_s = round((now - ended.since).total_seconds())
        events.record(c, at=now, kind=events.PEER_BACK, data={"peer": peer, "away_s": away_s})


def lift(c: Connection, delivery_ids: Sequence[int], *, now: datetime) -> None:
    """Let the peers of these deliveries be tried at once: an operator says so."""
    t = tables.deliveries.c
    for part in chunks(delivery_ids):
        theirs = select(t.peer).where(t.id.in_(part))
        c.execute(update(tables.outages).where(_OUTAGE.peer.in_(theirs)).values(try_at=now))


def try_now(c: Connection, peer: str, *, now: datetime) -> None:
    """Let a peer be tried at once with everything that waits to be sent to it: an operator says that it is back."""
    t = tables.deliveries.c
    c.execute(update(tables.outages).where(_OUTAGE.peer == peer).values(try_at=now))
    c.execute(update(tables.deliveries).values(run_after=now).where(
        t.peer == peer, t.state == State.SCHEDULED, t.phase == "store", t.run_after > now))


def held(now: datetime) -> Select[str]:
    """Return the query for the peers that are left in peace at ``now``."""
    return select(_OUTAGE.peer).where(_OUTAGE.try_at > now)


def outages(c: Connection) -> list[Outage]:
    """Return every peer that is away, the longest first."""
    return [
        Outage(peer=row.peer, since=row.since, failures=row.failures, try_at=row.try_at, reason=row.reason)
        for row in c.execute(select(tables.outages).order_by(_OUTAGE.since, _OUTAGE.peer))]
