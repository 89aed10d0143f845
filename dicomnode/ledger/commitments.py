"""Storage commitment (PS3.4 Annex J): what was asked of a peer, and what its answer does to the delivery."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from enum import StrEnum

from sqlalchemy import Connection, insert, select, update

from dicomnode.domain.work import Move
from dicomnode.ledger import events, items, tables, work

_ASKED = tables.commitments.c
_ITEM = tables.delivery_items.c


class Proof(StrEnum):
    """What an answer was worth."""

    PROVED = "proved"  # everything is committed: the delivery is completed
    DISPROVED = "disproved"  # some failed: those are sent again
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
    now: datetime, run_after: datetime | None = None,
) -> Proof:
    """Apply a peer's answer (N-EVENT-REPORT, PS3.4 J.3.3); repeating it changes nothing.

    Parameters
    ----------
    failed:
        SOP Instance UID → Failure Reason (0008,1197).
    run_after:
        When failed objects are sent again; default now.

    Notes
    -----
    What is committed counts whenever it was asked for. A failure counts only as answer to the latest
    question: after a new sending, a late answer to the old question says nothing.
    """
    delivery_id = c.execute(
        select(_ASKED.delivery_id).where(_ASKED.transaction_uid == transaction_uid)).scalar_one_or_none()
    if delivery_id is None:
        events.record(c, at=now, kind=events.COMMITMENT_UNKNOWN, text="an answer to what was never asked",
                      data={"transaction_uid": transaction_uid, "committed": len(committed_uids),
                            "failed": len(failed)})
        return Proof.UNKNOWN
    which = [tables.deliveries.c.id == delivery_id]
    c.execute(select(tables.deliveries.c.id).where(*which).with_for_update())
    late = latest(c, delivery_id) != transaction_uid
    refused = _apply(c, delivery_id, committed_uids, {} if late else failed, now)
    if refused:
        text = f"{refused} object(s) not committed; sent again"
        work.order_all(c, work.DELIVERIES, Move.DISPROVED, which, now=now, text=text,
                       values={"reason": text, "phase": "store", "run_after": run_after or now})
        return Proof.DISPROVED
    if items.unsent(c, delivery_id) or items.uncommitted(c, delivery_id):
        return Proof.PARTIAL
    work.order_all(c, work.DELIVERIES, Move.PROVED, which, now=now, values={"reason": ""})
    return Proof.PROVED


def _apply(
    c: Connection, delivery_id: int, committed_uids: Collection[str], failed: Mapping[str, int], now: datetime,
) -> int:
    """Write the answer into the items; return how many were refused."""
    refused = 0
    for item_id, _, sop_instance_uid in items.uncommitted(c, delivery_id):
        one = update(tables.delivery_items).where(_ITEM.id == item_id)
        if sop_instance_uid in committed_uids:
            c.execute(one.values(committed_at=now, failure_reason=None))
        elif sop_instance_uid in failed:
            c.execute(one.values(sent_result_id=None, status=None, sent_at=None,
                                 failure_reason=failed[sop_instance_uid]))
            refused += 1
    return refused
