"""The state machine of work over the real ledger, in any order that operators, workers and crashes can make of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import Connection, func, select

from dicomnode.domain.work import Claim, State
from dicomnode.errors import ClaimLost
from dicomnode.ledger import jobs, tables
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import BACKOFF, DIGESTS, NOW, STUDY, a_closed_study, a_result, a_snapshot

ATTEMPTS = 2
LEASE_S = 60.0


@dataclass
class Expected:
    """What the machine believes of one job."""

    priority: int
    state: State = State.SCHEDULED
    attempt: int = 0
    run_after: datetime = NOW
    holder: jobs.ClaimedJob | None = None
    lease_until: datetime = NOW
    events: list[str] = field(default_factory=lambda: ["job_created"])

    def end(self, state: State, event: str) -> None:
        self.state, self.holder = state, None
        self.events.append(event)


class WorkMachine(RuleBasedStateMachine):
    """Jobs are made, claimed, finished, lost and revived; the ledger must agree with ``Expected`` at every step."""

    template: ClassVar[Path]
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="dicomnode-machine-"))
        shutil.copyfile(self.template, self.folder / "ledger.sqlite")
        self.ledger = Ledger(f"sqlite:///{self.folder / 'ledger.sqlite'}")
        self.jobs: dict[int, Expected] = {}
        self.claims: list[jobs.ClaimedJob] = []
        self.now = NOW

    def teardown(self) -> None:
        self.ledger.dispose()
        shutil.rmtree(self.folder)

    def held_by(self, job: jobs.ClaimedJob) -> bool:
        holder = self.jobs[job.job_id].holder
        return holder is not None and holder.claim.token == job.claim.token

    def with_claim(self, job: jobs.ClaimedJob, act: Callable[[Connection], object]) -> bool:
        """Act as a claimant; it must succeed exactly when the claim still stands."""
        stands = self.held_by(job)
        try:
            with self.ledger.write() as c:
                act(c)
        except ClaimLost:
            assert not stands
        else:
            assert stands
        return stands

    def with_order(self, job_id: int, allowed: set[State], act: Callable[[Connection], object]) -> bool:
        """Act as an operator; it must succeed exactly in the allowed states."""
        stands = self.jobs[job_id].state in allowed
        try:
            with self.ledger.write() as c:
                act(c)
        except ClaimLost:
            assert not stands
        else:
            assert stands
        return stands

    def a_claim(self, data: st.DataObject) -> jobs.ClaimedJob:
        """Return a claim that stands, or one that was lost."""
        stands = [job for job in self.claims if self.held_by(job)]
        return data.draw(st.sampled_from(stands if stands and data.draw(st.booleans()) else self.claims))

    def turns(self) -> dict[int, int]:
        """Return the turn of each job; which it is, tests of the ledger say."""
        with self.ledger.read() as c:
            return {row.id: row.turn for row in c.execute(select(tables.jobs.c.id, tables.jobs.c.turn))}

    def any_job(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.jobs)))

    @initialize()
    def a_study(self) -> None:
        a_closed_study(self.ledger)

    @rule(priority=st.sampled_from([1, 100]))
    def create(self, priority: int) -> None:
        revision = len(self.jobs)
        for first in (True, False):
            with self.ledger.write() as c:
                job_id = jobs.create(c, study_uid=STUDY, kind="analysis", revision=revision, snapshot=a_snapshot(),
                                     priority=priority, now=self.now)
            assert (job_id is not None) == first
            if job_id is not None:
                self.jobs[job_id] = Expected(priority, run_after=self.now)

    @rule(seconds=st.sampled_from([1, 61, 1000]))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def claim(self) -> None:
        turns = self.turns()
        due = [(e.priority, turns[n], e.run_after, n) for n, e in self.jobs.items()
               if e.state is State.SCHEDULED and e.run_after <= self.now]
        with self.ledger.write() as c:
            job = jobs.claim(c, now=self.now, lease_s=LEASE_S, owner="w", digests=DIGESTS)
        assert (job.job_id if job else None) == (min(due)[3] if due else None)
        if job is not None:
            expected = self.jobs[job.job_id]
            expected.end(State.IN_PROGRESS, "job_claimed")
            expected.attempt += 1
            expected.holder, expected.lease_until = job, self.now + timedelta(seconds=LEASE_S)
            assert job.claim.attempt == expected.attempt
            self.claims.append(job)

    @rule()
    def a_worker_is_killed(self) -> None:
        """Claim, and never come back: the lease runs out, and the keeper sees it."""
        self.claim()
        self.time_passes(61)
        self.rescue()
        self.time_passes(1000)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        job = self.a_claim(data)
        renewed: list[Claim] = []
        if self.with_claim(job, lambda c: renewed.append(jobs.renew(c, job.claim, now=self.now, lease_s=LEASE_S))):
            self.jobs[job.job_id].lease_until = renewed[0].lease_until

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        job = self.a_claim(data)
        if self.with_claim(job, lambda c: jobs.complete(
                c, job, results=[a_result(job.job_id)], deliveries=[], now=self.now, data={})):
            self.jobs[job.job_id].end(State.COMPLETED, "job_completed")

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), spend=st.booleans())
    def retry(self, data: st.DataObject, spend: bool) -> None:  # noqa: FBT001
        job = self.a_claim(data)
        later = self.now + timedelta(seconds=15)
        if self.with_claim(job, lambda c: jobs.retry(
                c, job, now=self.now, run_after=later, reason="ModelTimeout: x", spend=spend)):
            expected = self.jobs[job.job_id]
            expected.end(State.SCHEDULED, "job_retried")
            expected.attempt -= not spend
            expected.run_after = later

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        job = self.a_claim(data)
        if self.with_claim(job, lambda c: jobs.release(c, job, now=self.now)):
            expected = self.jobs[job.job_id]
            expected.end(State.SCHEDULED, "job_released")
            expected.attempt -= 1
            expected.run_after = self.now

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        job = self.a_claim(data)
        if self.with_claim(job, lambda c: jobs.fail(c, job, now=self.now, reason="ModelFailed: x")):
            self.jobs[job.job_id].end(State.FAILED, "job_failed")

    @rule()
    def rescue(self) -> None:
        dead = {n for n, e in self.jobs.items() if e.state is State.IN_PROGRESS and e.lease_until < self.now}
        spent = {n for n in dead if self.jobs[n].attempt >= ATTEMPTS}
        with self.ledger.write() as c:
            rescued, buried = jobs.rescue(c, now=self.now, attempts=ATTEMPTS, backoff=BACKOFF)
            waits = {n: jobs.get(c, n).run_after for n in rescued}
        assert (set(rescued), set(buried)) == (dead - spent, spent)
        for n in rescued:
            self.jobs[n].end(State.SCHEDULED, "job_rescued")
            self.jobs[n].run_after = waits[n]
        for n in buried:
            self.jobs[n].end(State.FAILED, "job_buried")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job_id = self.any_job(data)
        if self.with_order(job_id, {State.SCHEDULED, State.IN_PROGRESS, State.FAILED},
                           lambda c: jobs.cancel(c, job_id, now=self.now, reason="x")):
            self.jobs[job_id].end(State.CANCELED, "job_canceled")

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def requeue(self, data: st.DataObject) -> None:
        job_id = self.any_job(data)
        newest = job_id == max(self.jobs)  # all are of one study and route: a later one takes an earlier one's place
        allowed = {State.FAILED, State.CANCELED} if newest else set()
        if self.with_order(job_id, allowed, lambda c: jobs.requeue(c, job_id, now=self.now)):
            expected = self.jobs[job_id]
            expected.end(State.SCHEDULED, "job_requeued")
            expected.attempt, expected.run_after = 0, self.now

    @precondition(lambda self: self.jobs)
    @rule()
    def supersede(self) -> None:
        with self.ledger.write() as c:
            assert jobs.supersede(c, study_uid=STUDY, route="chest", now=self.now) == ()
        for expected in self.jobs.values():
            if expected.state in {State.SCHEDULED, State.IN_PROGRESS}:
                expected.end(State.CANCELED, "job_superseded")

    @invariant()
    def the_ledger_says_the_same(self) -> None:
        t = tables.jobs.c
        with self.ledger.read() as c:
            rows = c.execute(select(t.id, t.state, t.attempt, t.run_after, t.token)).all()
        found = {row.id: (row.state, row.attempt, row.run_after, row.token) for row in rows}
        assert found == {
            n: (e.state, e.attempt, e.run_after, e.holder.claim.token if e.holder else None)
            for n, e in self.jobs.items()}

    @invariant()
    def every_change_is_an_event_and_every_result_of_a_completed_job(self) -> None:
        t, results = tables.events.c, tables.results.c
        with self.ledger.read() as c:
            rows = c.execute(select(t.job_id, t.kind).where(t.job_id.is_not(None)).order_by(t.id)).all()
            with_results = c.execute(select(results.job_id, func.count().label("n")).group_by(results.job_id)).all()
        told: dict[int, list[str]] = {}
        for row in rows:
            told.setdefault(row.job_id, []).append(row.kind)
        assert told == {n: e.events for n, e in self.jobs.items()}
        assert {row.job_id: row.n for row in with_results} == {
            n: 1 for n, e in self.jobs.items() if e.state is State.COMPLETED}


@pytest.fixture
def the_machine(sqlite_template: Path) -> type[WorkMachine]:
    WorkMachine.template = sqlite_template
    return WorkMachine


@pytest.mark.slow
def test_no_order_of_events_breaks_the_work_machine(the_machine):
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(the_machine, settings=settings(
        max_examples=40, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)))
