"""Jobs: one per route and study, each with a snapshot of everything that a worker needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from dicomnode.domain.job import ANALYSIS, NewDelivery, Snapshot, StoredResult, job_key
from dicomnode.domain.work import Backoff, Claim, Move, State
from dicomnode.ledger import events, tables, turns, work
from dicomnode.ledger.refusals import NotInLedger
from dicomnode.ledger.results import add_delivery, add_results, result_folders
from dicomnode.ledger.succession import left_at, next_revision, revivable, see_revivable, supersede
from dicomnode.ledger.upsert import insert_new

__all__ = [
    "ClaimedJob", "JobRow", "cancel", "claim", "complete", "create", "exists", "fail", "get", "left_at",
    "next_revision", "next_up", "release", "renew", "requeue", "requeue_failed", "rescue",
    "result_folders", "retry", "supersede",
]

_JOB = tables.jobs.c
_MODEL = tables.job_models.c


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedJob:
    """A job in the hands of the one worker that holds its token."""

    claim: Claim
    job_id: int
    key: str
    kind: str
    study_uid: str
    revision: int
    snapshot: Snapshot
    created_at: datetime
    study_closed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as it stands, for those who do not hold it."""

    job_id: int
    key: str
    kind: str
    study_uid: str
    route: str
    revision: int
    snapshot: Snapshot
    state: State
    attempt: int
    priority: int
    run_after: datetime
    reason: str
    created_at: datetime
    changed_at: datetime


def exists(c: Connection, key: str) -> bool:
    """Whether a job of this key was ever made: a resend makes no second one."""
    return c.execute(sa.select(_JOB.id).where(_JOB.key == key)).first() is not None


def create(
    c: Connection, *, study_uid: str, kind: str, revision: int, snapshot: Snapshot, priority: int, now: datetime,
) -> int | None:
    """Make a job, due at once; None where one of the same key exists."""
    key = job_key(study_uid=study_uid, kind=kind, snapshot=snapshot, revision=revision)
    job_id = insert_new(c, tables.jobs, _JOB.key, {
        "key": key, "study_uid": study_uid, "kind": kind, "route": snapshot.route, "revision": revision,
        "snapshot": snapshot.to_json(), "state": State.SCHEDULED, "attempt": 0, "priority": priority, "run_after": now,
        "owner": "", "reason": "", "created_at": now, "changed_at": now, "lane": snapshot.lane,
        "turn": turns.next_turn(c, work.JOBS, lane=snapshot.lane, priority=priority),
    })
    if job_id is None:
        return None
    models = [{"job_id": job_id, "ordinal": n, "name": m.name, "digest": m.digest}
              for n, m in enumerate(snapshot.models)]
    if models:
        c.execute(sa.insert(tables.job_models), models)
    events.record(c, at=now, kind="job_created", study_uid=study_uid, job_id=job_id,
                  text=f"{snapshot.reason}: {snapshot.text}" if snapshot.reason else "",
                  data={"route": snapshot.route, "kind": kind, "revision": revision, "key": key})
    return job_id


def claim(c: Connection, *, now: datetime, lease_s: float, owner: str, digests: frozenset[str]) -> ClaimedJob | None:
    """Take the most urgent job that this worker can do: one all of whose models it has verified."""
    taken = work.claim(c, work.JOBS, now=now, lease_s=lease_s, owner=owner, fits=[_verified(digests)])
    if taken is None:
        return None
    held, row = taken
    closed_at = c.execute(
        sa.select(tables.studies.c.closed_at).where(tables.studies.c.study_uid == row.study_uid)).scalar_one()
    return ClaimedJob(
        claim=held, job_id=row.id, key=row.key, kind=row.kind, study_uid=row.study_uid, revision=row.revision,
        snapshot=Snapshot.from_json(row.snapshot), created_at=row.created_at, study_closed_at=closed_at,
    )


def next_up(c: Connection, *, now: datetime, digests: frozenset[str]) -> JobRow | None:
    """Return the analysis that ``claim`` would give next, unclaimed; None if none waits or it was tried before."""
    found = work.next_up(c, work.JOBS, now=now, fits=[_verified(digests)])
    if found is None or found.kind != ANALYSIS or found.attempt:
        return None
    return _row(found)


def _verified(digests: frozenset[str]) -> sa.ColumnElement[bool]:
    return ~sa.exists().where(_MODEL.job_id == _JOB.id, _MODEL.digest.not_in(sorted(digests)))


def renew(c: Connection, held: Claim, *, now: datetime, lease_s: float) -> Claim:
    """Keep the claim for another ``lease_s``; raises ClaimLost where it is no longer ours."""
    return work.renew(c, work.JOBS, held, now=now, lease_s=lease_s)


