"""Rows for people over both databases: every study has an outcome, everything stuck is shown."""

from __future__ import annotations

import json

from dicomnode.ledger import census, deliveries, events, jobs
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import (
    BACKOFF,
    DIGEST,
    NOW,
    STUDY,
    a_claimed_delivery,
    a_closed_study,
    a_job,
    a_snapshot,
    after,
    an_instance,
    claim_delivery,
    claim_job,
    close,
    complete_job,
    index,
    send_all,
)


def outcome(ledger: Ledger) -> str:
    with ledger.read() as c:
        return census.studies(c, limit=1)[0]["outcome"]


def status(ledger: Ledger, at: float = 0) -> dict:
    with ledger.read() as c:
        return census.status(c, now=after(at))


def fail_job(ledger: Ledger, reason: str = "ModelFailed: nan", at: float = 0) -> int:
    job = claim_job(ledger)
    with ledger.write() as c:
        jobs.fail(c, job, now=after(at), reason=reason)
    return job.job_id


def a_notice(ledger: Ledger, at: float = 0) -> int:
    return a_job(ledger, kind="notice", now=after(at),
                 snapshot=a_snapshot(models=(), reason="ModelFailed", text="nan in the output"))


def test_the_outcome_follows_a_study_from_arrival_to_delivery(ledger):
    index(ledger, an_instance(1))
    seen = [outcome(ledger)]
    close(ledger)
    seen.append(outcome(ledger))
    a_job(ledger)
    seen.append(outcome(ledger))
    job = claim_job(ledger)
    seen.append(outcome(ledger))
    complete_job(ledger, job)
    seen.append(outcome(ledger))
    delivery = claim_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
    seen.append(outcome(ledger))
    assert status(ledger, at=600)["peers"][0]["oldest_waits_s"] is None
    assert seen == ["receiving", "not applicable", "waiting", "analysing", "delivering", "analysed"]


