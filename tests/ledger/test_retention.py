"""Retention over both databases: nothing that waits is ever forgotten."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicomnode.domain.job import NewDelivery
from dicomnode.errors import ClaimLost
from dicomnode.ledger import census, deliveries, jobs, studies
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import (
    DIGESTS,
    NOW,
    STUDY,
    a_claimed_delivery,
    a_closed_study,
    a_job,
    a_result,
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

LATER = after(1_000_000)


def finished(ledger: Ledger, *, before=LATER) -> list[str]:
    with ledger.read() as c:
        return [study.study_uid for study in studies.finished_studies(c, before=before)]


def forget(ledger: Ledger) -> bool:
    with ledger.read() as c:
        seen = [study for study in studies.finished_studies(c, before=LATER) if study.study_uid == STUDY]
    with ledger.write() as c:
        return bool(seen) and studies.forget_files(c, seen[0], now=after(100), because="keep_days = 14")


def test_an_open_study_is_not_finished(ledger):
    index(ledger, an_instance(1))
    assert finished(ledger) == []


def test_a_closed_study_that_no_route_wanted_is_finished_when_it_was_closed(ledger):
    a_closed_study(ledger)
    with ledger.read() as c:
        (study,) = studies.finished_studies(c, before=LATER)
    assert (study.study_uid, study.instances, study.bytes, study.finished_at) == (STUDY, 2, 1_060_000, NOW)
    assert study.path_prefix == f"ab/{STUDY}"
    assert finished(ledger, before=NOW) == []


def test_a_study_whose_files_lie_in_no_folder_of_their_own_is_never_offered_for_deletion(ledger):
    index(ledger, replace(an_instance(1), path="stray.dcm"))
    close(ledger)
    assert finished(ledger) == []


def test_a_study_is_finished_when_its_last_delivery_is(ledger):
    delivery = a_claimed_delivery(ledger)
    assert finished(ledger) == []
    send_all(ledger, delivery)
    assert finished(ledger) == []
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=after(50))
    assert finished(ledger, before=after(50)) == []
    assert finished(ledger, before=after(51)) == [STUDY]


def test_a_study_whose_job_waits_or_runs_is_not_finished(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    assert finished(ledger) == []
    claim_job(ledger)
    assert finished(ledger) == []


def test_failed_work_holds_its_study_until_it_is_requeued_and_canceled(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    with ledger.write() as c:
        jobs.fail(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=NOW, reason="x")
    assert finished(ledger) == []
    with ledger.write() as c:
        jobs.requeue(c, job_id, now=NOW)
        jobs.cancel(c, job_id, now=NOW, reason="not wanted")
    assert finished(ledger) == [STUDY]


@pytest.mark.parametrize("what", ["job", "delivery"])
def test_failed_work_whose_place_a_later_analysis_took_holds_nothing(ledger, what):
    a_closed_study(ledger)
    a_job(ledger)
    first = claim_job(ledger)
    if what == "job":
        with ledger.write() as c:
            jobs.fail(c, first, now=NOW, reason="x")
    else:
        complete_job(ledger, first)
        with ledger.write() as c:
            deliveries.fail(c, deliveries.claim(c, now=NOW, lease_s=60, owner="s", peers=frozenset({"pacs"})), now=NOW,
                            reason="x")
    assert finished(ledger) == []
    a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    complete_job(ledger, claim_job(ledger), first=11)
    delivery = claim_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
    assert finished(ledger) == [STUDY]


def a_failed_analysis(ledger: Ledger, reason: str) -> int:
    a_closed_study(ledger)
    job_id = a_job(ledger)
    with ledger.write() as c:
        jobs.fail(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=NOW, reason=reason)
    return job_id


def a_completed_notice(ledger: Ledger, reason: str) -> None:
    a_job(ledger, kind="notice", snapshot=a_snapshot(models=(), reason=reason, text="x"))
    notice = claim_job(ledger)
    with ledger.write() as c:
        jobs.complete(c, notice, results=[a_result(50, "TEXT", "notice")], now=NOW, data={},
                      deliveries=[NewDelivery(peer="pacs", items=[["2.25.50"]])])


@pytest.mark.parametrize(("reason", "held"), [
    ("MissingSlices: a gap of 7 mm", False), ("OutsideIntendedUse: 4 years", False), ("UnusableInput: x", False),
    ("ModelFailed: x", True), ("MissingSlicesOrWorse: x", True), ("the worker said MissingSlices: x", True),
])
def test_a_study_that_itself_was_the_cause_is_held_by_no_failure(ledger, reason, held):
    a_failed_analysis(ledger, reason)
    assert finished(ledger) == ([STUDY] if held is False else [])


def test_a_failure_that_a_notice_reported_holds_nothing_once_the_notice_is_delivered(ledger):
    a_failed_analysis(ledger, "ModelFailed: x")
    a_completed_notice(ledger, "ModelFailed")
    assert finished(ledger) == []
    delivery = claim_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
    assert finished(ledger) == [STUDY]


def test_what_retention_deleted_is_requeued_neither_by_name_nor_with_all_that_failed(ledger):
    job_id = a_failed_analysis(ledger, "MissingSlices: a gap of 7 mm")
    assert forget(ledger)
    with pytest.raises(ClaimLost, match=f"job {job_id} lacks its files: .*send the study again"), ledger.write() as c:
        jobs.requeue(c, job_id, now=after(200))
    with ledger.write() as c:
        assert jobs.requeue_failed(c, now=after(200)) == []


def test_a_canceled_notice_does_not_take_the_place_of_a_failed_analysis(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    with ledger.write() as c:
        jobs.fail(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=NOW, reason="x")
    notice = a_job(ledger, kind="notice", snapshot=a_snapshot(models=(), reason="ModelFailed", text="x"))
    with ledger.write() as c:
        jobs.cancel(c, notice, now=NOW, reason="x")
    assert finished(ledger) == []


def test_the_oldest_study_goes_first(ledger):
    for n, at in ((1, 30), (2, 10), (3, 20)):
        a_closed_study(ledger, study=f"1.2.{n}", now=after(at))
    assert finished(ledger) == ["1.2.2", "1.2.3", "1.2.1"]


def test_forgetting_marks_the_files_and_keeps_the_history(ledger):
    a_closed_study(ledger)
    assert forget(ledger)
    with ledger.read() as c:
        assert studies.look_up(c, [an_instance(1).sop_instance_uid]) == {}
        assert studies.instance_paths(c, STUDY, [an_instance(1).sop_instance_uid]) == {}
        (row,) = census.studies(c, limit=9)
        event = census.timeline(c, STUDY)[-1]
    assert (row["instances"], row["deleted_at"]) == (2, after(100))
    assert (event["kind"], event["data"]) == (
        "study_deleted", {"files": 2, "bytes": 1_060_000, "because": "keep_days = 14"})
    assert event["text"] == "2 file(s) deleted by retention: keep_days = 14"
    assert finished(ledger) == []


def test_what_is_open_or_forgotten_is_not_forgotten(ledger):
    index(ledger, an_instance(1))
    assert not forget(ledger)
    with ledger.write() as c:
        assert studies.close(c, studies.open_studies(c)[0], now=NOW)
    assert forget(ledger)
    assert not forget(ledger)


def test_a_study_that_comes_again_after_its_files_were_deleted_begins_anew(ledger):
    a_closed_study(ledger, instances=3)
    forget(ledger)
    assert index(ledger, an_instance(1, at=after(200)), now=after(200)) == ["new"]
    with ledger.read() as c:
        (study,) = studies.open_studies(c)
        (row,) = census.studies(c, limit=9)
        assert len(studies.study_record(c, STUDY).series[0].instances) == 1
    assert (study.revision, study.instances, study.copies, study.first_arrival_at) == (2, 1, 1, after(200))
    assert (row["deleted_at"], row["size_bytes"]) == (None, 530_000)


def test_result_folders_of_living_claims_and_of_kept_studies_stay(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    job = claim_job(ledger)
    with ledger.read() as c:
        assert jobs.result_folders(c) == {f"{job.job_id}/{job.claim.token}"}
    complete_job(ledger, job)
    with ledger.read() as c:
        assert jobs.result_folders(c) == {f"{job.job_id}/{job.claim.token}"}
    delivery = claim_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
    assert forget(ledger)
    with ledger.read() as c:
        assert jobs.result_folders(c) == frozenset()
