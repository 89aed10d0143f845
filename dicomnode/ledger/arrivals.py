"""Arrivals become rows: the index's one write, in batches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from dicomnode.domain.study import InstanceRecord
from dicomnode.ledger import copies, events, tables
from dicomnode.ledger.chunks import chunks
from dicomnode.ledger.copies import CONFLICT, DEMOGRAPHICS, IDENTICAL, NEW, Copy, What
from dicomnode.ledger.upsert import insert_new
from dicomnode.ledger.work import Found

UIDS_IN_EVENT: Final = 20
"""An event names this many instances at most, and says how many there are."""

_TOLD: Final[Mapping[What, tuple[str, str]]] = MappingProxyType({
    DEMOGRAPHICS: (events.INSTANCES_CORRECTED,
                   "{} instance(s) came again with other attributes, same pixels and geometry: the newest count"),
    CONFLICT: (events.INSTANCES_CONFLICTING,
               "{} instance(s) came again with other pixels or geometry: all are kept, none can be trusted"),
})

_STUDY = tables.studies.c


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexOutcome:
    """What one arrival was."""

    sop_instance_uid: str
    what: What
    study_uid: str


@dataclass(slots=True)
class _Change:
    """What one batch brought to one study."""

    arrived: list[InstanceRecord] = field(default_factory=list)
    uids: dict[What, list[str]] = field(default_factory=dict)

    def add(self, record: InstanceRecord, what: What) -> None:
        self.arrived.append(record)
        self.uids.setdefault(what, []).append(record.sop_instance_uid)


def record_instances(c: Connection, records: Sequence[InstanceRecord], *, now: datetime) -> list[IndexOutcome]:
    """Write down what arrived, and say of each what it was; a study opens or reopens where something changed.

    Parameters
    ----------
    records:
        With ``path`` set; ``arrived_at`` is ``now`` where it is None.

    Notes
    -----
    An identical copy changes nothing: a PACS that resends a study does not start its analysis again.
    """
    placed = [record if record.arrived_at else replace(record, arrived_at=now) for record in records]
    rows = _open(c, placed, now)
    kept = copies.kept_copies(c, list({record.sop_instance_uid for record in placed}))
    changes: dict[str, _Change] = {}
    outcomes, new_rows = [], []
    for record in placed:
        known = kept.setdefault(record.sop_instance_uid, [])
        what = copies.classify(record, [copy for copy in known if copy.record.study_uid == record.study_uid])
        outcomes.append(IndexOutcome(
            sop_instance_uid=record.sop_instance_uid, what=what, study_uid=record.study_uid))
        if what != IDENTICAL:
            known.append(Copy(record, conflicting=what == CONFLICT))
            new_rows.append(copies.row_of(record, conflicting=what == CONFLICT))
            changes.setdefault(record.study_uid, _Change()).add(record, what)
    if new_rows:
        c.execute(insert(tables.instances), new_rows)
    for study_uid, change in sorted(changes.items()):
        _change_study(c, rows[study_uid], change, now)
    return outcomes


def _open(c: Connection, records: Sequence[InstanceRecord], now: datetime) -> dict[str, Found]:
    """Create the studies that are missing, and lock all: of two keepers the second waits."""
    first: dict[str, datetime] = {}
    for record in records:
        at = record.arrived_at or now
        first[record.study_uid] = min(at, first.get(record.study_uid, at))
    for study_uid, at in sorted(first.items()):
        created = insert_new(c, tables.studies, _STUDY.study_uid, {
            "study_uid": study_uid, "state": "open", "revision": 1, "instances": 0, "copies": 0, "size_bytes": 0,
            "source_ae_titles": [], "first_arrival_at": at, "last_arrival_at": at,
        })
        if created is not None:
            events.record(c, at=at, kind=events.STUDY_OPENED, study_uid=study_uid)
    return {row.study_uid: row for row in _locked(c, sorted(first))}


def _locked(c: Connection, study_uids: Sequence[str]) -> Iterable[Found]:
    for part in chunks(study_uids):
        yield from c.execute(
            select(tables.studies).where(_STUDY.study_uid.in_(part)).order_by(_STUDY.study_uid).with_for_update())


def _change_study(c: Connection, study: Found, change: _Change, now: datetime) -> None:
    arrivals = [record.arrived_at or now for record in change.arrived]
    sources = {record.source_ae_title for record in change.arrived if record.source_ae_title}
    values: dict[str, Any] = {
        "instances": study.instances + len(change.uids.get(NEW, ())), "copies": study.copies + len(change.arrived),
        "size_bytes": study.size_bytes + sum(record.size_bytes for record in change.arrived),
        "source_ae_titles": sorted(sources.union(study.source_ae_titles)),
        "last_arrival_at": max(study.last_arrival_at, *arrivals),
    }
    if study.state == "closed":
        values |= _reopened(study, change, min(arrivals))
        events.record(c, at=now, kind=events.STUDY_REOPENED, study_uid=study.study_uid,
                      data={"revision": values["revision"], **{what: len(uids) for what, uids in change.uids.items()}})
    c.execute(update(tables.studies).where(_STUDY.id == study.id).values(**values))
    for what, (kind, said) in _TOLD.items():
        uids = change.uids.get(what, [])
        if uids:
            events.record(c, at=now, kind=kind, study_uid=study.study_uid, text=said.format(len(uids)),
                          data={"instances": len(uids), "sop_instance_uids": uids[:UIDS_IN_EVENT]})


def _reopened(study: Found, change: _Change, first_arrival_at: datetime) -> dict[str, Any]:
    """Open a closed study: its hard cap counts from what came now, and so does all else if its files were deleted."""
    values: dict[str, Any] = {
        "state": "open", "revision": study.revision + 1, "first_arrival_at": first_arrival_at}
    if study.deleted_at is not None:
        values |= {
            "deleted_at": None, "instances": len(change.uids.get(NEW, ())), "copies": len(change.arrived),
            "size_bytes": sum(record.size_bytes for record in change.arrived),
        }
    return values


