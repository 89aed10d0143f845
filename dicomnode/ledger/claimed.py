"""Which delivery is next, and what a sender holds of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Select, func, select

from dicomnode.domain.work import Claim, State
from dicomnode.ledger import commitments, items, outages, tables, work
from dicomnode.ledger.items import DeliveryItem

_DELIVERY = tables.deliveries.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedDelivery:
    """A delivery in the hands of the one sender that holds its token.

    Parameters
    ----------
    phase:
        ``store``: items without ``sent`` are to be sent; ``commit``: all were, ask whether they are safe.
    created_at:
        Where its budget of age begins: its making, or the last requeue; time lost to a peer's
        back-pressure is added, for that spends no budget.
    claimed_at:
        When this claim was made.
    transaction_uid:
        Under which storage commitment was last asked for.
    """

    claim: Claim
    delivery_id: int
    job_id: int
    peer: str
    phase: str
    created_at: datetime
    claimed_at: datetime
    items: tuple[DeliveryItem, ...]
    study_uid: str
    transaction_uid: str | None


def claim(
    c: Connection, *, now: datetime, lease_s: float, owner: str, peers: frozenset[str],
    most_per_peer: int | None = None,
) -> ClaimedDelivery | None:
    """Take the next delivery to one of ``peers``; peers take turns, and one that is away is left in peace.

    Parameters
    ----------
    most_per_peer:
        A peer that as many senders serve already is passed over: one that is slow does not hold them all. Claims that
        fall into the same instant may exceed it.

    Notes
    -----
    Priority stands above fairness: an urgent delivery does not wait for its peer's turn.
    """
    fits = [_DELIVERY.peer.in_(sorted(peers)), _DELIVERY.peer.not_in(outages.held(now))]
    fits += [] if most_per_peer is None else [_DELIVERY.peer.not_in(_served_by(most_per_peer))]
    taken = work.claim(c, work.DELIVERIES, now=now, lease_s=lease_s, owner=owner, fits=fits)
    if taken is None:
        return None
    held, row = taken
    return ClaimedDelivery(
        claim=held, delivery_id=row.id, job_id=row.job_id, peer=row.peer, phase=row.phase, created_at=row.budget_since,
        claimed_at=now, items=items.load(c, row.id), study_uid=row.study_uid,
        transaction_uid=commitments.latest(c, row.id))


def _served_by(senders: int) -> Select[str]:
    """Return the query for the peers that so many senders serve at this moment, or more."""
    busy = tables.deliveries.alias("busy").c
    return (select(busy.peer).where(busy.state == State.IN_PROGRESS).group_by(busy.peer)
            .having(func.count() >= senders))