def complete(
    c: Connection, job: ClaimedJob, *, results: Sequence[StoredResult], deliveries: Sequence[NewDelivery],
    now: datetime, data: Mapping[str, object],
) -> None:
    """Finish a job together with its effects: results, deliveries and events, in the caller's transaction.

    Raises
    ------
    ClaimLost
        If the claim is no longer ours: nothing is written.
    ValueError
        If a delivery names an object that is not among ``results``.
    """
    work.leave(c, work.JOBS, Move.COMPLETE, job.claim, now=now, data={**data, "results": len(results)},
               values={"reason": "", "results_token": job.claim.token})
    priority = c.execute(sa.select(_JOB.priority).where(_JOB.id == job.job_id)).scalar_one()
    ids = add_results(c, job.job_id, results)
    for new in deliveries:
        add_delivery(c, new, ids, job_id=job.job_id, study_uid=job.study_uid, priority=priority, now=now)


def retry(c: Connection, job: ClaimedJob, *, now: datetime, run_after: datetime, reason: str, spend: bool) -> None:
    """Put the job back until ``run_after``; ``spend=False`` gives the attempt back. Raises ClaimLost.

    Notes
    -----
    A job that spent an attempt goes to the end of its lane: those behind it have not been tried yet.
    """
    work.leave(c, work.JOBS, Move.RETRY, job.claim, now=now, spend=spend, text=reason,
               values={"reason": reason, "run_after": run_after})
    if spend:
        turns.rejoin(c, work.JOBS, [job.job_id])


def fail(c: Connection, job: ClaimedJob, *, now: datetime, reason: str) -> None:
    """Give the job up until an operator requeues it. Raises ClaimLost."""
    work.leave(c, work.JOBS, Move.FAIL, job.claim, now=now, text=reason, values={"reason": reason})


def release(c: Connection, job: ClaimedJob, *, now: datetime) -> None:
    """Hand the job back at a graceful stop, due at once, its attempt given back. Raises ClaimLost."""
    work.leave(c, work.JOBS, Move.RELEASE, job.claim, now=now, spend=False, values={"run_after": now})


def rescue(c: Connection, *, now: datetime, attempts: int, backoff: Backoff) -> tuple[list[int], list[int]]:
    """Free jobs whose worker died; bury those that were claimed ``attempts`` times. Return (rescued, buried).

    One whose worker died twice goes to the end of its lane: it may be the cause.
    """
    rescued, buried = work.rescue(c, work.JOBS, now=now, spent=_JOB.attempt >= attempts, backoff=backoff)
    again = c.execute(sa.select(_JOB.id).where(_JOB.id.in_(rescued), _JOB.attempt > 1)).scalars().all()
    turns.rejoin(c, work.JOBS, again)
    return rescued, buried


def cancel(c: Connection, job_id: int, *, now: datetime, reason: str) -> None:
    """End a job that waits or runs; raises ClaimLost where it does neither."""
    work.order(c, work.JOBS, Move.CANCEL, job_id, now=now, text=reason, values={"reason": reason})


def requeue(c: Connection, job_id: int, *, now: datetime) -> int:
    """Try a failed or canceled job again from the start.

    Raises
    ------
    ClaimLost
        If it is neither, if a newer job took its place, or if retention has deleted the study's files.
    """
    see_revivable(c, job_id, f"job {job_id}")
    work.order(c, work.JOBS, Move.REQUEUE, job_id, now=now, values=_afresh(now))
    turns.rejoin(c, work.JOBS, [job_id])
    return job_id


def requeue_failed(
    c: Connection, *, now: datetime, route: str | None = None, since: datetime | None = None,
) -> list[int]:
    """Requeue every failed job that may be, of one route and failed since a time where given; return the ids."""
    which = [_JOB.state == State.FAILED, revivable()]
    which += [] if route is None else [_JOB.route == route]
    which += [] if since is None else [_JOB.changed_at >= since]
    queued = work.order_all(c, work.JOBS, Move.REQUEUE, which, now=now, values=_afresh(now))
    turns.rejoin(c, work.JOBS, queued)
    return queued


def _afresh(now: datetime) -> dict[str, object]:
    return {"attempt": 0, "run_after": now, "reason": ""}


def get(c: Connection, job_id: int) -> JobRow:
    """Return a job as it stands; raises NotInLedger."""
    row = c.execute(sa.select(tables.jobs).where(_JOB.id == job_id)).one_or_none()
    if row is None:
        msg = f"job {job_id} is not known here; `dicomnode jobs` lists those that are"
        raise NotInLedger(msg)
    return _row(row)


def _row(row: work.Found) -> JobRow:
    return JobRow(
        job_id=row.id, key=row.key, kind=row.kind, study_uid=row.study_uid, route=row.route, revision=row.revision,
        snapshot=Snapshot.from_json(row.snapshot), state=State(row.state), attempt=row.attempt, priority=row.priority,
        run_after=row.run_after, reason=row.reason, created_at=row.created_at, changed_at=row.changed_at,
    )
