"""Which studies are finished, and how their files are forgotten; what is known of them stays."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Final

from sqlalchemy import Connection, Select, and_, exists, func, not_, or_, select, update

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
    cause, or where a later notice of its route, completed, has said that nothing was analysed.
    """
    found = [
        FinishedStudy(
            study_uid=row.study_uid, instances=row.instances, bytes=row.size_bytes,
            path_prefix=str(PurePosixPath(row.path).parent),
            finished_at=max(at for at in (row.closed_at, row.job_at, row.delivery_at) if at is not None))
        for row in c.execute(_finished()) if row.path is not None
    ]
    ours = (one for one in found if one.finished_at < before and one.path_prefix != STORE_ITSELF)
    return sorted(ours, key=lambda one: (one.finished_at, one.study_uid))


def _finished() -> Select[tuple[str, int, int, datetime, datetime, datetime, str]]:
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
        select(_INSTANCE.path).where(_INSTANCE.study_uid == _STUDY.study_uid, _INSTANCE.deleted_at.is_(None)).limit(1)
        .scalar_subquery().label("path"),
    ).where(_STUDY.state == "closed", _STUDY.deleted_at.is_(None), not_(job_holds), not_(delivery_holds))


def forget_files(c: Connection, study_uid: str, *, now: datetime) -> bool:
    """Mark a closed study's files deleted; False where it is open again, or was forgotten before.

    Commit this first and delete the files then: after a crash between the two some bytes are left over,
    never a row that names a file which is gone.
    """
    row = c.execute(
        update(tables.studies)
        .where(_STUDY.study_uid == study_uid, _STUDY.state == "closed", _STUDY.deleted_at.is_(None))
        .values(deleted_at=now).returning(_STUDY.instances, _STUDY.copies, _STUDY.size_bytes),
    ).one_or_none()
    if row is None:
        return False
    c.execute(update(tables.instances)
              .where(_INSTANCE.study_uid == study_uid, _INSTANCE.deleted_at.is_(None)).values(deleted_at=now))
    events.record(c, at=now, kind=events.STUDY_DELETED, study_uid=study_uid,
                  text=f"{row.copies} file(s) deleted by retention",
                  data={"files": row.copies, "bytes": row.size_bytes})
    return True
