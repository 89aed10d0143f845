"""Deliveries over both databases: one association each, every verdict saved, fair between peers."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from dicomnode.domain.job import NewDelivery
from dicomnode.errors import ClaimLost
from dicomnode.ledger import census, deliveries, jobs, studies
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import (
    BACKOFF,
    NEVER_MIND,
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


def row(ledger: Ledger, delivery_id: int) -> dict:
    with ledger.read() as c:
        return next(one for one in census.deliveries(c, limit=99) if one["delivery_id"] == delivery_id)


def jobs_done(ledger: Ledger, *peers: tuple[str, ...], priority: int = 100) -> None:
    """Complete one job per argument, with a delivery to each of its peers."""
    a_closed_study(ledger)
    for n, to in enumerate(peers):
        a_job(ledger, snapshot=a_snapshot(route=f"r{n}"), priority=priority)
        complete_job(ledger, claim_job(ledger), first=10 * n + 1, peers=to)


def test_a_claimed_delivery_brings_its_items_in_order_with_their_alternatives(ledger):
    delivery = a_claimed_delivery(ledger)
    assert (delivery.peer, delivery.phase, delivery.study_uid) == ("pacs", "store", STUDY)
    assert delivery.transaction_uid is None
    assert delivery.created_at == NOW
    forms = [[one.kind for one in item.alternatives] for item in delivery.items]
    assert forms == [["SEG"], ["SR3D", "SR"]]
    assert [item.sent for item in delivery.items] == [None, None]


def test_nothing_is_claimed_for_peers_that_this_sender_does_not_serve(ledger):
    jobs_done(ledger, ("pacs",))
    with ledger.write() as c:
        assert deliveries.claim(c, now=NOW, lease_s=60, owner="s", peers=frozenset({"viewer"})) is None
        assert deliveries.claim(c, now=NOW, lease_s=60, owner="s", peers=frozenset()) is None


def test_peers_take_turns_whatever_their_backlog(ledger):
    jobs_done(ledger, ("busy",), ("busy",), ("busy",), ("quiet",), ("quiet",))
    served = [claim_delivery(ledger, now=after(n), peers=("busy", "quiet")).peer for n in range(5)]
    assert served == ["busy", "quiet", "busy", "quiet", "busy"]


def test_an_urgent_delivery_does_not_wait_for_its_peers_turn(ledger):
    jobs_done(ledger, ("busy",), ("quiet",))
    claim_delivery(ledger, peers=("busy", "quiet"))
    a_job(ledger, snapshot=a_snapshot(route="urgent"), priority=1)
    complete_job(ledger, claim_job(ledger), first=91, peers=("busy",))
    assert claim_delivery(ledger, now=after(1), peers=("busy", "quiet")).peer == "busy"


def test_each_verdict_is_saved_as_it_comes_and_a_later_attempt_sends_only_the_rest(ledger):
    delivery = a_claimed_delivery(ledger)
    seg = delivery.items[0]
    with ledger.write() as c:
        deliveries.mark_sent(c, delivery, seg.item_id, sop_instance_uid="2.25.1", status=0xB000, now=after(1))
        deliveries.retry(c, delivery, now=after(2), run_after=after(17), reason="PeerUnreachable: broke", spend=True)
    again = claim_delivery(ledger, now=after(17))
    assert [item.sent.sop_instance_uid if item.sent else None for item in again.items] == ["2.25.1", None]
    assert again.items[0].sent_at == after(1)
    assert again.claim.attempt == 2


def test_what_was_sent_is_in_the_timeline_with_its_status(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.read() as c:
        sent = [one["data"] for one in census.timeline(c, STUDY) if one["kind"] == "delivery_item_sent"]
    assert sent == [
        {"peer": "pacs", "sop_instance_uid": "2.25.1", "status": "0x0000"},
        {"peer": "pacs", "sop_instance_uid": "2.25.2", "status": "0x0000"}]


def test_a_delivery_is_completed_when_all_is_sent_and_not_before(ledger):
    delivery = a_claimed_delivery(ledger)
    with pytest.raises(ValueError, match=r"2 item\(s\) not sent"), ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=after(3))
    done = row(ledger, delivery.delivery_id)
    assert (done["state"], done["items"], done["sent"]) == ("completed", 2, 2)


def test_a_delivery_is_complete_without_what_the_peer_may_refuse(ledger):
    delivery = a_claimed_delivery(ledger)
    seg, report = delivery.items
    with ledger.write() as c:
        deliveries.mark_sent(c, delivery, seg.item_id, sop_instance_uid="2.25.1", status=0, now=NOW, instead="LABELMAP")
        deliveries.mark_not_taken(c, delivery, report.item_id, reason="no presentation context accepted", now=NOW)
        deliveries.complete(c, delivery, now=after(3))
    done = row(ledger, delivery.delivery_id)
    assert (done["state"], done["items"], done["sent"], done["not_taken"]) == ("completed", 2, 1, 1)
    with ledger.read() as c:
        story = {one["kind"]: one["text"] for one in census.story(c, STUDY)}
    assert "SR3D: no presentation context accepted" in story["not_taken"]
    assert "instead of LABELMAP" in story["delivery_item_sent"]
    with ledger.write() as c:
        deliveries.requeue(c, delivery.delivery_id, now=after(9))
    again = claim_delivery(ledger, now=after(9))
    assert [item.waits for item in again.items] == [True, True]


def test_what_a_result_refers_to_comes_back_with_it(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    job = claim_job(ledger)
    made = [a_result(1), replace(a_result(2, "SR", "volumes"), refers_to=("2.25.1",))]
    with ledger.write() as c:
        jobs.complete(c, job, results=made, now=NOW, data={},
                      deliveries=[NewDelivery(peer="pacs", items=[["2.25.1"], ["2.25.2"]])])
    assert [item.alternatives[0].refers_to for item in claim_delivery(ledger).items] == [(), ("2.25.1",)]


def test_one_object_sent_for_two_items_is_committed_for_both(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    job = claim_job(ledger)
    made = [a_result(1, "LABELMAP", "seg"), a_result(2, "SEG", "seg/1"), a_result(3, "SEG", "seg/2")]
    with ledger.write() as c:
        jobs.complete(c, job, results=made, now=NOW, data={}, deliveries=[
            NewDelivery(peer="pacs", items=[["2.25.1", "2.25.2"], ["2.25.1", "2.25.3"]])])
    delivery = claim_delivery(ledger)
    assert send_all(ledger, delivery) == ["2.25.1", "2.25.1"]
    with ledger.read() as c:
        assert [uid for _, uid in deliveries.sent_instances(c, delivery.delivery_id)] == ["2.25.1"]
    with ledger.write() as c:
        deliveries.await_commitment(c, delivery, transaction_uid="2.25.77", run_after=after(60), now=after(1))
        assert deliveries.prove(c, "2.25.77", {"2.25.1"}, {}, now=after(2)) is deliveries.Proof.PROVED
    assert row(ledger, delivery.delivery_id)["committed"] == 2


def test_an_object_that_is_no_alternative_of_the_item_is_not_marked(ledger):
    delivery = a_claimed_delivery(ledger)
    with pytest.raises(ValueError, match="no alternative of item"), ledger.write() as c:
        deliveries.mark_sent(c, delivery, delivery.items[0].item_id, sop_instance_uid="2.25.2", status=0, now=NOW)


def test_a_lost_claim_marks_nothing(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.cancel(c, delivery.delivery_id, now=NOW, reason="not wanted")
    with pytest.raises(ClaimLost):
        send_all(ledger, delivery)
    with pytest.raises(ClaimLost), ledger.write() as c:
        deliveries.renew(c, delivery.claim, now=NOW, lease_s=60)
    assert row(ledger, delivery.delivery_id)["sent"] == 0


def test_renewing_moves_the_lease(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        assert deliveries.renew(c, delivery.claim, now=after(20), lease_s=60).lease_until == after(80)
        assert deliveries.rescue(c, now=after(61), max_age=NEVER_MIND, backoff=BACKOFF) == ([], [])


def test_back_pressure_spends_neither_attempt_nor_age(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.retry(c, delivery, now=after(4), run_after=after(100), reason="PeerBusy: 0xA700", spend=False)
    again = claim_delivery(ledger, now=after(100))
    assert (again.claim.attempt, again.created_at) == (1, after(100))


def test_a_retry_that_spends_leaves_the_budgets_beginning_where_it_was(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.retry(c, delivery, now=after(4), run_after=after(100), reason="PeerUnreachable: x", spend=True)
    assert claim_delivery(ledger, now=after(100)).created_at == NOW


def test_a_graceful_stop_gives_the_attempt_back(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.release(c, delivery, now=after(1))
    found = row(ledger, delivery.delivery_id)
    assert (found["state"], found["attempt"], found["run_after"]) == ("scheduled", 0, after(1))


def test_a_delivery_whose_sender_died_is_rescued_while_it_is_young_then_buried(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        assert deliveries.rescue(c, now=after(61), max_age=NEVER_MIND, backoff=BACKOFF) == ([delivery.delivery_id], [])
    claim_delivery(ledger, now=after(100))
    with ledger.write() as c:
        late = deliveries.rescue(c, now=after(3601), max_age=timedelta(hours=1), backoff=BACKOFF)
    assert late == ([], [delivery.delivery_id])
    assert row(ledger, delivery.delivery_id)["state"] == "failed"


def test_a_requeued_delivery_begins_with_a_fresh_budget(ledger):
    delivery = a_claimed_delivery(ledger)
    with ledger.write() as c:
        deliveries.fail(c, delivery, now=after(1), reason="PeerRefused: 0x0122")
        assert deliveries.requeue(c, delivery.delivery_id, now=after(500)) == delivery.delivery_id
    again = claim_delivery(ledger, now=after(500))
    assert (again.created_at, again.claim.attempt) == (after(500), 1)


def test_requeue_failed_takes_only_what_it_was_asked_for(ledger):
    jobs_done(ledger, ("a",), ("b",), ("a",), ("b",))
    ids = []
    for n in range(4):
        delivery = claim_delivery(ledger, now=after(n), peers=("a", "b"))
        ids.append((delivery.peer, delivery.delivery_id))
        with ledger.write() as c:
            deliveries.fail(c, delivery, now=after(n), reason="PeerRefused: x")
    with ledger.write() as c:
        assert deliveries.requeue_failed(c, now=after(9), peer="a", since=after(1)) == [ids[2][1]]
        assert deliveries.requeue_failed(c, now=after(9), route="r0") == [ids[0][1]]
        assert deliveries.requeue_failed(c, now=after(9)) == sorted([ids[1][1], ids[3][1]])


def delivered(ledger: Ledger) -> deliveries.ClaimedDelivery:
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
    return delivery


def requeue(ledger: Ledger, delivery_id: int, *, now: datetime = NOW) -> None:
    with ledger.write() as c:
        deliveries.requeue(c, delivery_id, now=now)


def test_a_completed_delivery_is_not_canceled(ledger):
    delivery = delivered(ledger)
    with pytest.raises(ClaimLost, match="is completed"), ledger.write() as c:
        deliveries.cancel(c, delivery.delivery_id, now=NOW, reason="x")


def test_a_completed_delivery_that_is_requeued_sends_the_same_bytes_once_more(ledger):
    first = delivered(ledger)
    requeue(ledger, first.delivery_id, now=after(500))
    found = row(ledger, first.delivery_id)
    assert (found["state"], found["phase"], found["sent"], found["attempt"]) == ("scheduled", "store", 0, 0)
    again = claim_delivery(ledger, now=after(500))
    assert again.created_at == after(500)
    assert again.items == first.items
    assert send_all(ledger, again, now=after(501)) == ["2.25.1", "2.25.2"]
    with ledger.read() as c:
        told = [one["text"] for one in census.story(c, STUDY) if one["kind"] == "delivery_to_be_resent"]
    assert told == ["delivery 1 to pacs: everything to be sent once more, ordered by an operator"]


def test_an_answer_to_the_first_sending_proves_nothing_of_the_second(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.await_commitment(c, delivery, transaction_uid="2.25.7", now=after(1), run_after=after(300))
        deliveries.prove(c, "2.25.7", {"2.25.1", "2.25.2"}, {}, now=after(2))
    requeue(ledger, delivery.delivery_id, now=after(500))
    again = claim_delivery(ledger, now=after(500))
    send_all(ledger, again, now=after(501))
    with ledger.write() as c:
        assert deliveries.prove(c, "2.25.7", {"2.25.1", "2.25.2"}, {}, now=after(502)) is deliveries.Proof.PARTIAL
    found = row(ledger, delivery.delivery_id)
    assert (found["state"], found["committed"]) == ("in_progress", 0)


def test_a_delivery_that_waits_is_not_requeued(ledger):
    delivery = delivered(ledger)
    requeue(ledger, delivery.delivery_id)
    with pytest.raises(ClaimLost, match="delivery 1 is scheduled"):
        requeue(ledger, delivery.delivery_id)
    with pytest.raises(ClaimLost, match="delivery 404 is not in the ledger"):
        requeue(ledger, 404)


def test_results_that_newer_ones_replaced_are_not_sent_again(ledger):
    jobs_done(ledger, ("pacs", "viewer"))
    for peer in ("pacs", "viewer"):
        delivery = claim_delivery(ledger, peers=(peer,))
        with ledger.write() as c:
            deliveries.fail(c, delivery, now=NOW, reason="PeerRefused: x")
    newer = a_job(ledger, snapshot=a_snapshot(route="r0", uids=("1.2.3.1.2",)))
    with pytest.raises(ClaimLost, match=rf"delivery 1 of job 1 is out of date: job {newer} of the same study"):
        requeue(ledger, 1)
    with ledger.write() as c:
        assert deliveries.requeue_failed(c, now=NOW) == []


def test_results_that_retention_deleted_are_not_promised_again(ledger):
    delivery = delivered(ledger)
    with ledger.write() as c:
        (study,) = studies.finished_studies(c, before=after(1000))
        assert studies.forget_files(c, study, now=after(100), because="keep_days = 14")
    with pytest.raises(ClaimLost, match=r"lacks its files: retention deleted .* at 2026-11-22 12:01 UTC"):
        requeue(ledger, delivery.delivery_id)
