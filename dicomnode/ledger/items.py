"""What one delivery carries: its items in order, each with its alternatives and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from dicomnode.domain.job import StoredResult
from dicomnode.ledger import tables
from dicomnode.ledger.results import stored
from dicomnode.ledger.work import Found

_ITEM = tables.delivery_items.c
_ALTERNATIVE = tables.delivery_alternatives.c
_RESULT = tables.results.c


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryItem:
    """One object to send: the first of its alternatives that the peer accepts, in the peer's order.

    Parameters
    ----------
    not_taken:
        Why the peer took none of them, where it may refuse them all; else empty.
    """

    item_id: int
    ordinal: int
    alternatives: tuple[StoredResult, ...]
    sent: StoredResult | None
    sent_at: datetime | None
    committed_at: datetime | None
    not_taken: str = ""

    @property
    def waits(self) -> bool:
        """Whether it is still to be sent."""
        return self.sent is None and not self.not_taken


def load(c: Connection, delivery_id: int) -> tuple[DeliveryItem, ...]:
    """Return the items of one delivery, in sending order."""
    rows = c.execute(
        select(_ITEM.id.label("item_id"), _ITEM.ordinal, _ITEM.sent_result_id, _ITEM.sent_at, _ITEM.committed_at,
               _ITEM.not_taken, *tables.results.c)
        .join_from(tables.delivery_items, tables.delivery_alternatives, _ALTERNATIVE.item_id == _ITEM.id)
        .join(tables.results, _RESULT.id == _ALTERNATIVE.result_id)
        .where(_ITEM.delivery_id == delivery_id).order_by(_ITEM.ordinal, _ALTERNATIVE.ordinal),
    ).all()
    grouped: dict[int, list[Found]] = {}
    for row in rows:
        grouped.setdefault(row.item_id, []).append(row)
    return tuple(_item(group) for group in grouped.values())


def _item(group: list[Found]) -> DeliveryItem:
    first = group[0]
    return DeliveryItem(
        item_id=first.item_id, ordinal=first.ordinal, alternatives=tuple(stored(row) for row in group),
        sent=next((stored(row) for row in group if row.id == first.sent_result_id and first.sent_at), None),
        sent_at=first.sent_at, committed_at=first.committed_at, not_taken=first.not_taken or "",
    )


def mark_sent(
    c: Connection, delivery_id: int, item_id: int, *, sop_instance_uid: str, status: int, now: datetime,
) -> None:
    """Save that the peer has taken one alternative of an item.

    Raises
    ------
    ValueError
        If the item is not this delivery's, or the object not one of its alternatives.
    """
    result_id = c.execute(
        select(_RESULT.id).join(tables.delivery_alternatives, _ALTERNATIVE.result_id == _RESULT.id)
        .join(tables.delivery_items, _ITEM.id == _ALTERNATIVE.item_id)
        .where(_ITEM.id == item_id, _ITEM.delivery_id == delivery_id, _RESULT.sop_instance_uid == sop_instance_uid),
    ).scalar_one_or_none()
    if result_id is None:
        msg = f"{sop_instance_uid} is no alternative of item {item_id} of delivery {delivery_id}"
        raise ValueError(msg)
    c.execute(update(tables.delivery_items).where(_ITEM.id == item_id).values(
        sent_result_id=result_id, status=status, sent_at=now, failure_reason=None, not_taken=None))


def mark_not_taken(c: Connection, delivery_id: int, item_id: int, *, reason: str) -> None:
    """Save that the peer takes no form of an item, and that this is its right."""
    c.execute(update(tables.delivery_items).where(_ITEM.id == item_id, _ITEM.delivery_id == delivery_id).values(
        not_taken=reason))


def unsent(c: Connection, delivery_id: int) -> int:
    """Count the items that the peer has neither taken nor, where it may, refused."""
    rows = c.execute(select(_ITEM.id).where(
        _ITEM.delivery_id == delivery_id, _ITEM.sent_at.is_(None), _ITEM.not_taken.is_(None)))
    return len(rows.all())


def forget_sending(c: Connection, delivery_id: int) -> None:
    """Take all items of a delivery for unsent; what the peer had stays known, for whoever takes it back."""
    c.execute(update(tables.delivery_items).where(_ITEM.delivery_id == delivery_id).values(
        status=None, sent_at=None, committed_at=None, failure_reason=None, not_taken=None))


def uncommitted(c: Connection, delivery_id: int, *, sent_by: datetime | None = None) -> list[tuple[int, str, str]]:
    """Return (item id, SOP Class UID, SOP Instance UID) of what was sent and is not yet committed, in order.

    Parameters
    ----------
    sent_by:
        Leave out what was sent after this moment.
    """
    in_time = [] if sent_by is None else [_ITEM.sent_at <= sent_by]
    return [
        (row.id, row.sop_class_uid, row.sop_instance_uid)
        for row in c.execute(
            select(_ITEM.id, _RESULT.sop_class_uid, _RESULT.sop_instance_uid)
            .join(tables.results, _RESULT.id == _ITEM.sent_result_id)
            .where(_ITEM.delivery_id == delivery_id, _ITEM.sent_at.is_not(None), _ITEM.committed_at.is_(None), *in_time)
            .order_by(_ITEM.ordinal))
    ]
