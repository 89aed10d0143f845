"""What is, what is stuck, and for how long: counts for ``status``, the page and the metrics."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, not_, or_, select

from dicomnode.domain.work import State
from dicomnode.ledger import events, outages, tables, work
from dicomnode.ledger.reasons import about_the_input
from dicomnode.ledger.succession import revivable

STUCK_AFTER: Final = timedelta(minutes=5)
"""Work that was made this long ago and still waits shows as stuck."""
STUCK_SHOWN: Final = 20

_STUDY = tables.studies.c
_JOB = tables.jobs.c
_DELIVERY = tables.deliveries.c


def status(c: Connection, *, now: datetime) -> dict[str, Any]:
    """Return the state of the node's work in one row.

    Keys: ``at``; ``studies_open``, ``studies_closed``, ``last_arrival_at``; ``jobs`` and ``deliveries`` (state →
    count, every state); ``refused_inputs`` (those of the failed jobs whose study cannot be analysed); ``out_of_date``
    (``jobs``, ``deliveries``: the other failed ones that no requeue can revive, and that need nobody, see ``to_mend``);
    ``oldest_job_waits_s``, ``oldest_delivery_waits_s`` (work that is due, None where none); ``expired_leases``;
    ``quarantined`` (instances that could not be indexed); ``conflicting`` (studies of which an instance came twice
    with different pixels or geometry); ``waiting_models`` (``name``, ``digest``, ``jobs``, ``oldest_waits_s``: a model
    that no worker has verified shows here); ``peers`` (``peer``, ``scheduled``, ``in_progress``, ``failed`` (those to
    be mended), ``oldest_waits_s``, ``last_sent_at``, and of one that does not answer ``away_since``, ``next_try_at``);
    ``stuck`` (``what``, ``id``, ``study_uid``, ``where``, ``state``, ``waits_s``, ``reason``: failed and to be mended,
    or made more than five minutes ago and still waiting; the longest first, at most twenty).
    """
    return {
        "at": now,
        "studies_open": _count(c, select(func.count()).select_from(tables.studies).where(_STUDY.state == "open")),
        "studies_closed": _count(c, select(func.count()).select_from(tables.studies).where(_STUDY.state == "closed")),
        "last_arrival_at": c.execute(select(func.max(_STUDY.last_arrival_at))).scalar_one(),
        "jobs": _states(c, work.JOBS), "deliveries": _states(c, work.DELIVERIES),
        "refused_inputs": _refused_inputs(c), "out_of_date": _out_of_date(c),
        "oldest_job_waits_s": _oldest(c, work.JOBS, now), "oldest_delivery_waits_s": _oldest(c, work.DELIVERIES, now),
        "expired_leases": _expired(c, work.JOBS, now) + _expired(c, work.DELIVERIES, now),
        "quarantined": _count(c, select(func.count()).where(tables.events.c.kind == events.INSTANCE_QUARANTINED)),
        "conflicting": _count(c, select(func.count(tables.events.c.study_uid.distinct())).where(
            tables.events.c.kind == events.INSTANCES_CONFLICTING)),
        "waiting_models": _waiting_models(c, now), "peers": _peers(c, now), "stuck": _stuck(c, now),
    }


def to_mend(queue: work.Queue) -> ColumnElement[bool]:
    """Return the condition that work failed, that it is no study that cannot be analysed, and that it can be revived.

    Notes
    -----
    What cannot be revived needs nobody: a newer job of the same study and route took its place and shows for itself,
    or retention deleted the study's files, which it does to no study that waits for a hand.
    """
    if queue is work.JOBS:
        return and_(_JOB.state == State.FAILED, not_(about_the_input()), revivable())
    return and_(_DELIVERY.state == State.FAILED, _DELIVERY.job_id.in_(select(_JOB.id).where(revivable())))


def _count(c: Connection, query: Any) -> int:  # noqa: ANN401
    return int(c.execute(query).scalar_one())


def _states(c: Connection, queue: work.Queue) -> dict[str, int]:
    t = queue.table.c
    found = {row.state: row.n for row in c.execute(select(t.state, func.count().label("n")).group_by(t.state))}
    return {state.value: found.get(state.value, 0) for state in State}


def _refused_inputs(c: Connection) -> int:
    """Count the failed jobs whose reason (``ErrorClass: sentence``) is the study itself."""
    return _count(c, select(func.count()).where(_JOB.state == State.FAILED, about_the_input()))


def _out_of_date(c: Connection) -> dict[str, int]:
    failed = {"jobs": _count(c, select(func.count()).where(_JOB.state == State.FAILED, not_(about_the_input()))),
              "deliveries": _count(c, select(func.count()).where(_DELIVERY.state == State.FAILED))}
    mendable = {"jobs": _count(c, select(func.count()).where(to_mend(work.JOBS))),
                "deliveries": _count(c, select(func.count()).where(to_mend(work.DELIVERIES)))}
    return {what: failed[what] - mendable[what] for what in failed}


def _oldest(c: Connection, queue: work.Queue, now: datetime) -> float | None:
    t = queue.table.c
    since = c.execute(select(func.min(t.run_after)).where(t.state == State.SCHEDULED, t.run_after <= now)).scalar_one()
    return None if since is None else (now - since).total_seconds()


def _expired(c: Connection, queue: work.Queue, now: datetime) -> int:
    t = queue.table.c
    return _count(c, select(func.count()).where(t.state == State.IN_PROGRESS, t.lease_until < now))


def _waiting_models(c: Connection, now: datetime) -> list[dict[str, Any]]:
    model = tables.job_models.c
    rows = c.execute(
        select(model.name, model.digest, func.count().label("jobs"), func.min(_JOB.run_after).label("since"))
        .join(tables.jobs, _JOB.id == model.job_id).where(_JOB.state == State.SCHEDULED, _JOB.run_after <= now)
        .group_by(model.name, model.digest).order_by(model.name, model.digest))
    return [{"name": row.name, "digest": row.digest, "jobs": row.jobs,
             "oldest_waits_s": (now - row.since).total_seconds()} for row in rows]


def _peers(c: Connection, now: datetime) -> list[dict[str, Any]]:
    """Return one row per peer that was ever delivered to."""
    peers: dict[str, dict[str, Any]] = {}
    old = and_(_DELIVERY.state == State.FAILED, not_(to_mend(work.DELIVERIES)))
    state = case((old, "out of date"), else_=_DELIVERY.state).label("state")
    one = select(_DELIVERY.peer, _DELIVERY.created_at, state).subquery().c
    for row in c.execute(select(one.peer, one.state, func.count().label("n"), func.min(one.created_at).label("since"))
                         .group_by(one.peer, one.state)):
        peer = peers.setdefault(row.peer, {
            "peer": row.peer, "scheduled": 0, "in_progress": 0, "failed": 0, "oldest_waits_s": None,
            "last_sent_at": None, "away_since": None, "next_try_at": None})
        peer |= {row.state: row.n} if row.state in peer else {}
        if row.state in {State.SCHEDULED, State.IN_PROGRESS}:
            peer["oldest_waits_s"] = max(peer["oldest_waits_s"] or 0.0, (now - row.since).total_seconds())
    item = tables.delivery_items.c
    for row in c.execute(
            select(_DELIVERY.peer, func.max(item.sent_at).label("last"))
            .join(tables.delivery_items, item.delivery_id == _DELIVERY.id).group_by(_DELIVERY.peer)):
        peers[row.peer]["last_sent_at"] = row.last
    for away in outages.outages(c):
        if away.peer in peers:
            peers[away.peer] |= {"away_since": away.since, "next_try_at": away.try_at}
    return [peers[name] for name in sorted(peers)]


def _stuck(c: Connection, now: datetime) -> list[dict[str, Any]]:
    found = _stuck_in(c, work.JOBS, now) + _stuck_in(c, work.DELIVERIES, now)
    return sorted(found, key=lambda row: -row["waits_s"])[:STUCK_SHOWN]


def _stuck_in(c: Connection, queue: work.Queue, now: datetime) -> list[dict[str, Any]]:
    """Return failed work that somebody is to mend, work that is being retried, and work that nobody takes."""
    t = queue.table.c
    where = t.route if queue is work.JOBS else t.peer
    old = (t.state == State.SCHEDULED) & (t.created_at < now - STUCK_AFTER)
    rows = c.execute(
        select(t.id, t.study_uid, where.label("place"), t.state, t.created_at, t.reason)
        .where(or_(to_mend(queue), old)).order_by(t.created_at).limit(STUCK_SHOWN))
    return [
        {"what": queue.noun, "id": row.id, "study_uid": row.study_uid, "where": row.place, "state": row.state,
         "waits_s": (now - row.created_at).total_seconds(), "reason": row.reason}
        for row in rows
    ]
