"""Which peers would not hear that earlier results are superseded: they keep them as valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, select

from dicomnode.ledger import events, tables
from dicomnode.ledger.succession import REJECTION


def untold(c: Connection, *, since: datetime) -> Mapping[str, int]:
    """Return of each peer how many studies it keeps superseded results of, because it took no rejection note.

    Counted are notes that were refused since a moment, unless the peer took a later one of the study, which names
    what the earlier one named.
    """
    event, delivery, item = tables.events.c, tables.deliveries.c, tables.delivery_items.c
    alternative, result = tables.delivery_alternatives.c, tables.results.c
    notes = (
        select(delivery.peer, delivery.study_uid, delivery.job_id, item.sent_at, item.not_taken)
        .join(tables.delivery_items, item.delivery_id == delivery.id)
        .join(tables.delivery_alternatives, alternative.item_id == item.id)
        .join(tables.results, result.id == alternative.result_id)
        .where(result.result_group.startswith(REJECTION)))
    refusals = c.execute(notes.where(item.not_taken.is_not(None), delivery.id.in_(
        select(event.delivery_id).where(event.kind == events.NOT_TAKEN, event.at >= since)))).all()
    taken = {(row.peer, row.study_uid): row.job_id for row in c.execute(notes.where(
        item.sent_at.is_not(None), delivery.study_uid.in_({row.study_uid for row in refusals}),
        ).order_by(delivery.job_id))} if refusals else {}
    still = {(row.peer, row.study_uid) for row in refusals if taken.get((row.peer, row.study_uid), 0) < row.job_id}
    return Counter(peer for peer, _ in sorted(still))
