"""Jobs over both databases: each claimed once, each change guarded, each effect in its own transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from dicomnode.domain.job import NewDelivery
from dicomnode.domain.work import State
from dicomnode.errors import ClaimLost
from dicomnode.ledger import census, jobs, tables
from dicomnode.ledger.engine import Ledger
from dicomnode.ledger.refusals import NotInLedger
from tests.ledger_rows import (
    BACKOFF,
    DIGEST,
    DIGESTS,
    NOW,
    STUDY,
    a_closed_study,
    a_job,
    a_result,
    a_snapshot,
    after,
    claim_job,
    complete_job,
)

OTHER = "sha256:" + "b" * 64


def kinds(ledger: Ledger) -> list[str]:
    with ledger.read() as c:
        return [row["kind"] for row in census.timeline(c, STUDY)]


def row(ledger: Ledger, job_id: int) -> jobs.JobRow:
    with ledger.read() as c:
        return jobs.get(c, job_id)


def fail(ledger: Ledger, reason: str, *, at: float = 0) -> None:
    job = claim_job(ledger)
    with ledger.write() as c:
        jobs.fail(c, job, now=after(at), reason=reason)


def no_claim(ledger: Ledger, **changes: object) -> bool:
    with ledger.write() as c:
        return jobs.claim(c, **({"now": NOW, "lease_s": 60, "owner": "w", "digests": DIGESTS} | changes)) is None


def test_the_same_work_makes_no_second_job(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    with ledger.write() as c:
        again = jobs.create(c, study_uid=STUDY, kind="analysis", revision=0, snapshot=a_snapshot(), priority=1, now=NOW)
    assert again is None
    assert kinds(ledger).count("job_created") == 1


def test_a_grown_series_makes_another_job(ledger):
    a_closed_study(ledger)
    first = a_job(ledger)
    second = a_job(ledger, snapshot=a_snapshot(uids=(f"{STUDY}.1.1", f"{STUDY}.1.2")))
    assert first != second


def test_a_job_is_known_by_its_key(ledger):
    a_closed_study(ledger)
    key = row(ledger, a_job(ledger)).key
    with ledger.read() as c:
        assert jobs.exists(c, key)
        assert not jobs.exists(c, "another")


def test_a_claimed_job_brings_back_its_snapshot(ledger):
    a_closed_study(ledger, now=after(-5))
    snapshot = a_snapshot(report_not_analysed=True, source_ae_titles=("SCANNER",))
    job_id = a_job(ledger, snapshot=snapshot)
    job = claim_job(ledger)
    assert (job.job_id, job.snapshot, job.study_uid, job.created_at) == (job_id, snapshot, STUDY, NOW)
    assert job.study_closed_at == after(-5)
    assert (job.claim.attempt, job.claim.lease_until) == (1, after(60))


def test_a_claimed_job_is_nobody_elses(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    claim_job(ledger)
    assert no_claim(ledger)


def test_a_job_before_its_time_is_not_claimed(ledger):
    a_closed_study(ledger)
    a_job(ledger, now=after(1))
    assert no_claim(ledger)
    assert not no_claim(ledger, now=after(1))


def test_the_urgent_job_goes_first_then_the_older(ledger):
    a_closed_study(ledger)
    late = a_job(ledger, priority=100, snapshot=a_snapshot(route="late"), now=after(-1))
    early = a_job(ledger, priority=100, snapshot=a_snapshot(route="early"), now=after(-2))
    urgent = a_job(ledger, priority=10, snapshot=a_snapshot(route="urgent"))
    assert [claim_job(ledger).job_id for _ in range(3)] == [urgent, early, late]


def test_a_worker_claims_only_jobs_all_of_whose_models_it_has_verified(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger, snapshot=a_snapshot(models=(DIGEST, OTHER)))
    assert no_claim(ledger)
    assert no_claim(ledger, digests=frozenset({OTHER}))
    assert claim_job(ledger, digests=frozenset({DIGEST, OTHER})).job_id == job_id


def test_a_notice_needs_no_model(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger, kind="notice", snapshot=a_snapshot(models=(), reason="MissingSlices", text="gap"))
    assert claim_job(ledger, digests=frozenset()).job_id == job_id


def test_renewing_moves_the_lease_and_nothing_else(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    job = claim_job(ledger)
    with ledger.write() as c:
        renewed = jobs.renew(c, job.claim, now=after(20), lease_s=60)
    assert (renewed.lease_until, renewed.token, renewed.attempt) == (after(80), job.claim.token, 1)
    assert kinds(ledger)[-1] == "job_claimed"


def test_completing_writes_results_deliveries_and_the_event_at_once(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    job = claim_job(ledger)
    complete_job(ledger, job, peers=("pacs", "viewer"))
    assert row(ledger, job_id).state is State.COMPLETED
    with ledger.read() as c:
        assert c.execute(select(tables.results.c.sop_instance_uid)).scalars().all() == ["2.25.1", "2.25.2", "2.25.3"]
        assert {d["peer"] for d in census.deliveries(c, limit=9)} == {"pacs", "viewer"}
        done = [e for e in census.timeline(c, STUDY) if e["kind"] == "job_completed"]
        assert jobs.result_folders(c) == {f"{job_id}/{job.claim.token}"}
    assert done[0]["data"] == {"device": "cpu", "results": 3}


def test_a_delivery_of_what_the_job_did_not_make_is_refused_and_nothing_is_written(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    job = claim_job(ledger)
    with pytest.raises(ValueError, match=r"names \['2\.25\.404'\]"), ledger.write() as c:
        jobs.complete(c, job, results=[a_result(1)], now=NOW, data={},
                      deliveries=[NewDelivery(peer="pacs", items=[["2.25.404"]])])
    assert row(ledger, job_id).state is State.IN_PROGRESS
    with ledger.read() as c:
        assert c.execute(select(tables.results)).all() == []


def test_an_item_without_any_form_is_refused(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    job = claim_job(ledger)
    with pytest.raises(ValueError, match="has no form to send"), ledger.write() as c:
        jobs.complete(c, job, results=[a_result(1)], now=NOW, data={},
                      deliveries=[NewDelivery(peer="pacs", items=[["2.25.1"], []])])


@pytest.mark.parametrize("how", ["rescued", "canceled"])
def test_a_lost_claim_completes_nothing(ledger, how):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    job = claim_job(ledger)
    with ledger.write() as c:
        if how == "rescued":
            jobs.rescue(c, now=after(61), attempts=3, backoff=BACKOFF)
        else:
            jobs.cancel(c, job_id, now=after(1), reason="not wanted")
    with pytest.raises(ClaimLost, match=f"job {job_id} is"):
        complete_job(ledger, job, now=after(62))
    with pytest.raises(ClaimLost), ledger.write() as c:
        jobs.renew(c, job.claim, now=after(62), lease_s=60)
    with ledger.read() as c:
        assert c.execute(select(tables.results)).all() == []


def test_a_retry_waits_and_keeps_its_reason(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    job = claim_job(ledger)
    with ledger.write() as c:
        jobs.retry(c, job, now=after(1), run_after=after(16), reason="GpuOutOfMemory: 12 GB", spend=True)
    found = row(ledger, job_id)
    assert (found.state, found.attempt, found.run_after) == (State.SCHEDULED, 1, after(16))
    assert found.reason == "GpuOutOfMemory: 12 GB"
    assert no_claim(ledger, now=after(15))
    assert claim_job(ledger, now=after(16)).claim.attempt == 2


def test_back_pressure_spends_no_attempt(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    with ledger.write() as c:
        jobs.retry(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=NOW, run_after=after(5),
                   reason="SpoolFull: 1 GB free", spend=False)
    assert row(ledger, job_id).attempt == 0


def test_a_graceful_stop_gives_the_attempt_back(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    with ledger.write() as c:
        jobs.release(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=after(2))
    found = row(ledger, job_id)
    assert (found.state, found.attempt, found.run_after) == (State.SCHEDULED, 0, after(2))


def test_a_failed_job_stays_failed_until_an_operator_requeues_it(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    fail(ledger, "MissingSlices: gap")
    assert row(ledger, job_id).state is State.FAILED
    assert no_claim(ledger)
    with ledger.write() as c:
        assert jobs.requeue(c, job_id, now=after(9)) == job_id
    found = row(ledger, job_id)
    assert (found.state, found.attempt, found.reason) == (State.SCHEDULED, 0, "")


def test_a_job_whose_worker_died_is_rescued_while_attempts_are_left_then_buried(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    claim_job(ledger)
    with ledger.write() as c:
        assert jobs.rescue(c, now=after(60), attempts=2, backoff=BACKOFF) == ([], [])
        assert jobs.rescue(c, now=after(61), attempts=2, backoff=BACKOFF) == ([job_id], [])
    found = row(ledger, job_id)
    assert found.attempt == 1
    assert after(61 + 12) <= found.run_after <= after(61 + 18)
    claim_job(ledger, now=after(100))
    with ledger.write() as c:
        assert jobs.rescue(c, now=after(200), attempts=2, backoff=BACKOFF) == ([], [job_id])
    buried = row(ledger, job_id)
    assert buried.state is State.FAILED
    assert "worker-1" in buried.reason
    assert kinds(ledger)[-4:] == ["job_claimed", "job_rescued", "job_claimed", "job_buried"]


def test_only_waiting_or_running_jobs_are_canceled_and_only_ended_ones_requeued(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    with pytest.raises(ClaimLost, match=f"job {job_id} is scheduled; requeue is allowed from canceled or failed"), \
            ledger.write() as c:
        jobs.requeue(c, job_id, now=NOW)
    with ledger.write() as c:
        jobs.cancel(c, job_id, now=NOW, reason="not wanted")
    with pytest.raises(ClaimLost, match=f"job {job_id} is canceled"), ledger.write() as c:
        jobs.cancel(c, job_id, now=NOW, reason="not wanted")
    with pytest.raises(ClaimLost, match="job 404 is not in the ledger"), ledger.write() as c:
        jobs.cancel(c, 404, now=NOW, reason="not wanted")
    with pytest.raises(NotInLedger, match="job 404"), ledger.read() as c:
        jobs.get(c, 404)


def test_requeue_failed_takes_only_what_it_was_asked_for(ledger):
    a_closed_study(ledger)
    ids = {}
    for route, at in (("chest", 0), ("brain", 10), ("chest2", 20)):
        ids[route] = a_job(ledger, snapshot=a_snapshot(route=route))
        fail(ledger, "x", at=at)
    waiting = a_job(ledger, snapshot=a_snapshot(route="waiting"))
    with ledger.write() as c:
        assert jobs.requeue_failed(c, now=after(30), route="brain") == [ids["brain"]]
        assert jobs.requeue_failed(c, now=after(30), since=after(15)) == [ids["chest2"]]
        assert jobs.requeue_failed(c, now=after(30)) == [ids["chest"]]
    assert row(ledger, waiting).state is State.SCHEDULED


def test_a_reason_with_bytes_that_no_database_holds_is_still_written_down(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    fail(ledger, "bad \x00 \ud800 名")
    assert row(ledger, job_id).reason == "bad ? ? 名"


def test_a_time_without_a_zone_is_refused(ledger):
    a_closed_study(ledger)
    with pytest.raises(Exception, match="a time without a zone"):
        a_job(ledger, now=NOW.replace(tzinfo=None))


def test_what_is_next_up_is_what_a_claim_would_take_and_it_is_not_taken(ledger):
    a_closed_study(ledger)
    later = a_job(ledger, priority=200)
    sooner = a_job(ledger, priority=100, revision=1)
    for job_id in (sooner, later):
        with ledger.read() as c:
            found = jobs.next_up(c, now=NOW, digests=DIGESTS)
            foreign = jobs.next_up(c, now=NOW, digests=frozenset({OTHER}))
        assert found is not None
        assert (found.job_id, found.state, found.attempt) == (job_id, State.SCHEDULED, 0)
        assert foreign is None
        assert claim_job(ledger).job_id == job_id
    with ledger.read() as c:
        assert jobs.next_up(c, now=NOW, digests=DIGESTS) is None


def test_a_job_that_was_tried_before_is_not_next_up(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    job = claim_job(ledger)
    with ledger.write() as c:
        jobs.retry(c, job, now=NOW, run_after=NOW, reason="once more", spend=True)
    with ledger.read() as c:
        assert jobs.next_up(c, now=NOW, digests=DIGESTS) is None
