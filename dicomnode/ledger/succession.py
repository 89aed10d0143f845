"""A successor's transaction: what of its predecessors is unsent is canceled, what was sent is named."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Select, and_, or_, select

from dicomnode.domain.work import Move, State
from dicomnode.ledger import tables, work

REPORTS: Final = ("SR3D", "SR", "TEXT")
"""Kinds of result that a successor names as predecessor (PS3.3 C.17.2, Predecessor Documents Sequence)."""


def supersede(c: Connection, *, study_uid: str, route: str, now: datetime, by: int | None = None) -> tuple[str, ...]:
    """Cancel the unsent work of a route's earlier jobs for a study; return the reports that were sent.

    Parameters
    ----------
    by:
        The successor, where it exists already: it is spared.

    Returns
    -------
    tuple of str
        ``<SOP Class UID>:<SOP Instance UID>`` of each, oldest first. A delivery that is under way at this
        moment counts as sent: naming a report that never left harms nobody, a report that nobody takes
        back might.
    """
    jobs, deliveries = tables.jobs.c, tables.deliveries.c
    earlier = [jobs.study_uid == study_uid, jobs.route == route, *([] if by is None else [jobs.id != by])]
    sent = tuple(f"{row.sop_class_uid}:{row.sop_instance_uid}" for row in c.execute(_sent_reports().where(*earlier)))
    text = f"superseded by job {by}" if by is not None else "superseded: the study changed"
    work.order_all(c, work.JOBS, Move.SUPERSEDE, earlier, now=now, text=text, values={"reason": text})
    theirs = deliveries.job_id.in_(select(jobs.id).where(*earlier))
    work.order_all(c, work.DELIVERIES, Move.SUPERSEDE, [theirs, deliveries.phase == "store"], now=now, text=text,
                   values={"reason": text})
    return sent


def _sent_reports() -> Select[str, str, int]:
    results, items = tables.results.c, tables.delivery_items.c
    deliveries, alternatives = tables.deliveries.c, tables.delivery_alternatives.c
    first = and_(items.sent_result_id.is_(None), deliveries.state == State.IN_PROGRESS, alternatives.ordinal == 0)
    return (
        select(results.sop_class_uid, results.sop_instance_uid, results.id).distinct()
        .join(tables.delivery_alternatives, alternatives.result_id == results.id)
        .join(tables.delivery_items, items.id == alternatives.item_id)
        .join(tables.deliveries, deliveries.id == items.delivery_id)
        .join(tables.jobs, tables.jobs.c.id == results.job_id)
        .where(results.kind.in_(REPORTS), or_(items.sent_result_id == results.id, first))
        .order_by(results.id)
    )
