"""Rows for people and for the metrics endpoint: plain dicts, times aware UTC, no patient data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, select

from dicomnode.ledger import copies, tables, work
from dicomnode.ledger.chunks import chunks
from dicomnode.ledger.health import status, to_mend
from dicomnode.ledger.outcomes import outcomes
from dicomnode.ledger.telling import sentence
from dicomnode.ledger.work import Found

__all__ = ["deliveries", "jobs", "status", "story", "studies", "study", "timeline"]

Row = dict[str, Any]

_STUDY = tables.studies.c
_JOB = tables.jobs.c
_DELIVERY = tables.deliveries.c
_ITEM = tables.delivery_items.c


def studies(c: Connection, *, limit: int) -> list[Row]:
    """Return the studies that arrived last, newest first.

    Keys: ``study_uid``, ``state`` (open | closed), ``outcome``, ``revision``, ``instances``, ``copies``,
    ``size_bytes``, ``source_ae_titles``, ``first_arrival_at``, ``last_arrival_at``, ``closed_at``, ``deleted_at``.
    """
    rows = c.execute(
        select(tables.studies).order_by(_STUDY.last_arrival_at.desc(), _STUDY.id.desc()).limit(limit)).all()
    found = outcomes(c, rows)
    return [_study(row, found[row.study_uid]) for row in rows]


def study(c: Connection, study_uid: str) -> Row:
    """Return one study, ``{}`` where it is unknown.

    Keys: those of ``studies``, and ``series`` (``series_uid``, ``modality``, ``description``, ``instances``,
    ``conflicts``), ``jobs`` and ``deliveries`` (rows as of the functions of these names, oldest first).
    """
    row = c.execute(select(tables.studies).where(_STUDY.study_uid == study_uid)).one_or_none()
    if row is None:
        return {}
    about = _study(row, outcomes(c, [row])[study_uid])
    about["series"] = _series(c, study_uid)
    about["jobs"] = _job_rows(c, select(tables.jobs).where(_JOB.study_uid == study_uid).order_by(_JOB.id))
    about["deliveries"] = _delivery_rows(
        c, _deliveries().where(_DELIVERY.study_uid == study_uid).order_by(_DELIVERY.id))
    return about


def timeline(c: Connection, study_uid: str) -> list[Row]:
    """Return everything that happened to a study, in order.

    Keys: ``at``, ``kind``, ``text``, ``job_id``, ``delivery_id``, ``data``.
    """
    event = tables.events.c
    rows = c.execute(
        select(event.at, event.kind, event.text, event.job_id, event.delivery_id, event.data)
        .where(event.study_uid == study_uid).order_by(event.at, event.id))
    return [dict(row._mapping) for row in rows]  # noqa: SLF001


def story(c: Connection, study_uid: str) -> list[Row]:
    """Return the timeline as a person reads it: every row has a sentence.

    Keys: ``at``, ``kind``, ``text`` (never empty), ``job_id``, ``delivery_id``, ``route``, ``peer``, ``data``.
    """
    event = tables.events.c
    found = c.execute(
        select(event.at, event.kind, event.text, event.job_id, event.delivery_id, event.data, _JOB.route,
               _JOB.kind.label("job_kind"), _DELIVERY.peer)
        .select_from(tables.events).outerjoin(tables.jobs, _JOB.id == event.job_id)
        .outerjoin(tables.deliveries, _DELIVERY.id == event.delivery_id)
        .where(event.study_uid == study_uid).order_by(event.at, event.id)).all()
    rows = [dict(row._mapping) for row in found]  # noqa: SLF001
    objects = [str(row["data"].get("sop_instance_uid", "")) for row in rows]
    kinds = _result_kinds(c, [uid for uid in objects if uid])
    for row, uid in zip(rows, objects, strict=True):
        row["route"] = row["route"] or row["data"].get("route")
        row["text"] = sentence(row | {"result_kind": kinds.get(uid)})
        del row["job_kind"]
    return rows


def _result_kinds(c: Connection, sop_instance_uids: Sequence[str]) -> dict[str, str]:
    result = tables.results.c
    found: dict[str, str] = {}
    for part in chunks(sop_instance_uids):
        found.update((row.sop_instance_uid, row.kind) for row in c.execute(
            select(result.sop_instance_uid, result.kind).where(result.sop_instance_uid.in_(part))))
    return found


def jobs(c: Connection, *, state: str | None = None, mendable: bool = False, limit: int) -> list[Row]:
    """Return jobs, newest first; with ``mendable`` those alone that failed and that somebody is to mend.

    Keys: ``job_id``, ``study_uid``, ``kind`` (analysis | notice), ``route``, ``models`` (names), ``revision``,
    ``state``, ``attempt``, ``priority``, ``run_after``, ``lease_until``, ``owner``, ``reason``, ``created_at``,
    ``claimed_at``, ``changed_at``.
    """
    query = select(tables.jobs).order_by(_JOB.id.desc()).limit(limit)
    query = query.where(to_mend(work.JOBS)) if mendable else query
    return _job_rows(c, query if state is None else query.where(_JOB.state == state))


def deliveries(
    c: Connection, *, state: str | None = None, peer: str | None = None, mendable: bool = False, limit: int,
) -> list[Row]:
    """Return deliveries, newest first; with ``mendable`` those alone that failed and that somebody is to mend.

    Keys: ``delivery_id``, ``job_id``, ``study_uid``, ``route``, ``peer``, ``phase`` (store | commit), ``items``,
    ``sent``, ``not_taken``, ``committed`` (counts), ``state``, ``attempt``, ``priority``, ``run_after``,
    ``lease_until``, ``owner``, ``reason``, ``created_at``, ``claimed_at``, ``changed_at``.
    """
    query = _deliveries().order_by(_DELIVERY.id.desc()).limit(limit)
    query = query if state is None else query.where(_DELIVERY.state == state)
    query = query.where(to_mend(work.DELIVERIES)) if mendable else query
    return _delivery_rows(c, query if peer is None else query.where(_DELIVERY.peer == peer))


def _study(row: Found, outcome: str) -> Row:
    return {
        "study_uid": row.study_uid, "state": row.state, "outcome": outcome, "revision": row.revision,
        "instances": row.instances, "copies": row.copies, "size_bytes": row.size_bytes,
        "source_ae_titles": list(row.source_ae_titles), "first_arrival_at": row.first_arrival_at,
        "last_arrival_at": row.last_arrival_at, "closed_at": row.closed_at, "deleted_at": row.deleted_at,
    }


def _series(c: Connection, study_uid: str) -> list[Row]:
    found: dict[str, Row] = {}
    members: dict[str, set[str]] = {}
    for copy in copies.study_copies(c, study_uid):
        record = copy.record
        row = found.setdefault(record.series_uid, {"series_uid": record.series_uid, "instances": 0, "conflicts": 0})
        row["modality"], row["description"] = record.text("Modality"), record.text("SeriesDescription")
        row["conflicts"] += copy.conflicting
        members.setdefault(record.series_uid, set()).add(record.sop_instance_uid)
        row["instances"] = len(members[record.series_uid])
    return list(found.values())


def _job_rows(c: Connection, query: Select[Any]) -> list[Row]:
    rows = c.execute(query).all()
    model = tables.job_models.c
    names: dict[int, list[str]] = {}
    for one in c.execute(select(model.job_id, model.name).where(model.job_id.in_([row.id for row in rows]))
                         .order_by(model.job_id, model.ordinal)):
        names.setdefault(one.job_id, []).append(one.name)
    return [
        {"job_id": row.id, "study_uid": row.study_uid, "kind": row.kind, "route": row.route,
         "models": names.get(row.id, []), "revision": row.revision, **_work(row)}
        for row in rows
    ]


def _deliveries() -> Select[Any]:
    counts = [
        select(func.count(column)).where(_ITEM.delivery_id == _DELIVERY.id).scalar_subquery().label(name)
        for name, column in (("item_count", _ITEM.id), ("sent", _ITEM.sent_at),
                             ("not_taken", _ITEM.not_taken), ("committed", _ITEM.committed_at))
    ]
    return select(tables.deliveries, _JOB.route, *counts).join(tables.jobs, _JOB.id == _DELIVERY.job_id)


def _delivery_rows(c: Connection, query: Select[Any]) -> list[Row]:
    return [
        {"delivery_id": row.id, "job_id": row.job_id, "study_uid": row.study_uid, "route": row.route,
         "peer": row.peer, "phase": row.phase, "items": row.item_count, "sent": row.sent, "not_taken": row.not_taken,
         "committed": row.committed, **_work(row)}
        for row in c.execute(query)
    ]


def _work(row: Found) -> Row:
    return {
        "state": row.state, "attempt": row.attempt, "priority": row.priority, "run_after": row.run_after,
        "lease_until": row.lease_until, "owner": row.owner, "reason": row.reason, "created_at": row.created_at,
        "claimed_at": row.claimed_at, "changed_at": row.changed_at,
    }
