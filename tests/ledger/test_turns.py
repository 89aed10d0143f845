"""Fairness: lanes of one priority are served in rotation, nothing starves, and a peer that is away holds nobody."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event

from dicomnode.domain.work import Backoff
from dicomnode.errors import ClaimLost
from dicomnode.ledger import deliveries, jobs, outages, tables, turns, urgency, work
from dicomnode.ledger.engine import Ledger
from dicomnode.ledger.refusals import NotInLedger
from tests.ledger_rows import (
    BACKOFF,
    DIGESTS,
    NEVER_MIND,
    NOW,
    STUDY,
    a_closed_study,
    a_job,
    a_snapshot,
    after,
    claim_delivery,
    claim_job,
    complete_job,
    send_all,
)

STEADY = Backoff(first_s=60, most_s=60)


def jobs_from(ledger: Ledger, sender: str, count: int, *, route: str = "chest", priority: int = 100,
              study: str = STUDY) -> list[int]:
    """Make so many jobs of one sender on one route; return their ids."""
    with ledger.write() as c:
        made = [jobs.create(c, study_uid=study, kind="analysis", revision=0, priority=priority, now=after(n),
                            snapshot=a_snapshot(route=route, uids=[f"{sender}.{route}.{priority}.{n}"],
                                                source_ae_titles=(sender,)))
                for n in range(count)]
    return [one for one in made if one is not None]


def claimed(ledger: Ledger, count: int) -> list[int]:
    return [claim_job(ledger, now=after(9000 + n)).job_id for n in range(count)]


def senders_of(ids: Sequence[int], **of: Sequence[int]) -> str:
    """Spell by the first letter of its sender whose job each is."""
    whose = {job_id: name for name, theirs in of.items() for job_id in theirs}
    return "".join(whose[one] for one in ids)


@pytest.fixture
def node(ledger):
    a_closed_study(ledger)
    return ledger


def test_the_study_of_a_second_sender_goes_in_at_the_head_of_a_long_backlog(node):
    a = jobs_from(node, "A", 500)
    first = claimed(node, 3)
    b = jobs_from(node, "B", 1)
    assert senders_of(first + claimed(node, 3), a=a, b=b) == "aaabaa"


def test_two_senders_with_backlogs_take_turns(node):
    a, b = jobs_from(node, "A", 6), jobs_from(node, "B", 3)
    assert senders_of(claimed(node, 9), a=a, b=b) == "abababaaa"


def test_two_routes_of_one_sender_take_turns(node):
    a, b = jobs_from(node, "A", 3, route="chest"), jobs_from(node, "A", 3, route="head")
    assert senders_of(claimed(node, 6), a=a, b=b) == "ababab"


def test_a_sender_that_was_quiet_for_long_gets_one_turn_in_two_and_not_all(node):
    a = jobs_from(node, "A", 20)
    done = claimed(node, 10)
    b = jobs_from(node, "B", 5)
    assert senders_of(done + claimed(node, 8), a=a, b=b) == "aaaaaaaaaa" + "babababa"


def test_work_of_a_sender_that_has_had_its_turns_is_reached_though_others_send_on(node):
    a = jobs_from(node, "A", 2)
    claimed(node, 1)
    others = [jobs_from(node, f"S{n}", 1)[0] for n in range(3)]
    taken = claimed(node, 2)
    others += [jobs_from(node, f"T{n}", 1)[0] for n in range(3)]
    assert a[1] in taken + claimed(node, 2)


def test_an_urgent_job_goes_before_every_turn_and_leaves_the_turns_of_the_others_alone(node):
    a = jobs_from(node, "A", 4)
    urgent = jobs_from(node, "U", 3, priority=10)
    first = claimed(node, 4)
    b = jobs_from(node, "B", 2)
    assert senders_of(first + claimed(node, 5), a=a, u=urgent, b=b) == "uuua" + "babaa"


def test_a_job_that_failed_goes_behind_those_of_its_lane_that_were_not_tried_yet(node):
    a = jobs_from(node, "A", 3)
    job = claim_job(node, now=after(1000))
    with node.write() as c:
        jobs.retry(c, job, now=after(1001), run_after=after(1002), reason="ModelTimeout: 600 s", spend=True)
    assert claimed(node, 3) == [a[1], a[2], a[0]]


def test_a_failure_in_one_lane_puts_nobody_else_behind_its_backlog(node):
    a = jobs_from(node, "A", 20)
    job = claim_job(node, now=after(1000))
    with node.write() as c:
        jobs.retry(c, job, now=after(1001), run_after=after(1002), reason="ModelTimeout: 600 s", spend=True)
    b = jobs_from(node, "B", 1)
    assert b[0] in claimed(node, 2)
    assert len(a) == 20


def test_asking_a_peer_again_for_its_commitment_goes_behind_what_it_was_never_sent(node):
    for number, study in enumerate(("1.2.1", "1.2.2")):
        a_closed_study(node, study=study)
        a_job(node, study=study, snapshot=a_snapshot(uids=[study]))
        complete_job(node, claim_job(node, now=after(number)), first=1000 * number + 1, peers=("pacs",))
    first = claim_delivery(node, now=after(10), peers=("pacs",))
    send_all(node, first, now=after(11))
    with node.write() as c:
        deliveries.await_commitment(c, first, transaction_uid="2.25.7", run_after=after(20), now=after(12))
    second = claim_delivery(node, now=after(30), peers=("pacs",))
    assert (second.phase, second.delivery_id != first.delivery_id) == ("store", True)


def test_a_job_that_met_back_pressure_keeps_its_turn(node):
    a = jobs_from(node, "A", 2)
    job = claim_job(node, now=after(1000))
    with node.write() as c:
        jobs.retry(c, job, now=after(1001), run_after=after(1002), reason="SpoolFull: x", spend=False)
    assert claimed(node, 2) == a


def test_a_job_whose_worker_died_keeps_its_turn_once_and_goes_behind_the_others_when_it_happens_again(node):
    a = jobs_from(node, "A", 3)
    for at_s in (1000, 2000):
        assert claim_job(node, now=after(at_s)).job_id == a[0]
        with node.write() as c:
            assert jobs.rescue(c, now=after(at_s + 61), attempts=9, backoff=BACKOFF) == ([a[0]], [])
    assert claimed(node, 3) == [a[1], a[2], a[0]]


def test_jobs_that_an_operator_puts_back_stand_behind_one_another_and_before_nobody(node):
    for study in ("1.2.1", "1.2.2", "1.2.4"):
        a_closed_study(node, study=study)
    a = [jobs_from(node, "A", 1, study=study)[0] for study in ("1.2.1", "1.2.2", "1.2.4")]
    for _ in a:
        job = claim_job(node, now=after(1000))
        with node.write() as c:
            jobs.fail(c, job, now=after(1001), reason="x")
    b = jobs_from(node, "B", 3)
    with node.write() as c:
        assert jobs.requeue_failed(c, now=after(1002)) == a
    assert senders_of(claimed(node, 6), a=a, b=b) == "bababa"


def test_a_job_that_is_prioritised_goes_first_and_so_do_its_deliveries(node):
    a = jobs_from(node, "A", 3)
    with node.write() as c:
        urgency.prioritise(c, a[2], priority=1, now=after(5))
    urgent = claim_job(node, now=after(1000))
    assert urgent.job_id == a[2]
    complete_job(node, claim_job(node, now=after(1001)), first=10)
    complete_job(node, urgent, first=20)
    assert claim_delivery(node, now=after(1002)).job_id == a[2]


def test_the_waiting_deliveries_of_a_finished_job_can_be_prioritised(node):
    a = jobs_from(node, "A", 2)
    for n in range(2):
        complete_job(node, claim_job(node, now=after(1000)), first=10 * (n + 1))
    with node.write() as c:
        urgency.prioritise(c, a[1], priority=1, now=after(5))
    assert claim_delivery(node, now=after(1002)).job_id == a[1]


def test_what_has_ended_is_not_prioritised(node):
    (a,) = jobs_from(node, "A", 1)
    with node.write() as c:
        jobs.cancel(c, a, now=NOW, reason="x")
    with node.write() as c, pytest.raises(ClaimLost, match="requeue it with --priority"):
        urgency.prioritise(c, a, priority=1, now=NOW)
    with node.write() as c, pytest.raises(NotInLedger):
        urgency.prioritise(c, 4711, priority=1, now=NOW)


def results_for(ledger: Ledger, *peers: str) -> None:
    """Finish one job for each peer, whose results wait for that peer."""
    for n, peer in enumerate(peers):
        a_job(ledger, snapshot=a_snapshot(route=f"r{n}", uids=[f"r{n}"]))
        complete_job(ledger, claim_job(ledger), first=10 * n + 1, peers=[peer])


def next_delivery(ledger: Ledger, at_s: float, most_per_peer: int | None = None) -> deliveries.ClaimedDelivery | None:
    with ledger.write() as c:
        return deliveries.claim(c, now=after(at_s), lease_s=6000, owner="s", peers=frozenset({"away", "well"}),
                                most_per_peer=most_per_peer)


def fail_to_reach(ledger: Ledger, delivery: deliveries.ClaimedDelivery, at_s: float, backoff: Backoff = STEADY) -> None:
    with ledger.write() as c:
        deliveries.retry(c, delivery, now=after(at_s), run_after=after(at_s), reason="PeerUnreachable: refused",
                         spend=True, away=backoff)


def test_a_slow_peer_is_served_by_so_many_senders_and_no_more(node):
    results_for(node, "away", "away", "away", "well")
    taken = [next_delivery(node, n, most_per_peer=2) for n in range(4)]
    assert [one and one.peer for one in taken] == ["away", "well", "away", None]


def test_a_peer_that_is_away_costs_one_attempt_whatever_waits_for_it(node):
    results_for(node, "away", "away", "away", "well")
    first = next_delivery(node, 0)
    assert first is not None
    fail_to_reach(node, first, 1)
    second = next_delivery(node, 2)
    assert second is not None
    assert second.peer == "well"
    assert next_delivery(node, 3) is None, "what waits for the peer that is away is left in peace"
    with node.read() as c:
        (outage,) = outages.outages(c)
    assert (outage.peer, outage.failures, outage.since) == ("away", 1, after(1))


def test_each_failure_in_a_row_is_answered_with_a_longer_wait_by_another_delivery_each_time(node):
    results_for(node, "away", "away", "away")
    doubling, tried, at_s = Backoff(first_s=60, most_s=900), [], 0.0
    waits = []
    for _ in range(3):
        delivery = next_delivery(node, at_s)
        assert delivery is not None
        tried.append(delivery.delivery_id)
        fail_to_reach(node, delivery, at_s, doubling)
        with node.read() as c:
            waits.append((outages.outages(c)[0].try_at - after(at_s)).total_seconds())
        at_s += waits[-1] + 1
    assert len(set(tried)) == 3, "a result on which a peer breaks is not what it is tried with each time"
    assert waits[0] < waits[1] < waits[2]


def test_two_senders_that_find_a_peer_away_at_once_count_one_failure(node):
    results_for(node, "away", "away")
    both = [next_delivery(node, 0), next_delivery(node, 0)]
    for one in both:
        assert one is not None
        fail_to_reach(node, one, 1)
    with node.read() as c:
        assert [one.failures for one in outages.outages(c)] == [1]


def test_a_peer_that_takes_something_again_is_due_at_once_for_everything(node):
    results_for(node, "away", "away", "away")
    first = next_delivery(node, 0)
    assert first is not None
    fail_to_reach(node, first, 1)
    second = next_delivery(node, 100)
    assert second is not None
    send_all(node, second, now=after(101))
    with node.write() as c:
        deliveries.complete(c, second, now=after(102))
    with node.read() as c:
        assert outages.outages(c) == []
    assert [next_delivery(node, 103) is None for _ in range(3)] == [False, False, True]


def test_an_operators_requeue_tries_a_peer_that_is_left_in_peace_at_once(node):
    results_for(node, "away", "away")
    first = next_delivery(node, 0)
    assert first is not None
    fail_to_reach(node, first, 1)
    with node.write() as c:
        deliveries.cancel(c, first.delivery_id, now=after(2), reason="x")
        deliveries.requeue(c, first.delivery_id, now=after(3))
    assert next_delivery(node, 4) is not None


def test_a_peer_that_an_operator_names_is_tried_at_once_with_everything_that_waits_for_it(node):
    results_for(node, "away", "away")
    first = next_delivery(node, 0)
    assert first is not None
    with node.write() as c:
        deliveries.retry(c, first, now=after(1), run_after=after(900), reason="PeerUnreachable: x", spend=True,
                         away=Backoff(first_s=900, most_s=900))
    assert next_delivery(node, 2) is None
    with node.write() as c:
        assert deliveries.requeue_failed(c, now=after(3), peer="away") == []
    assert [next_delivery(node, 4) is None for _ in range(3)] == [False, False, True]


def test_a_delivery_whose_sender_died_goes_to_the_end_of_its_lane(node):
    results_for(node, "away", "away")
    first = next_delivery(node, 0)
    assert first is not None
    with node.write() as c:
        assert deliveries.rescue(c, now=after(7000), max_age=NEVER_MIND, backoff=BACKOFF)[0] == [first.delivery_id]
    second = next_delivery(node, 9000)
    assert second is not None
    assert second.delivery_id != first.delivery_id


@contextmanager
def asked() -> Iterator[list[tuple[str, Any]]]:
    """Collect each statement with its parameters."""
    statements: list[tuple[str, Any]] = []

    def note(_c: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, _many: Any) -> None:
        statements.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    yield statements
    event.remove(Engine, "before_cursor_execute", note)


def test_a_claim_and_a_turn_look_at_the_head_of_an_index_and_not_at_the_backlog(node):
    waiting = {"study_uid": STUDY, "kind": "analysis", "route": "chest", "revision": 0, "state": "scheduled",
               "snapshot": a_snapshot().to_json(), "attempt": 0, "priority": 100, "run_after": NOW, "owner": "",
               "reason": "", "created_at": NOW, "changed_at": NOW, "lane": a_snapshot().lane}
    with node.write() as c:
        c.execute(tables.jobs.insert(), [waiting | {"key": str(n), "turn": n} for n in range(1, 2001)])
    if node.dialect == "postgresql":
        with node.write() as c:
            c.exec_driver_sql("ANALYZE jobs")
    with asked() as statements, node.write() as c:
        jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS)
        turns.next_turn(c, work.JOBS, lane=a_snapshot().lane, priority=100)
    explain = "EXPLAIN QUERY PLAN " if node.dialect == "sqlite" else "EXPLAIN "
    looked = [one for one in statements if "max(" in one[0] or one[0].startswith("UPDATE jobs")]
    with node.write() as c:
        plans = [str(c.exec_driver_sql(explain + said, parameters).all()) for said, parameters in looked]
    assert [re.findall("ix_jobs_[a-z]+", plan)[:1] for plan in plans] == [
        ["ix_jobs_queue"], ["ix_jobs_lane"], ["ix_jobs_served"]], plans
    assert not any("Sort" in plan or "TEMP B-TREE" in plan for plan in plans), plans
