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
