"""Storage commitment (PS3.4 Annex J): what was asked of a peer, and what its answer does to the delivery."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from sqlalchemy import Connection, insert, select, update

from dicomnode.domain.work import Backoff, Move, State
from dicomnode.errors import PeerRefused
from dicomnode.ledger import events, items, tables, work
from dicomnode.ledger.work import Found

LONGEST_WAIT_S: Final = 21_600.0
"""However often a peer refuses to commit, it is not spared its objects for longer than this."""
FAILURE_REASONS: Final[Mapping[int, str]] = MappingProxyType({
    0x0110: "processing failure",
    0x0112: "no such object instance",
    0x0119: "class / instance conflict",
    0x0122: "referenced SOP Class not supported",
    0x0131: "duplicate transaction UID",
    0x0213: "resource limitation",
})
"""Failure Reason (0008,1197) → its name (PS3.3 C.14.1.1)."""

_ASKED = tables.commitments.c
_ITEM = tables.delivery_items.c


class Proof(StrEnum):
    """What an answer was worth."""

    PROVED = "proved"  # everything is committed: the delivery is completed
    DISPROVED = "disproved"  # some failed: those are sent again
    REJECTED = "rejected"  # some failed, and the delivery is too old to try again: it failed
    PARTIAL = "partial"  # some are committed, of the others the peer said nothing: asked again later
    UNKNOWN = "unknown"  # nobody asked under this Transaction UID


def ask(c: Connection, delivery_id: int, *, transaction_uid: str, now: datetime) -> None:
    """Remember under which Transaction UID the peer was asked."""
    c.execute(insert(tables.commitments).values(
        transaction_uid=transaction_uid, delivery_id=delivery_id, asked_at=now))


def latest(c: Connection, delivery_id: int) -> str | None:
    """Return the Transaction UID under which a delivery was last asked for, None where it never was."""
    return c.execute(
        select(_ASKED.transaction_uid).where(_ASKED.delivery_id == delivery_id).order_by(_ASKED.id.desc()).limit(1),
    ).scalar_one_or_none()


def prove(
    c: Connection, transaction_uid: str, committed_uids: Collection[str], failed: Mapping[str, int], *,
    now: datetime, run_after: datetime | None = None, max_age: timedelta | None = None,
) -> Proof:
    """Apply a peer's answer (N-EVENT-REPORT, PS3.4 J.3.3); repeating it changes nothing.

    Parameters
    ----------
    failed:
        SOP Instance UID → Failure Reason (0008,1197).
    run_after:
        When failed objects are sent again; default now. Each such answer spends an attempt, and each
        attempt doubles the wait, up to ``LONGEST_WAIT_S``.
    max_age:
        A delivery older than this fails instead; default never.

    Notes
    -----
    An answer speaks of what was sent before it was asked for, and of nothing that was sent since. What is
    committed counts whenever it was asked for. A failure counts only as answer to the latest question:
    after a new sending, a late answer to the old question says nothing.
    """
    asked = c.execute(select(_ASKED.delivery_id, _ASKED.asked_at).where(
        _ASKED.transaction_uid == transaction_uid)).one_or_none()
    if asked is None:
        events.record(c, at=now, kind=events.COMMITMENT_UNKNOWN, text="an answer to what was never asked",
                      data={"transaction_uid": transaction_uid, "committed": len(committed_uids),
                            "failed": len(failed)})
        return Proof.UNKNOWN
    delivery = c.execute(
        select(tables.deliveries).where(tables.deliveries.c.id == asked.delivery_id).with_for_update()).one()
    late = latest(c, delivery.id) != transaction_uid
    refused = _apply(c, asked, committed_uids, {} if late else failed, now)
    if refused:
        return _disprove(c, delivery, refused, now=now, run_after=run_after or now, max_age=max_age)
    if items.unsent(c, delivery.id) or items.uncommitted(c, delivery.id):
        return Proof.PARTIAL
    work.order_all(c, work.DELIVERIES, Move.PROVED, [tables.deliveries.c.id == delivery.id], now=now,
                   values={"reason": ""})
    return Proof.PROVED


def _apply(
    c: Connection, asked: Found, committed_uids: Collection[str], failed: Mapping[str, int], now: datetime,
) -> list[int]:
    """Write the answer into the items; return the Failure Reason of each that was refused."""
    refused = []
    for item_id, _, sop_instance_uid in items.uncommitted(c, asked.delivery_id, sent_by=asked.asked_at):
        one = update(tables.delivery_items).where(_ITEM.id == item_id)
        if sop_instance_uid in committed_uids:
            c.execute(one.values(committed_at=now, failure_reason=None))
        elif sop_instance_uid in failed:
            c.execute(one.values(sent_result_id=None, status=None, sent_at=None,
                                 failure_reason=failed[sop_instance_uid]))
            refused.append(failed[sop_instance_uid])
    return refused


def _disprove(
    c: Connection, delivery: Found, refused: Sequence[int], *, now: datetime, run_after: datetime,
    max_age: timedelta | None,
) -> Proof:
    """Put a delivery back, or fail it where its budget of age is spent."""
    which = [tables.deliveries.c.id == delivery.id]
    said = f"{len(refused)} object(s) sent and not committed, Failure Reason {named(refused)}"
    if max_age is not None and delivery.budget_since < now - max_age:
        text = PeerRefused(f"{said}; the time to deliver is over: requeue it when the peer is mended").reason
        work.order_all(c, work.DELIVERIES, Move.REJECT, which, now=now, text=text,
                       values={"reason": text, "phase": "store"})
        return Proof.REJECTED
    attempt = delivery.attempt + (delivery.state == State.SCHEDULED)  # a claim that is lost has spent one already
    text = f"{said}; sent again"
    work.order_all(c, work.DELIVERIES, Move.DISPROVED, which, now=now, text=text,
                   values={"reason": text, "phase": "store", "attempt": attempt,
                           "run_after": _later(attempt, now, run_after)})
    return Proof.DISPROVED


def _later(attempt: int, now: datetime, run_after: datetime) -> datetime:
    first_s = (run_after - now).total_seconds()
    return Backoff(first_s=first_s, most_s=max(first_s, LONGEST_WAIT_S)).after(attempt, now)


def named(reasons: Sequence[int]) -> str:
    """Return each Failure Reason with its name, and how often where there are several."""
    return ", ".join(
        f"0x{reason:04X} {FAILURE_REASONS.get(reason, 'unknown')}" + (f" ({n} of them)" if n < len(reasons) else "")
        for reason, n in sorted(Counter(reasons).items()))