def test_a_failed_job_is_a_study_that_was_not_analysed(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    fail_job(ledger)
    assert outcome(ledger) == "not analysed: ModelFailed: nan"


def test_a_failed_delivery_is_a_study_that_was_not_delivered(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.fail(c, delivery, now=NOW, reason="PeerRefused: 0x0122")
    assert outcome(ledger) == "undelivered: PeerRefused: 0x0122"


def test_a_refusal_at_matching_is_the_reason_until_the_study_is_closed_again(ledger):
    a_closed_study(ledger)
    with ledger.write() as c:
        events.record(c, at=NOW, kind=events.ROUTE_REFUSED, study_uid=STUDY, text="MissingSlices: gap of 7.0 mm")
    assert outcome(ledger) == "not analysed: MissingSlices: gap of 7.0 mm"
    index(ledger, an_instance(3, at=after(5)), now=after(5))
    close(ledger, now=after(9))
    assert outcome(ledger) == "not applicable"


def test_a_refusal_of_what_came_later_counts_over_the_success_before_it(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    complete_job(ledger, claim_job(ledger), peers=())
    index(ledger, an_instance(1, content="o", pixels="o", copy=1, at=after(5)), now=after(5))
    close(ledger, now=after(9))
    with ledger.write() as c:
        events.record(c, at=after(9), kind=events.ROUTE_REFUSED, study_uid=STUDY, text="ConflictingInstances: 1 image")
    assert outcome(ledger) == "not analysed: ConflictingInstances: 1 image"


def test_a_notice_says_why_nothing_was_analysed(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    fail_job(ledger)
    a_notice(ledger)
    assert outcome(ledger) == "not analysed: ModelFailed: nan in the output"


def test_a_requeued_analysis_counts_over_the_notice_of_its_failure(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    failed = fail_job(ledger)
    a_notice(ledger, at=1)
    with ledger.write() as c:
        jobs.requeue(c, failed, now=after(2))
    assert outcome(ledger) == "waiting"
    with ledger.write() as c:
        job = jobs.claim(c, now=after(3), lease_s=60, owner="w", digests=frozenset({DIGEST}))
        notice = jobs.claim(c, now=after(3), lease_s=60, owner="w", digests=frozenset({DIGEST}))
        jobs.complete(c, job if job.kind == "analysis" else notice, results=[], deliveries=[], now=after(4), data={})
    assert outcome(ledger) == "analysed"


def test_a_notice_made_after_a_success_counts(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    complete_job(ledger, claim_job(ledger), peers=())
    assert outcome(ledger) == "analysed"
    a_notice(ledger, at=5)
    assert outcome(ledger) == "not analysed: ModelFailed: nan in the output"


def test_one_route_under_way_shows_before_another_that_failed(ledger):
    a_closed_study(ledger)
    a_job(ledger, snapshot=a_snapshot(route="a"))
    fail_job(ledger)
    a_job(ledger, snapshot=a_snapshot(route="b"))
    assert outcome(ledger) == "waiting"


def test_one_route_that_refused_does_not_hide_another_that_analysed(ledger):
    a_closed_study(ledger)
    with ledger.write() as c:
        events.record(c, at=NOW, kind=events.ROUTE_REFUSED, study_uid=STUDY, data={"route": "lung"},
                      text="OutsideIntendedUse: PatientAge is 4 years")
    assert outcome(ledger) == "not analysed: OutsideIntendedUse: PatientAge is 4 years"
    a_job(ledger)
    complete_job(ledger, claim_job(ledger), peers=())
    assert outcome(ledger) == "analysed: but not by lung: OutsideIntendedUse: PatientAge is 4 years"


def test_one_route_that_failed_does_not_hide_another_that_analysed(ledger):
    a_closed_study(ledger)
    a_job(ledger, snapshot=a_snapshot(route="a"))
    fail_job(ledger)
    a_job(ledger, snapshot=a_snapshot(route="b"))
    complete_job(ledger, claim_job(ledger), peers=())
    assert outcome(ledger) == "analysed: but not by a: ModelFailed: nan"


def test_studies_come_newest_first_and_no_more_than_asked_for(ledger):
    for n in range(3):
        a_closed_study(ledger, study=f"1.2.{n}", now=after(n))
    with ledger.read() as c:
        assert [row["study_uid"] for row in census.studies(c, limit=2)] == ["1.2.2", "1.2.1"]


def test_one_study_shows_its_series_jobs_and_deliveries(ledger):
    a_claimed_delivery(ledger)
    index(ledger, an_instance(1, content="o", pixels="o", copy=1, SeriesDescription="Thorax"))
    with ledger.read() as c:
        about = census.study(c, STUDY)
        assert census.study(c, "1.2.404") == {}
    assert about["series"] == [
        {"series_uid": f"{STUDY}.1", "instances": 2, "conflicts": 1, "modality": "CT", "description": "Thorax"}]
    assert [row["models"] for row in about["jobs"]] == [["model0"]]
    assert [(row["peer"], row["route"], row["items"]) for row in about["deliveries"]] == [("pacs", "chest", 2)]


def test_every_change_of_state_is_in_the_timeline(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=after(5))
    with ledger.read() as c:
        found = [(row["kind"], row["job_id"], row["delivery_id"]) for row in census.timeline(c, STUDY)]
    assert found == [
        ("study_opened", None, None), ("study_closed", None, None), ("job_created", 1, None), ("job_claimed", 1, None),
        ("job_completed", 1, None), ("delivery_created", 1, 1), ("delivery_claimed", 1, 1),
        ("delivery_item_sent", 1, 1), ("delivery_item_sent", 1, 1), ("delivery_completed", 1, 1)]


def told(ledger: Ledger) -> list[str]:
    with ledger.read() as c:
        return [row["text"] for row in census.story(c, STUDY)]


def test_the_story_of_a_study_says_of_every_event_whose_it_is_and_what_happened(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=after(5))
    assert told(ledger) == [
        "the first image came", "2 instance(s)", "job 1: analysis for route chest",
        "job 1: attempt 1, taken by worker-1", "job 1: 3 object(s) made on cpu",
        "delivery 1 to pacs: 2 object(s) to send", "delivery 1 to pacs: attempt 1, taken by sender-1",
        "delivery 1 to pacs: SEG …2.25.1 stored there, status 0x0000",
        "delivery 1 to pacs: SR3D …2.25.2 stored there, status 0x0000",
        "delivery 1 to pacs: nothing is left to send"]


def test_the_story_gives_the_reason_of_each_setback(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        events.record(c, at=after(1), kind=events.ROUTE_REFUSED, study_uid=STUDY, data={"route": "lung"},
                      text="MissingSlices: gap of 7.0 mm")
        deliveries.retry(c, delivery, now=after(2), run_after=after(3), reason="PeerBusy: 0xA700", spend=False)
        deliveries.cancel(c, delivery.delivery_id, now=after(4), reason="canceled by an operator")
        deliveries.requeue(c, delivery.delivery_id, now=after(5))
        events.record(c, at=after(6), kind="own_output_returned", study_uid=STUDY, text="was not indexed",
                      data={"sop_instance_uid": "2.25.1"})
        events.record(c, at=after(7), kind="some_later_kind", study_uid=STUDY)
    index(ledger, an_instance(3, at=after(8)), now=after(8))
    assert told(ledger)[7:] == [
        "lung: MissingSlices: gap of 7.0 mm", "delivery 1 to pacs: PeerBusy: 0xA700",
        "delivery 1 to pacs: canceled by an operator", "delivery 1 to pacs: put back into the queue by an operator",
        "SEG …2.25.1; was not indexed", "some later kind", "revision 2: 1 new instance(s) came"]


def test_the_story_of_storage_commitment_says_what_was_asked_and_answered(ledger):
    delivery = a_claimed_delivery(ledger)
    uids = send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.await_commitment(c, delivery, transaction_uid="1.2.3456789012", run_after=after(60), now=after(1))
        deliveries.prove(c, "1.2.3456789012", uids, {}, now=after(2))
    assert told(ledger)[-2:] == [
        "delivery 1 to pacs: everything sent; storage commitment asked (…56789012)",
        "delivery 1 to pacs: the peer commits to everything that it took"]


def test_rows_are_filtered_by_state_and_peer(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    complete_job(ledger, claim_job(ledger), peers=("pacs", "viewer"))
    with ledger.read() as c:
        assert len(census.jobs(c, state="completed", limit=9)) == 1
        assert census.jobs(c, state="failed", limit=9) == []
        assert [row["peer"] for row in census.deliveries(c, peer="viewer", limit=9)] == ["viewer"]
        assert census.deliveries(c, state="failed", limit=9) == []


def test_the_status_of_an_empty_ledger_is_all_zero(ledger):
    found = status(ledger)
    assert found["jobs"] == {"scheduled": 0, "in_progress": 0, "completed": 0, "failed": 0, "canceled": 0}
    assert found["deliveries"] == found["jobs"]
    assert (found["studies_open"], found["oldest_job_waits_s"], found["last_arrival_at"]) == (0, None, None)
    assert (found["peers"], found["stuck"], found["waiting_models"]) == ([], [], [])


def test_failures_of_the_input_are_counted_among_the_failed_jobs(ledger):
    a_closed_study(ledger)
    for n, reason in enumerate(("MissingSlices: gap", "UnusableInput: no", "ModelFailed: nan", "MissingSlicesToo: no")):
        a_job(ledger, snapshot=a_snapshot(route=f"r{n}"))
        fail_job(ledger, reason)
    found = status(ledger)
    assert (found["jobs"]["failed"], found["refused_inputs"]) == (4, 2)


def a_failed_delivery(ledger: Ledger) -> int:
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.fail(c, delivery, now=after(1), reason="PeerRefused: 0xA900")
    return delivery.delivery_id


def in_need(ledger: Ledger) -> tuple[int, int, int, int]:
    """Failed jobs and deliveries that somebody is to mend, by the lists and by the counts."""
    found = status(ledger)
    with ledger.read() as c:
        rows = census.jobs(c, mendable=True, limit=9), census.deliveries(c, mendable=True, limit=9)
    failed = sum(peer["failed"] for peer in found["peers"])
    assert len(rows[1]) == failed
    assert sum(row["state"] == "failed" for row in found["stuck"]) == len(rows[0]) + len(rows[1])
    return len(rows[0]), len(rows[1]), found["out_of_date"]["jobs"], found["out_of_date"]["deliveries"]


def test_a_failed_delivery_whose_place_a_newer_job_took_needs_nobody(ledger):
    number = a_failed_delivery(ledger)
    assert in_need(ledger) == (0, 1, 0, 0)
    a_job(ledger, revision=1, now=after(9))
    assert in_need(ledger) == (0, 0, 0, 1)
    with ledger.read() as c:
        assert [row["delivery_id"] for row in census.deliveries(c, state="failed", limit=9)] == [number]
    assert status(ledger)["deliveries"]["failed"] == 1


def test_a_failed_job_with_a_newer_one_of_its_study_and_route_needs_nobody(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    fail_job(ledger)
    assert in_need(ledger) == (1, 0, 0, 0)
    a_job(ledger, snapshot=a_snapshot(route="brain"), now=after(8))
    assert in_need(ledger) == (1, 0, 0, 0)
    a_job(ledger, revision=1, now=after(9))
    assert in_need(ledger) == (0, 0, 1, 0)


def test_what_an_operator_gives_up_needs_nobody_and_can_be_taken_up_again(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    fail_job(ledger)
    with ledger.write() as c:
        jobs.cancel(c, job_id, now=after(2), reason="canceled by an operator")
    assert in_need(ledger) == (0, 0, 0, 0)
    with ledger.write() as c:
        assert jobs.requeue(c, job_id, now=after(3)) == job_id


def test_a_job_that_nobody_takes_shows_with_its_model(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    found = status(ledger, at=400)
    assert found["oldest_job_waits_s"] == 400
    assert found["waiting_models"] == [{"name": "model0", "digest": DIGEST, "jobs": 1, "oldest_waits_s": 400}]
    assert [(row["what"], row["where"], row["waits_s"]) for row in found["stuck"]] == [("job", "chest", 400)]


def test_a_peer_that_is_away_shows_with_the_reason(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery, now=after(3))
    with ledger.write() as c:
        deliveries.retry(c, delivery, now=after(4), run_after=after(900), reason="PeerUnreachable: refused", spend=True)
    found = status(ledger, at=600)
    assert found["peers"] == [{
        "peer": "pacs", "scheduled": 1, "in_progress": 0, "failed": 0, "oldest_waits_s": 600, "last_sent_at": after(3),
        "away_since": None, "next_try_at": None}]
    assert [row["reason"] for row in found["stuck"]] == ["PeerUnreachable: refused"]
    assert found["oldest_delivery_waits_s"] is None


def test_expired_leases_quarantine_and_conflicts_are_counted(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    claim_job(ledger)
    index(ledger, an_instance(1, content="o", pixels="o", copy=1))
    with ledger.write() as c:
        events.record(c, at=NOW, kind=events.INSTANCE_QUARANTINED, text="CannotUnderstand: cut off")
    found = status(ledger, at=61)
    assert (found["expired_leases"], found["quarantined"], found["conflicting"]) == (1, 1, 1)
    with ledger.write() as c:
        jobs.rescue(c, now=after(61), attempts=3, backoff=BACKOFF)
    assert status(ledger, at=62)["expired_leases"] == 0


def test_rows_hold_nothing_that_json_cannot_say_but_times(ledger):
    a_claimed_delivery(ledger)
    with ledger.read() as c:
        rows = [census.status(c, now=NOW), census.study(c, STUDY), *census.timeline(c, STUDY)]
    text = json.dumps(rows, default=lambda value: value.isoformat())
    assert "王" not in text
