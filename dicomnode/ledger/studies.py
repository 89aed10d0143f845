"""Studies: open while images come, closed when whole; what the index knows of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, select, update

from dicomnode.domain.study import InstanceRecord, SeriesRecord, StudyRecord
from dicomnode.ledger import copies, events, tables
from dicomnode.ledger.arrivals import IndexOutcome, record_instances
from dicomnode.ledger.copies import Copy
from dicomnode.ledger.refusals import NotInLedger
from dicomnode.ledger.results import own_sop_instance_uids
from dicomnode.ledger.retention import FinishedStudy, finished_studies, forget_files

__all__ = [
    "FinishedStudy", "IndexOutcome", "OpenStudy", "close", "finished_studies", "forget_files", "instance_paths",
    "look_up", "open_studies", "own_sop_instance_uids", "record_instances", "study_record",
]

_STUDY = tables.studies.c
_INSTANCE = tables.instances.c


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStudy:
    """A study that still waits for images, as it stood when it was looked at.

    Parameters
    ----------
    first_arrival_at:
        Of what came since it opened, or reopened.
    instances:
        Distinct SOP Instance UIDs.
    copies:
        Files; more than ``instances`` where an instance came in several versions.
    """

    study_id: int
    study_uid: str
    revision: int
    first_arrival_at: datetime
    last_arrival_at: datetime
    source_ae_titles: frozenset[str]
    instances: int
    copies: int


def look_up(c: Connection, sop_instance_uids: Sequence[str]) -> dict[str, list[InstanceRecord]]:
    """Return every kept copy of the given instances, over all studies, oldest first; unknown UIDs have no key."""
    kept = copies.kept_copies(c, sop_instance_uids)
    return {uid: [copy.record for copy in of_uid] for uid, of_uid in kept.items()}


def open_studies(c: Connection) -> list[OpenStudy]:
    """Return the studies that wait for images, the longest quiet first."""
    rows = c.execute(select(tables.studies).where(_STUDY.state == "open").order_by(_STUDY.last_arrival_at, _STUDY.id))
    return [
        OpenStudy(
            study_id=row.id, study_uid=row.study_uid, revision=row.revision, first_arrival_at=row.first_arrival_at,
            last_arrival_at=row.last_arrival_at, source_ae_titles=frozenset(row.source_ae_titles),
            instances=row.instances, copies=row.copies)
        for row in rows
    ]


def study_record(c: Connection, study_uid: str) -> StudyRecord:
    """Return a study as routes see it: of each instance the newest copy that does not conflict.

    Raises
    ------
    NotInLedger
        If no image of it ever came.
    """
    sources = c.execute(select(_STUDY.source_ae_titles).where(_STUDY.study_uid == study_uid)).scalar_one_or_none()
    if sources is None:
        msg = f"study {study_uid} is not known here; `dicomnode studies` lists those that are"
        raise NotInLedger(msg)
    kept = copies.study_copies(c, study_uid)
    series: dict[str, list[InstanceRecord]] = {}
    for record in _newest(kept):
        series.setdefault(record.series_uid, []).append(record)
    return StudyRecord(
        study_uid=study_uid,
        series=tuple(SeriesRecord(series_uid=uid, instances=tuple(found)) for uid, found in sorted(series.items())),
        source_ae_titles=frozenset(sources),
        conflicts=tuple(sorted({copy.record.sop_instance_uid for copy in kept if copy.conflicting})),
    )


def _newest(kept: Iterable[Copy]) -> Iterable[InstanceRecord]:
    return {copy.record.sop_instance_uid: copy.record for copy in kept if not copy.conflicting}.values()


def instance_paths(c: Connection, study_uid: str, sop_instance_uids: Sequence[str]) -> dict[str, str]:
    """Return SOP Instance UID → path of the newest copy that does not conflict, relative to ``spool/store``."""
    wanted = set(sop_instance_uids)
    rows = c.execute(
        select(_INSTANCE.sop_instance_uid, _INSTANCE.path)
        .where(_INSTANCE.study_uid == study_uid, _INSTANCE.deleted_at.is_(None), _INSTANCE.conflicting.is_(False))
        .order_by(_INSTANCE.arrived_at, _INSTANCE.id))
    return {row.sop_instance_uid: row.path for row in rows if row.sop_instance_uid in wanted}


def close(c: Connection, study: OpenStudy, *, now: datetime) -> bool:
    """Close a study exactly as it was looked at; False, and nothing is changed, where more came meanwhile."""
    closed = c.execute(
        update(tables.studies)
        .where(_STUDY.id == study.study_id, _STUDY.state == "open", _STUDY.revision == study.revision,
               _STUDY.copies == study.copies)
        .values(state="closed", closed_at=now))
    if closed.rowcount != 1:
        return False
    events.record(c, at=now, kind=events.STUDY_CLOSED, study_uid=study.study_uid,
                  text=f"{study.instances} instance(s)",
                  data={"revision": study.revision, "instances": study.instances})
    return True
