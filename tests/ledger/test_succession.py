"""Late images over both databases: what is unsent is canceled, what was sent is named."""

from __future__ import annotations

import pytest

from dicomnode.domain.job import NewDelivery
from dicomnode.errors import ClaimLost
from dicomnode.ledger import census, deliveries, jobs
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
    claim_delivery,
    claim_job,
    complete_job,
    send_all,
)

SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.11"


def supersede(ledger: Ledger, *, route: str = "chest", by: int | None = None) -> tuple[str, ...]:
    with ledger.write() as c:
        return jobs.supersede(c, study_uid=STUDY, route=route, now=after(9), by=by)


def states(ledger: Ledger) -> tuple[list[str], list[str]]:
    with ledger.read() as c:
        return ([row["state"] for row in census.jobs(c, limit=9)][::-1],
                [row["state"] for row in census.deliveries(c, limit=9)][::-1])


def test_a_waiting_and_a_running_predecessor_are_canceled(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    running = claim_job(ledger)
    a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    assert supersede(ledger) == ()
    assert states(ledger)[0] == ["canceled", "canceled"]
    with pytest.raises(ClaimLost):
        complete_job(ledger, running)


def test_other_routes_and_the_successor_itself_are_spared(ledger):
    a_closed_study(ledger)
    a_job(ledger, snapshot=a_snapshot(route="brain"))
    a_job(ledger)
    successor = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    supersede(ledger, by=successor)
    assert states(ledger)[0] == ["scheduled", "canceled", "scheduled"]


def test_an_unsent_delivery_is_canceled_and_nothing_is_named(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    complete_job(ledger, claim_job(ledger))
    assert supersede(ledger) == ()
    assert states(ledger) == (["completed"], ["canceled"])


def test_a_sent_report_is_named_in_the_form_that_was_sent(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.mark_sent(c, delivery, delivery.items[0].item_id, sop_instance_uid="2.25.1", status=0, now=NOW)
        deliveries.mark_sent(c, delivery, delivery.items[1].item_id, sop_instance_uid="2.25.3", status=0, now=NOW)
        deliveries.complete(c, delivery, now=NOW)
    assert supersede(ledger) == (f"{SR_CLASS}:2.25.3",)
    assert states(ledger) == (["completed"], ["completed"])


def test_a_delivery_under_way_is_canceled_and_its_report_counts_as_sent(ledger):
    delivery = a_claimed_delivery(ledger)
    assert supersede(ledger) == (f"{SR_CLASS}:2.25.2",)
    with pytest.raises(ClaimLost):
        send_all(ledger, delivery)
    assert states(ledger)[1] == ["canceled"]


def test_a_delivery_that_waits_for_its_proof_goes_on_waiting(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.await_commitment(c, delivery, transaction_uid="2.25.7", run_after=after(300), now=NOW)
    assert supersede(ledger) == (f"{SR_CLASS}:2.25.2",)
    assert states(ledger)[1] == ["scheduled"]


def test_where_no_report_was_sent_one_object_that_was_says_that_there_are_predecessors(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.mark_sent(c, delivery, delivery.items[0].item_id, sop_instance_uid="2.25.1", status=0, now=NOW)
        deliveries.retry(c, delivery, now=NOW, run_after=after(60), reason="busy", spend=False)
    assert supersede(ledger) == ("2.25.1",)


def left_at(ledger: Ledger, before: int, peer: str = "pacs") -> list[str]:
    with ledger.read() as c:
        found = jobs.left_at(c, study_uid=STUDY, route="chest", before=before, peer=peer)
    return [one.sop_instance_uid for one in found]


def deliver_all(ledger: Ledger, *, peers: tuple[str, ...] = ("pacs",)) -> None:
    delivery = claim_delivery(ledger, peers=peers)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)


def test_a_peer_is_left_with_exactly_what_it_was_sent_in_the_forms_that_were_sent(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.mark_sent(c, delivery, delivery.items[1].item_id, sop_instance_uid="2.25.3", status=0, now=NOW)
    supersede(ledger)
    successor = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    assert left_at(ledger, successor) == ["2.25.3"]
    assert left_at(ledger, successor, peer="viewer") == []


def test_what_a_peer_took_while_its_delivery_was_canceled_is_left_at_it_too(ledger):
    delivery = a_claimed_delivery(ledger)
    supersede(ledger)
    successor = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    with pytest.raises(ClaimLost):
        send_all(ledger, delivery)
    assert left_at(ledger, successor) == []
    with ledger.write() as c:
        deliveries.mark_sent_after_all(
            c, delivery, delivery.items[0].item_id, sop_instance_uid="2.25.1", status=0, now=NOW)
    assert left_at(ledger, successor) == ["2.25.1"]


def test_a_rejection_note_that_was_sent_covers_what_came_before_its_job_and_one_that_was_not_covers_nothing(ledger):
    a_closed_study(ledger)
    first = a_job(ledger)
    complete_job(ledger, claim_job(ledger))
    deliver_all(ledger)
    second = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    assert left_at(ledger, second) == ["2.25.1", "2.25.2"]
    with ledger.write() as c:
        jobs.complete(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=NOW, data={},
                      results=[a_result(10), a_result(11, "KOS", "rejection|pacs")],
                      deliveries=[NewDelivery(peer="pacs", items=[["2.25.10"], ["2.25.11"]])])
    third = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.3",)))
    assert left_at(ledger, third) == ["2.25.1", "2.25.2"]
    deliver_all(ledger)
    assert left_at(ledger, third) == ["2.25.10"]
    assert first < second < third


def test_what_is_being_sent_once_more_is_left_at_the_peer_all_the_while(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    complete_job(ledger, claim_job(ledger))
    deliver_all(ledger)
    with ledger.write() as c:
        deliveries.requeue(c, 1, now=NOW)
    assert [item.waits for item in claim_delivery(ledger).items] == [True, True]
    assert supersede(ledger) == (f"{SR_CLASS}:2.25.2",)
    successor = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    assert left_at(ledger, successor) == ["2.25.1", "2.25.2"]


def test_a_peer_that_took_another_form_when_it_was_sent_once_more_is_left_with_both(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
        deliveries.requeue(c, delivery.delivery_id, now=NOW)
    again = claim_delivery(ledger)
    segmentation, report = again.items
    for item, uid in ((segmentation, "2.25.1"), (report, "2.25.3")):
        with ledger.write() as c:
            deliveries.mark_sent(c, again, item.item_id, sop_instance_uid=uid, status=0, now=NOW, instead="x")
    with ledger.write() as c:
        deliveries.complete(c, again, now=NOW)
    successor = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    assert left_at(ledger, successor) == ["2.25.1", "2.25.2", "2.25.3"]
    assert [one.partition(":")[2] for one in supersede(ledger, by=successor)] == ["2.25.2", "2.25.3"]


def test_a_report_sent_to_two_peers_is_named_once(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    complete_job(ledger, claim_job(ledger), peers=("pacs", "viewer"))
    for _ in range(2):
        delivery = claim_delivery(ledger, peers=("pacs", "viewer"))
        send_all(ledger, delivery)
        with ledger.write() as c:
            deliveries.complete(c, delivery, now=NOW)
    assert supersede(ledger) == (f"{SR_CLASS}:2.25.2",)


def test_a_sent_notice_is_named_by_the_success_that_follows(ledger):
    a_closed_study(ledger)
    a_job(ledger, kind="notice", snapshot=a_snapshot(models=(), reason="MissingSlices", text="gap"))
    with ledger.write() as c:
        job = jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS)
        jobs.complete(c, job, results=[a_result(50, "TEXT", "notice")], now=NOW, data={},
                      deliveries=[NewDelivery(peer="pacs", items=[["2.25.50"]])])
    delivery = claim_delivery(ledger)
    send_all(ledger, delivery)
    assert supersede(ledger) == (f"{SR_CLASS}:2.25.50",)


def requeue(ledger: Ledger, job_id: int) -> None:
    with ledger.write() as c:
        jobs.requeue(c, job_id, now=after(10))


def test_a_job_that_a_newer_one_superseded_is_not_brought_back_over_it(ledger):
    a_closed_study(ledger)
    old = a_job(ledger)
    supersede(ledger)
    newer = a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    with pytest.raises(ClaimLost, match=f"job {old} is out of date: job {newer} of the same study and route took its"):
        requeue(ledger, old)
    assert states(ledger)[0] == ["canceled", "scheduled"]


def test_of_all_that_failed_only_the_newest_of_a_route_and_study_is_requeued(ledger):
    a_closed_study(ledger)
    for uid in ("1.2.3.1.1", "1.2.3.1.2"):
        a_job(ledger, snapshot=a_snapshot(uids=(uid,)))
        with ledger.write() as c:
            jobs.fail(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=NOW, reason="x")
    with ledger.write() as c:
        assert jobs.requeue_failed(c, now=after(10)) == [2]


def test_a_job_that_a_notice_superseded_is_not_requeued_and_one_whose_failure_it_reports_is(ledger):
    a_closed_study(ledger)
    old = a_job(ledger)
    supersede(ledger)
    failed = a_job(ledger, snapshot=a_snapshot(route="brain"))
    with ledger.write() as c:
        jobs.fail(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS), now=NOW, reason="ModelFailed: x")
    for route in ("chest", "brain"):
        a_job(ledger, kind="notice", snapshot=a_snapshot(route=route, models=(), reason="MissingSlices", text="gap"))
    with pytest.raises(ClaimLost, match="out of date"):
        requeue(ledger, old)
    requeue(ledger, failed)
    assert states(ledger)[0] == ["canceled", "scheduled", "scheduled", "scheduled"]


def test_the_next_revision_is_one_that_no_job_of_the_route_and_study_has(ledger):
    a_closed_study(ledger)
    a_closed_study(ledger, study="1.2.4")
    with ledger.read() as c:
        assert jobs.next_revision(c, STUDY, "chest") == 0
    made = ((0, "chest", STUDY), (3, "chest", STUDY), (7, "brain", STUDY), (9, "chest", "1.2.4"))
    for revision, route, study in made:
        a_job(ledger, revision=revision, snapshot=a_snapshot(route=route), study=study)
    with ledger.read() as c:
        assert jobs.next_revision(c, STUDY, "chest") == 4
