"""An operator's word on what goes first."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import Connection, select

from dicomnode.domain.work import State
from dicomnode.errors import ClaimLost
from dicomnode.ledger import events, jobs, tables, turns, work

OPEN: Final = (State.SCHEDULED, State.IN_PROGRESS)


def prioritise(c: Connection, job_id: int, *, priority: int, now: datetime) -> None:
    """Let a job that waits or runs, and its deliveries, go before (lower) or behind others.

    Raises
    ------
    ClaimLost
        If it has ended, and none of its deliveries waits or runs.
    NotInLedger
        If no such job is known.
    """
    job = jobs.get(c, job_id)
    delivery = tables.deliveries.c
    theirs = c.execute(select(delivery.id).where(delivery.job_id == job_id, delivery.state.in_(OPEN))).scalars()
    deliveries = list(theirs)
    if job.state not in OPEN and not deliveries:
        msg = f"job {job_id} is {job.state} and none of its deliveries waits; requeue it with --priority"
        raise ClaimLost(msg)
    turns.rejoin(c, work.JOBS, [job_id], priority=priority)
    turns.rejoin(c, work.DELIVERIES, deliveries, priority=priority)
    events.record(c, at=now, kind="job_prioritised", study_uid=job.study_uid, job_id=job_id,
                  text=f"priority {priority} in place of {job.priority}")
