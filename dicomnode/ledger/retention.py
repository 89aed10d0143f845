"""Which studies are finished, and how their files are forgotten; what is known of them stays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    not_,
    or_,
    select,
    update,
)

from dicomnode.domain.job import ANALYSIS, NOTICE
from dicomnode.domain.work import State
from dicomnode.ledger import events, tables
from dicomnode.ledger.reasons import about_the_input

STORE_ITSELF: Final = "."
"""The parent of a path without a folder: nothing that deletes may ever be told this."""

_STUDY = tables.studies.c
_JOB = tables.jobs.c
_DELIVERY = tables.deliveries.c
_INSTANCE = tables.instances.c
_EVENT = tables.events.c


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedStudy:
    """A study of which nothing more is to be done.

    Parameters
    ----------
    path_prefix:
        The folder of its files, relative to ``spool/store``: never the store itself.
    finished_at:
        When the last thing happened to it.
    """

    study_uid: str
    instances: int
    bytes: int
    path_prefix: str
    finished_at: datetime


def finished_studies(c: Connection, *, before: datetime) -> list[FinishedStudy]:
    """Return the closed studies whose work all ended, and where nothing happened since ``before``; oldest first.

    Notes
    -----
    Failed work holds its study: an operator may requeue it. It holds no longer once a later analysis of
    the same route has taken its place. A failed job holds nothing either where the study itself was the
    cause, or where a later notice of its route, completed, has said that nothing was analysed. What a sender was
    promised (storage commitment) counts as happening to the study.
    """
    ours = (one for one in _read(c, _finished()) if one.finished_at < before and one.path_prefix != STORE_ITSELF)
    return sorted(ours, key=lambda one: (one.finished_at, one.study_uid))


def _read(c: Connection, rows: Select[tuple[Any, ...]]) -> list[FinishedStudy]:
    return [
        FinishedStudy(
            study_uid=row.study_uid, instances=row.instances, bytes=row.size_bytes,
            path_prefix=str(PurePosixPath(row.path).parent),
            finished_at=max(at for at in (row.closed_at, row.job_at, row.delivery_at, row.promised_at) if at))
        for row in c.execute(rows) if row.path is not None
    ]


def _finished() -> Select[tuple[Any, ...]]:
    later = tables.jobs.alias("later")
    same_route = (later.c.study_uid == _JOB.study_uid, later.c.route == _JOB.route, later.c.id > _JOB.id)
    replaced = exists().where(*same_route, later.c.kind == ANALYSIS)
    reported = exists().where(*same_route, later.c.kind == NOTICE, later.c.state == State.COMPLETED)
    under_way = (State.SCHEDULED, State.IN_PROGRESS)
    unsettled = and_(_JOB.state == State.FAILED, not_(replaced), not_(reported), not_(about_the_input()))
    job_holds = exists().where(
        _JOB.study_uid == _STUDY.study_uid, or_(_JOB.state.in_(under_way), unsettled))
    delivery_holds = exists().where(
        _DELIVERY.study_uid == _STUDY.study_uid, _JOB.id == _DELIVERY.job_id,
        or_(_DELIVERY.state.in_(under_way), and_(_DELIVERY.state == State.FAILED, not_(replaced))))
    return select(
        _STUDY.study_uid, _STUDY.instances, _STUDY.size_bytes, _STUDY.closed_at,
        select(func.max(_JOB.changed_at)).where(_JOB.study_uid == _STUDY.study_uid).scalar_subquery().label("job_at"),
        select(func.max(_DELIVERY.changed_at)).where(_DELIVERY.study_uid == _STUDY.study_uid).scalar_subquery()
        .label("delivery_at"),
        select(func.max(_EVENT.at)).where(_EVENT.study_uid == _STUDY.study_uid, _EVENT.kind == events.COMMITMENT_GIVEN)
        .scalar_subquery().label("promised_at"),
        select(_INSTANCE.path).where(_INSTANCE.study_uid == _STUDY.study_uid, _INSTANCE.deleted_at.is_(None)).limit(1)
        .scalar_subquery().label("path"),
    ).where(_STUDY.state == "closed", _STUDY.deleted_at.is_(None), not_(job_holds), not_(delivery_holds))


def forget_files(c: Connection, study: FinishedStudy, *, now: datetime, because: str) -> bool:
    """Mark a finished study's files deleted; False where anything has happened to it since it was looked at.

    Commit this first and delete the files then: after a crash between the two some bytes are left over, which
    ``forgotten_folders`` finds, never a row that names a file which is gone.

    Parameters
    ----------
    because:
        Why, for the study's timeline.
    """
    c.execute(select(_STUDY.id).where(_STUDY.study_uid == study.study_uid).with_for_update()).all()
    if _read(c, _finished().where(_STUDY.study_uid == study.study_uid)) != [study]:
        return False
    row = c.execute(
        update(tables.studies).where(_STUDY.study_uid == study.study_uid).values(deleted_at=now)
        .returning(_STUDY.copies, _STUDY.size_bytes)).one()
    c.execute(update(tables.instances)
              .where(_INSTANCE.study_uid == study.study_uid, _INSTANCE.deleted_at.is_(None)).values(deleted_at=now))
    events.record(c, at=now, kind=events.STUDY_DELETED, study_uid=study.study_uid,
                  text=f"{row.copies} file(s) deleted by retention: {because}",
                  data={"files": row.copies, "bytes": row.size_bytes, "because": because})
    return True


def forgotten_folders(c: Connection, *, since: datetime) -> list[tuple[str, str]]:
    """Return (study, folder relative to ``spool/store``) of what was forgotten since then and has not come again."""
    rows = c.execute(
        select(_STUDY.study_uid, func.min(_INSTANCE.path).label("path"))
        .join(tables.instances, _INSTANCE.study_uid == _STUDY.study_uid)
        .where(_STUDY.deleted_at >= since).group_by(_STUDY.study_uid).order_by(_STUDY.study_uid))
    found = ((row.study_uid, str(PurePosixPath(row.path).parent)) for row in rows)
    return [one for one in found if one[1] != STORE_ITSELF]


def freed(c: Connection, *, since: datetime) -> tuple[int, int]:
    """Return how many studies retention has deleted since then, and how many bytes they had."""
    found = c.execute(select(_EVENT.data).where(_EVENT.kind == events.STUDY_DELETED, _EVENT.at >= since)).scalars()
    sizes = [int(data.get("bytes", 0)) for data in found]
    return len(sizes), sum(sizes)


def held(c: Connection) -> dict[str, tuple[int, int]]:
    """Return what keeps studies on the disk: why → how many studies, and their bytes; the largest first.

    ``finished``: nothing but ``[retention] keep_days``.
    """
    why = case(
        (_STUDY.state == "open", "still receiving"),
        (_some(tables.jobs, State.SCHEDULED, State.IN_PROGRESS), "waiting for analysis"),
        (_some(tables.deliveries, State.SCHEDULED, State.IN_PROGRESS), "waiting for delivery"),
        (_STUDY.study_uid.in_(select(_finished().subquery().c.study_uid)), "finished"),
        else_="failed, waiting for an operator",
    )
    rows = c.execute(
        select(why.label("why"), func.count().label("studies"), func.sum(_STUDY.size_bytes).label("size"))
        .where(_STUDY.deleted_at.is_(None)).group_by(why))
    return {row.why: (row.studies, int(row.size)) for row in sorted(rows, key=lambda row: -int(row.size))}


def _some(table: Table, *states: State) -> ColumnElement[bool]:
    return exists().where(table.c.study_uid == _STUDY.study_uid, table.c.state.in_(states))
