"""Results: which encoded objects exist, and the deliveries that a completed job makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select

from dicomnode.domain.job import NewDelivery, StoredResult
from dicomnode.domain.work import State
from dicomnode.ledger import events, tables, turns, work
from dicomnode.ledger.chunks import chunks
from dicomnode.ledger.work import Found


def add_results(c: Connection, job_id: int, results: Sequence[StoredResult]) -> dict[str, int]:
    """Write down which bytes exist; return SOP Instance UID → row id."""
    t = tables.results
    return {
        one.sop_instance_uid: c.execute(insert(t).values(
            job_id=job_id, kind=one.kind, result_group=one.group, sop_class_uid=one.sop_class_uid,
            sop_instance_uid=one.sop_instance_uid, series_uid=one.series_uid,
            transfer_syntax_uid=one.transfer_syntax_uid, path=one.path, size_bytes=one.size_bytes, sha256=one.sha256,
            refers_to=list(one.refers_to),
        ).returning(t.c.id)).scalar_one()
        for one in results
    }


def add_delivery(
    c: Connection, new: NewDelivery, results: Mapping[str, int], *, job_id: int, study_uid: str, priority: int,
    now: datetime,
) -> int:
    """Make one delivery with its items and their alternatives, due at once; return its id.

    Raises
    ------
    ValueError
        If an item has no alternative, or names an object that is not among ``results``.
    """
    if not all(new.items):
        msg = f"delivery to {new.peer}: an item of job {job_id} has no form to send; leave such items out"
        raise ValueError(msg)
    unknown = sorted({one for item in new.items for one in item} - results.keys())
    if unknown:
        msg = f"delivery to {new.peer} names {unknown}, which job {job_id} did not make; allowed are {sorted(results)}"
        raise ValueError(msg)
    delivery_id: int = c.execute(insert(tables.deliveries).values(
        job_id=job_id, study_uid=study_uid, peer=new.peer, phase="store", budget_since=now, state=State.SCHEDULED,
        attempt=0, priority=priority, run_after=now, owner="", reason="", created_at=now, changed_at=now,
        turn=turns.next_turn(c, work.DELIVERIES, lane=new.peer, priority=priority),
    ).returning(tables.deliveries.c.id)).scalar_one()
    for ordinal, alternatives in enumerate(new.items):
        _add_item(c, delivery_id, ordinal, [results[one] for one in alternatives])
    events.record(c, at=now, kind="delivery_created", study_uid=study_uid, job_id=job_id, delivery_id=delivery_id,
                  data={"peer": new.peer, "items": len(new.items)})
    return delivery_id


def _add_item(c: Connection, delivery_id: int, ordinal: int, result_ids: Sequence[int]) -> None:
    item_id = c.execute(
        insert(tables.delivery_items).values(delivery_id=delivery_id, ordinal=ordinal)
        .returning(tables.delivery_items.c.id),
    ).scalar_one()
    rows = [{"item_id": item_id, "ordinal": n, "result_id": one} for n, one in enumerate(result_ids)]
    c.execute(insert(tables.delivery_alternatives), rows)


def result_folders(c: Connection) -> frozenset[str]:
    """Return ``"<job>/<token>"`` of every result folder that must stay.

    Those of completed jobs, except where the study's files are deleted, and of every claim that is alive.
    """
    jobs, studies = tables.jobs, tables.studies
    finished = c.execute(
        select(jobs.c.id, jobs.c.results_token).join(studies, studies.c.study_uid == jobs.c.study_uid)
        .where(jobs.c.results_token.is_not(None), studies.c.deleted_at.is_(None)),
    )
    alive = c.execute(select(jobs.c.id, jobs.c.token).where(jobs.c.state == State.IN_PROGRESS))
    return frozenset(f"{job_id}/{token}" for job_id, token in [*finished, *alive])


def own_sop_instance_uids(c: Connection, sop_instance_uids: Sequence[str]) -> set[str]:
    """Return those of the given UIDs that are results of this node: it never analyses its own output."""
    t = tables.results.c.sop_instance_uid
    found: set[str] = set()
    for part in chunks(sop_instance_uids):
        found.update(c.execute(select(t).where(t.in_(part))).scalars())
    return found


def stored(row: Found) -> StoredResult:
    """Turn a row of the results table into the domain's object."""
    return StoredResult(
        kind=row.kind, group=row.result_group, sop_class_uid=row.sop_class_uid, sop_instance_uid=row.sop_instance_uid,
        series_uid=row.series_uid, transfer_syntax_uid=row.transfer_syntax_uid, path=row.path,
        size_bytes=row.size_bytes, sha256=row.sha256, refers_to=tuple(row.refers_to or ()),
    )
