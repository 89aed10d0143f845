"""What became of a study, derived from its jobs, deliveries and events; nobody writes it down."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, case, select

from dicomnode.domain.job import ANALYSIS, NOTICE, Snapshot
from dicomnode.domain.work import State
from dicomnode.ledger import events, tables
from dicomnode.ledger.chunks import chunks
from dicomnode.ledger.work import Found

RECEIVING: Final = "receiving"  # images come, or may still come
WAITING: Final = "waiting"  # for a worker
ANALYSING: Final = "analysing"  # in a worker's hands
DELIVERING: Final = "delivering"  # results are on their way
ANALYSED: Final = "analysed"  # and delivered to all
BUT_NOT_BY: Final = ": but not by "  # of several routes, and the reason
NOT_APPLICABLE: Final = "not applicable"  # no route wants it
NOT_ANALYSED: Final = "not analysed: "  # and the reason
UNDELIVERED: Final = "undelivered: "  # and the reason

_UNDER_WAY: Final = frozenset({State.SCHEDULED, State.IN_PROGRESS})


@dataclass(slots=True)
class _Facts:
    jobs: dict[str, list[Found]] = field(default_factory=dict)  # route → its jobs, oldest first
    deliveries: dict[int, list[Found]] = field(default_factory=dict)  # job id → its deliveries
    refusals: dict[str, str] = field(default_factory=dict)  # route → why it refused at the last closing


def outcomes(c: Connection, studies: Sequence[Found]) -> dict[str, str]:
    """Return the outcome of each study row.

    Notes
    -----
    Of each route the latest analysis counts, unless it failed, was canceled, or a notice that nothing could
    be analysed was made after it. What is under way shows first, then what went wrong, then success; where one
    route succeeded and another did not, both are said. The word before the first colon is one of those above.
    """
    facts = _gather(c, [study.study_uid for study in studies if study.state == "closed"])
    for study_uid, route, text in _refusals(c, studies):
        facts[study_uid].refusals.setdefault(route, text)
    return {
        study.study_uid: _outcome(facts[study.study_uid]) if study.state == "closed" else RECEIVING
        for study in studies
    }


def _gather(c: Connection, study_uids: Sequence[str]) -> dict[str, _Facts]:
    facts = {uid: _Facts() for uid in study_uids}
    jobs, deliveries = tables.jobs.c, tables.deliveries.c
    for part in chunks(study_uids):
        for row in c.execute(
                select(jobs.id, jobs.study_uid, jobs.route, jobs.kind, jobs.state, jobs.reason, jobs.created_at,
                       jobs.changed_at, case((jobs.kind == NOTICE, jobs.snapshot), else_="").label("notice"))
                .where(jobs.study_uid.in_(part)).order_by(jobs.id)):
            facts[row.study_uid].jobs.setdefault(row.route, []).append(row)
        for sending in c.execute(
                select(deliveries.job_id, deliveries.study_uid, deliveries.state, deliveries.reason)
                .where(deliveries.study_uid.in_(part)).order_by(deliveries.id)):
            facts[sending.study_uid].deliveries.setdefault(sending.job_id, []).append(sending)
    return facts


def _refusals(c: Connection, studies: Sequence[Found]) -> Iterable[tuple[str, str, str]]:
    """Yield (study, route, reason) of every route that refused a study when it was last closed."""
    closed_at = {study.study_uid: study.closed_at for study in studies if study.state == "closed"}
    event = tables.events.c
    for part in chunks(list(closed_at)):
        rows = c.execute(
            select(event.study_uid, event.at, event.text, event.data)
            .where(event.study_uid.in_(part), event.kind == events.ROUTE_REFUSED).order_by(event.id))
        yield from ((row.study_uid, str(row.data.get("route", "")), row.text)
                    for row in rows if row.at >= closed_at[row.study_uid])


def _outcome(facts: _Facts) -> str:
    counting = [_counts(jobs) for jobs in facts.jobs.values()]
    analyses = [job for job in counting if job.kind == ANALYSIS]
    sendings = [one for job in analyses for one in facts.deliveries.get(job.id, ())]
    return _under_way({job.state for job in analyses}, sendings) or _ended(facts.refusals, counting, sendings)


def _under_way(states: Collection[str], sendings: Sequence[Found]) -> str:
    if State.IN_PROGRESS in states:
        return ANALYSING
    if State.SCHEDULED in states:
        return WAITING
    return DELIVERING if any(one.state in _UNDER_WAY for one in sendings) else ""


def _ended(refusals: Mapping[str, str], counting: Sequence[Found], sendings: Sequence[Found]) -> str:
    reasons = {**{str(job.route): why for job in counting if (why := _why_not(job))}, **refusals}
    if not counting and not reasons:
        return NOT_APPLICABLE
    if "" in reasons or all(job.route in reasons for job in counting):
        return NOT_ANALYSED + next(iter(refusals.values() or reasons.values()))
    failed = [str(one.reason) for one in sendings if one.state == State.FAILED]
    if failed:
        return UNDELIVERED + failed[0]
    return ANALYSED + BUT_NOT_BY * bool(reasons) + "; ".join(f"{route}: {why}" for route, why in reasons.items())


def _counts(jobs: Sequence[Found]) -> Found:
    """Return the job of a route that says how the route stands."""
    latest: Mapping[str, Found] = {job.kind: job for job in jobs}
    analysis, notice = latest.get(ANALYSIS), latest.get(NOTICE)
    if analysis is None or notice is None:
        return jobs[-1]
    over = analysis.state == State.COMPLETED and analysis.changed_at < notice.created_at
    given_up = analysis.state in {State.FAILED, State.CANCELED}
    return notice if notice.id > analysis.id and (over or given_up) else analysis


def _why_not(job: Found) -> str:
    """Return why a job means that nothing was analysed, '' where it does not."""
    if job.kind == NOTICE:
        snapshot = Snapshot.from_json(job.notice)
        return f"{snapshot.reason}: {snapshot.text}"
    return str(job.reason or job.state) if job.state in {State.FAILED, State.CANCELED} else ""
