"""Deliveries: one per job and peer, one claim, one association; each verdict saved as it comes."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, select

from dicomnode.domain.work import Backoff, Claim, Move, State
from dicomnode.ledger import commitments, events, items, outages, tables, turns, work
from dicomnode.ledger.claimed import ClaimedDelivery, claim
from dicomnode.ledger.commitments import Proof, prove
from dicomnode.ledger.items import DeliveryItem
from dicomnode.ledger.succession import revivable, see_revivable

__all__ = [
    "ClaimedDelivery", "DeliveryItem", "Proof", "await_commitment", "cancel", "claim", "complete", "fail",
    "mark_not_taken", "mark_sent", "mark_sent_after_all", "prove", "release", "renew", "requeue", "requeue_failed",
    "rescue", "retry", "sent_instances",
]

_DELIVERY = tables.deliveries.c


def renew(c: Connection, held: Claim, *, now: datetime, lease_s: float) -> Claim:
    """Keep the claim for another ``lease_s``; raises ClaimLost where it is no longer ours."""
    return work.renew(c, work.DELIVERIES, held, now=now, lease_s=lease_s)


def mark_sent(
    c: Connection, delivery: ClaimedDelivery, item_id: int, *, sop_instance_uid: str, status: int, now: datetime,
    instead: str = "",
) -> None:
    """Save that the peer took one object: a later attempt sends only the rest. Raises ClaimLost.

    Parameters
    ----------
    instead:
        Why the peer did not take the forms that it should have had before this one.
    """
    work.touch(c, work.DELIVERIES, delivery.claim, now=now)
    items.mark_sent(c, delivery.delivery_id, item_id, sop_instance_uid=sop_instance_uid, status=status, now=now)
    events.record(c, at=now, kind=events.ITEM_SENT, study_uid=delivery.study_uid, job_id=delivery.job_id,
                  delivery_id=delivery.delivery_id, text=f"instead of {instead}" if instead else "",
                  data={"peer": delivery.peer, "sop_instance_uid": sop_instance_uid, "status": f"0x{status:04X}"})


def mark_sent_after_all(c: Connection, delivery: ClaimedDelivery, item_id: int, *, sop_instance_uid: str, status: int,
                        now: datetime) -> None:
    """Save that the peer took one object, though the delivery is no longer ours: it has it, and may have to be told."""
    items.mark_sent(c, delivery.delivery_id, item_id, sop_instance_uid=sop_instance_uid, status=status, now=now)
    events.record(c, at=now, kind=events.ITEM_SENT, study_uid=delivery.study_uid, job_id=delivery.job_id,
                  delivery_id=delivery.delivery_id, text="the delivery was taken away meanwhile",
                  data={"peer": delivery.peer, "sop_instance_uid": sop_instance_uid, "status": f"0x{status:04X}"})


def mark_not_taken(c: Connection, delivery: ClaimedDelivery, item_id: int, *, reason: str, now: datetime) -> None:
    """Save that the peer takes no form of an object that it may refuse: the delivery goes on. Raises ClaimLost."""
    work.touch(c, work.DELIVERIES, delivery.claim, now=now)
    items.mark_not_taken(c, delivery.delivery_id, item_id, reason=reason)
    kind = next((item.alternatives[0].kind for item in delivery.items if item.item_id == item_id), "object")
    events.record(c, at=now, kind=events.NOT_TAKEN, study_uid=delivery.study_uid, job_id=delivery.job_id,
                  delivery_id=delivery.delivery_id, text=f"{kind}: {reason}", data={"peer": delivery.peer})


def complete(c: Connection, delivery: ClaimedDelivery, *, now: datetime) -> None:
    """Finish a delivery all of whose items were sent.

    Raises
    ------
    ClaimLost
        If the claim is no longer ours.
    ValueError
        If an item was not sent: a delivery never ends with less than it was asked to deliver.
    """
    work.touch(c, work.DELIVERIES, delivery.claim, now=now)
    _all_sent(c, delivery)
    outages.end(c, delivery.peer, now=now)
    work.leave(c, work.DELIVERIES, Move.COMPLETE, delivery.claim, now=now, data={"peer": delivery.peer},
               values={"reason": ""})


def await_commitment(
    c: Connection, delivery: ClaimedDelivery, *, transaction_uid: str, run_after: datetime, now: datetime,
) -> None:
    """Put a sent delivery back until the peer proves it, or until ``run_after``, when it is asked again.

    Raises as ``complete``. No attempt is spent. It goes behind what the peer was never sent: a peer that never reports
    would else be asked again and again, and sent nothing new.
    """
    work.touch(c, work.DELIVERIES, delivery.claim, now=now)
    _all_sent(c, delivery)
    if delivery.phase == "store":
        outages.end(c, delivery.peer, now=now)
    work.leave(c, work.DELIVERIES, Move.AWAIT, delivery.claim, now=now, spend=False,
               data={"peer": delivery.peer, "transaction_uid": transaction_uid},
               values={"phase": "commit", "reason": "", "run_after": run_after})
    turns.rejoin(c, work.DELIVERIES, [delivery.delivery_id])
    commitments.ask(c, delivery.delivery_id, transaction_uid=transaction_uid, now=now)


def _all_sent(c: Connection, delivery: ClaimedDelivery) -> None:
    waiting = items.unsent(c, delivery.delivery_id)
    if waiting:
        msg = f"delivery {delivery.delivery_id} to {delivery.peer}: {waiting} item(s) not sent; send them first"
        raise ValueError(msg)


def sent_instances(c: Connection, delivery_id: int) -> list[tuple[str, str]]:
    """Return (SOP Class UID, SOP Instance UID) of what was sent and is not yet committed, in sending order."""
    return list(dict.fromkeys(one[1:] for one in items.uncommitted(c, delivery_id)))


def retry(
    c: Connection, delivery: ClaimedDelivery, *, now: datetime, run_after: datetime, reason: str, spend: bool,
    away: Backoff | None = None,
) -> None:
    """Put the delivery back until ``run_after``; ``spend=False`` charges neither attempt nor age. Raises ClaimLost.

    Parameters
    ----------
    away:
        Given where the peer itself failed: how long nothing is sent to it, by its failures in a row.

    Notes
    -----
    It goes to the end of its peer's lane: a result on which a peer breaks is not what the peer is tried with each time.
    """
    free = timedelta() if spend else run_after - delivery.claimed_at
    work.leave(c, work.DELIVERIES, Move.RETRY, delivery.claim, now=now, spend=spend, text=reason,
               values={"reason": reason, "run_after": run_after, "budget_since": delivery.created_at + free})
    turns.rejoin(c, work.DELIVERIES, [delivery.delivery_id])
    if away is not None:
        outages.begin(c, delivery.peer, reason=reason, now=now, backoff=away)


def fail(c: Connection, delivery: ClaimedDelivery, *, now: datetime, reason: str) -> None:
    """Give the delivery up until an operator requeues it. Raises ClaimLost."""
    work.leave(c, work.DELIVERIES, Move.FAIL, delivery.claim, now=now, text=reason, values={"reason": reason})


def release(c: Connection, delivery: ClaimedDelivery, *, now: datetime) -> None:
    """Hand the delivery back at a graceful stop, due at once, its attempt given back. Raises ClaimLost."""
    work.leave(c, work.DELIVERIES, Move.RELEASE, delivery.claim, now=now, spend=False, values={"run_after": now})


def rescue(c: Connection, *, now: datetime, max_age: timedelta, backoff: Backoff) -> tuple[list[int], list[int]]:
    """Free deliveries whose sender died; bury those older than ``max_age``. Return (rescued, buried)."""
    spent = _DELIVERY.budget_since < now - max_age
    rescued, buried = work.rescue(c, work.DELIVERIES, now=now, spent=spent, backoff=backoff)
    turns.rejoin(c, work.DELIVERIES, rescued)
    return rescued, buried


def cancel(c: Connection, delivery_id: int, *, now: datetime, reason: str) -> None:
    """End a delivery that waits or runs; raises ClaimLost where it does neither."""
    work.order(c, work.DELIVERIES, Move.CANCEL, delivery_id, now=now, text=reason, values={"reason": reason})


def requeue(c: Connection, delivery_id: int, *, now: datetime) -> int:
    """Try a failed or canceled delivery again with a fresh budget; send a completed one once more, the same bytes.

    Raises
    ------
    ClaimLost
        If it waits or runs, if a newer job took the place of its job, or if retention has deleted the files.
    """
    row = c.execute(select(_DELIVERY.state, _DELIVERY.job_id).where(_DELIVERY.id == delivery_id)).one_or_none()
    if row is not None:
        see_revivable(c, row.job_id, f"delivery {delivery_id} of job {row.job_id}")
    if row is not None and row.state == State.COMPLETED:
        work.order(c, work.DELIVERIES, Move.RESEND, delivery_id, now=now, values={**_afresh(now), "phase": "store"})
        items.forget_sending(c, delivery_id)
    else:
        work.order(c, work.DELIVERIES, Move.REQUEUE, delivery_id, now=now, values=_afresh(now))
    turns.rejoin(c, work.DELIVERIES, [delivery_id])
    outages.lift(c, [delivery_id], now=now)
    return delivery_id


def requeue_failed(
    c: Connection, *, now: datetime, peer: str | None = None, route: str | None = None, since: datetime | None = None,
) -> list[int]:
    """Requeue every failed delivery that may be, of one peer or route, failed since a time; return the ids.

    A peer that is named is tried at once, and with what waits for it too.
    """
    which = [_DELIVERY.state == State.FAILED, _DELIVERY.job_id.in_(select(tables.jobs.c.id).where(revivable()))]
    which += [] if peer is None else [_DELIVERY.peer == peer]
    which += [] if since is None else [_DELIVERY.changed_at >= since]
    if route is not None:
        which.append(_DELIVERY.job_id.in_(select(tables.jobs.c.id).where(tables.jobs.c.route == route)))
    queued = work.order_all(c, work.DELIVERIES, Move.REQUEUE, which, now=now, values=_afresh(now))
    turns.rejoin(c, work.DELIVERIES, queued)
    outages.lift(c, queued, now=now)
    if peer is not None:
        outages.try_now(c, peer, now=now)
    return queued


def _afresh(now: datetime) -> dict[str, object]:
    return {"attempt": 0, "run_after": now, "budget_since": now, "reason": ""}
