"""A successor's transaction: what of its predecessors is unsent is canceled, what was sent is named.

What a successor took the place of stays where it is: no operator's word brings it back over its successor.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import ColumnElement, Connection, FromClause, Select, and_, exists, func, not_, or_, select

from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.job import ANALYSIS
from dicomnode.domain.work import Move, State
from dicomnode.errors import ClaimLost
from dicomnode.ledger import events, tables, work

REJECTION: Final = "rejection|"
"""Start of the group of a note that takes earlier results back; the peer's name follows."""
REPORTS: Final = ("SR3D", "SR", "TEXT")
"""Kinds of result that a successor names as predecessor (PS3.3 C.17.2, Predecessor Documents Sequence)."""

_LATER: Final = tables.jobs.alias("later")


def supersede(c: Connection, *, study_uid: str, route: str, now: datetime, by: int | None = None) -> tuple[str, ...]:
    """Cancel the unsent work of a route's earlier jobs for a study; return the reports that were sent.

    Parameters
    ----------
    by:
        The successor, where it exists already: it is spared.

    Returns
    -------
    tuple of str
        ``<SOP Class UID>:<SOP Instance UID>`` of each, oldest first; where only other objects were sent, the SOP
        Instance UID of one of them. A delivery that is under way at this moment counts as sent: naming a report
        that never left harms nobody, a report that nobody takes back might.
    """
    jobs, deliveries = tables.jobs.c, tables.deliveries.c
    earlier = [jobs.study_uid == study_uid, jobs.route == route, *([] if by is None else [jobs.id != by])]
    rows = c.execute(_sent().where(*earlier)).all()
    reports = tuple(f"{row.sop_class_uid}:{row.sop_instance_uid}" for row in rows if row.kind in REPORTS)
    sent = reports or tuple(row.sop_instance_uid for row in rows[:1])
    text = f"superseded by job {by}" if by is not None else "superseded: the study changed"
    work.order_all(c, work.JOBS, Move.SUPERSEDE, earlier, now=now, text=text, values={"reason": text})
    theirs = deliveries.job_id.in_(select(jobs.id).where(*earlier))
    work.order_all(c, work.DELIVERIES, Move.SUPERSEDE, [theirs, deliveries.phase == "store"], now=now, text=text,
                   values={"reason": text})
    return sent


def left_at(c: Connection, *, study_uid: str, route: str, before: int, peer: str) -> tuple[InstanceRef, ...]:
    """Return what a peer was sent of a route's earlier results of a study and was not told to reject, oldest first.

    Parameters
    ----------
    before:
        The job that supersedes them.

    Notes
    -----
    A rejection note that was sent covers everything from before its own job. Notes themselves are never rejected.
    """
    jobs, results = tables.jobs.c, tables.results.c
    told = c.execute(
        select(func.max(jobs.id)).select_from(_sent_to(peer))
        .where(jobs.study_uid == study_uid, jobs.route == route, jobs.id < before,
               results.result_group.startswith(REJECTION))).scalar_one()
    rows = c.execute(
        select(results.sop_class_uid, results.sop_instance_uid, results.id).distinct().select_from(_sent_to(peer))
        .where(jobs.study_uid == study_uid, jobs.route == route, jobs.id < before, jobs.id >= (told or 0),
               not_(results.result_group.startswith(REJECTION)))
        .order_by(results.id))
    return tuple(
        InstanceRef(sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid) for row in rows)


def _sent_to(peer: str) -> FromClause:
    items, deliveries, alternatives = tables.delivery_items, tables.deliveries, tables.delivery_alternatives
    return (
        tables.results.join(alternatives, alternatives.c.result_id == tables.results.c.id)
        .join(items, items.c.id == alternatives.c.item_id)
        .join(deliveries, and_(deliveries.c.id == items.c.delivery_id, deliveries.c.peer == peer, _was_sent()))
        .join(tables.jobs, tables.jobs.c.id == tables.results.c.job_id))


def _was_sent() -> ColumnElement[bool]:
    """Return the condition that an item's alternative is with the peer, or was before it was sent in another form."""
    event, uid = tables.events.c, tables.results.c.sop_instance_uid
    once = exists().where(event.delivery_id == tables.deliveries.c.id, event.kind == events.ITEM_SENT,
                          event.data["sop_instance_uid"].as_string() == uid)
    return or_(tables.delivery_items.c.sent_result_id == tables.results.c.id, once)


def next_revision(c: Connection, study_uid: str, route: str) -> int:
    """Return the revision under which a route analyses a study once more: no job of theirs has it."""
    jobs = tables.jobs.c
    highest = c.execute(
        select(func.max(jobs.revision)).where(jobs.study_uid == study_uid, jobs.route == route)).scalar_one()
    return 0 if highest is None else highest + 1


def revivable() -> ColumnElement[bool]:
    """Return the condition that a job has no successor, and that its study's files are still there."""
    jobs, studies = tables.jobs.c, tables.studies.c
    deleted = exists().where(studies.study_uid == jobs.study_uid, studies.deleted_at.is_not(None))
    return and_(not_(exists().where(*_successors())), not_(deleted))


def see_revivable(c: Connection, job_id: int, what: str) -> None:
    """See that ``what``, a job or of a job, may be put back; a job that is not known is none of ours.

    Raises
    ------
    ClaimLost
        If a newer job took the job's place, or retention has deleted the study's files.
    """
    jobs, studies = tables.jobs.c, tables.studies.c
    newer = select(func.max(_LATER.c.id)).where(*_successors()).scalar_subquery()
    row = c.execute(
        select(newer.label("newer"), studies.deleted_at)
        .select_from(tables.jobs).join(tables.studies, studies.study_uid == jobs.study_uid)
        .where(jobs.id == job_id).with_for_update(read=True, of=tables.studies)).one_or_none()
    if row is not None and row.newer is not None:
        msg = f"{what} is out of date: job {row.newer} of the same study and route took its place; requeue that one"
        raise ClaimLost(msg)
    if row is not None and row.deleted_at is not None:
        msg = f"{what} lacks its files: retention deleted those of its study at {row.deleted_at:%Y-%m-%d %H:%M} UTC"
        raise ClaimLost(f"{msg}; send the study again")


def _successors() -> list[ColumnElement[bool]]:
    """Return the conditions that the later job took a job's place: a later analysis, or what superseded it."""
    jobs, event = tables.jobs.c, tables.events.c
    superseded = jobs.id.in_(select(event.job_id).where(event.kind == f"job_{work.PAST[Move.SUPERSEDE]}"))
    return [_LATER.c.study_uid == jobs.study_uid, _LATER.c.route == jobs.route, _LATER.c.id > jobs.id,
            or_(_LATER.c.kind == ANALYSIS, superseded)]


def _sent() -> Select[str, str, str, int]:
    results, items = tables.results.c, tables.delivery_items.c
    deliveries, alternatives = tables.deliveries.c, tables.delivery_alternatives.c
    first = and_(items.sent_result_id.is_(None), deliveries.state == State.IN_PROGRESS, alternatives.ordinal == 0)
    return (
        select(results.kind, results.sop_class_uid, results.sop_instance_uid, results.id).distinct()
        .join(tables.delivery_alternatives, alternatives.result_id == results.id)
        .join(tables.delivery_items, items.id == alternatives.item_id)
        .join(tables.deliveries, deliveries.id == items.delivery_id)
        .join(tables.jobs, tables.jobs.c.id == results.job_id)
        .where(or_(_was_sent(), first))
        .order_by(results.id)
    )
