"""Storage commitment over both databases: proved, disproved, late, repeated, unknown (PS3.4 Annex J)."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from dicomnode.errors import ClaimLost
from dicomnode.ledger import census, deliveries
from dicomnode.ledger.deliveries import Proof
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import NOW, STUDY, a_claimed_delivery, after, claim_delivery, send_all

ASKED = "2.25.7001"
ASKED_AGAIN = "2.25.7002"


def waiting(ledger: Ledger, transaction_uid: str = ASKED) -> deliveries.ClaimedDelivery:
    """A delivery that was sent, and whose peer was asked to commit."""
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    ask(ledger, delivery, transaction_uid)
    return delivery


def ask(ledger: Ledger, delivery: deliveries.ClaimedDelivery, transaction_uid: str) -> None:
    with ledger.write() as c:
        deliveries.await_commitment(c, delivery, transaction_uid=transaction_uid, now=after(1), run_after=after(300))


def prove(ledger: Ledger, committed: set[str], failed: dict[str, int] | None = None, *, uid: str = ASKED) -> Proof:
    with ledger.write() as c:
        return deliveries.prove(c, uid, committed, failed or {}, now=after(10))


def row(ledger: Ledger) -> dict:
    with ledger.read() as c:
        return census.deliveries(c, limit=1)[0]


def test_waiting_for_the_proof_spends_no_attempt(ledger):
    waiting(ledger)
    found = row(ledger)
    assert (found["state"], found["phase"], found["attempt"]) == ("scheduled", "commit", 0)
    assert found["run_after"] == after(300)


def test_what_was_not_sent_cannot_be_asked_for(ledger):
    delivery = a_claimed_delivery(ledger)
    with pytest.raises(ValueError, match="not sent"):
        ask(ledger, delivery, ASKED)


def test_a_proof_of_everything_completes_the_delivery(ledger):
    waiting(ledger)
    assert prove(ledger, {"2.25.1", "2.25.2"}) is Proof.PROVED
    found = row(ledger)
    assert (found["state"], found["committed"]) == ("completed", 2)


def test_a_repeated_proof_changes_nothing(ledger):
    waiting(ledger)
    for _ in range(2):
        assert prove(ledger, {"2.25.1", "2.25.2"}) is Proof.PROVED
    with ledger.read() as c:
        assert [one["kind"] for one in census.timeline(c, STUDY)].count("delivery_proved") == 1


def test_what_the_peer_lost_is_sent_again_and_nothing_else(ledger):
    waiting(ledger)
    assert prove(ledger, {"2.25.1"}, {"2.25.2": 0x0110}) is Proof.DISPROVED
    again = claim_delivery(ledger, now=after(10))
    assert again.phase == "store"
    assert [item.sent is None for item in again.items] == [False, True]
    assert send_all(ledger, again) == ["2.25.2"]
    with ledger.read() as c:
        assert [uid for _, uid in deliveries.sent_instances(c, again.delivery_id)] == ["2.25.2"]


def test_a_partial_proof_is_kept_and_the_rest_is_asked_for_later(ledger):
    waiting(ledger)
    assert prove(ledger, {"2.25.1"}) is Proof.PARTIAL
    assert (row(ledger)["state"], row(ledger)["committed"]) == ("scheduled", 1)
    assert prove(ledger, {"2.25.2"}) is Proof.PROVED


def test_a_peer_that_does_not_answer_is_asked_again(ledger):
    waiting(ledger)
    again = claim_delivery(ledger, now=after(300))
    assert (again.phase, again.transaction_uid) == ("commit", ASKED)


def test_a_proof_that_arrives_while_it_is_asked_again_takes_the_claim_away(ledger):
    waiting(ledger)
    again = claim_delivery(ledger, now=after(300))
    assert prove(ledger, {"2.25.1", "2.25.2"}) is Proof.PROVED
    with pytest.raises(ClaimLost):
        ask(ledger, again, ASKED_AGAIN)


def test_a_late_proof_of_an_earlier_question_counts_a_late_refusal_does_not(ledger):
    waiting(ledger)
    ask(ledger, claim_delivery(ledger, now=after(300)), ASKED_AGAIN)
    assert prove(ledger, set(), {"2.25.1": 0x0110, "2.25.2": 0x0110}, uid=ASKED) is Proof.PARTIAL
    assert row(ledger)["sent"] == 2
    assert prove(ledger, {"2.25.1", "2.25.2"}, uid=ASKED) is Proof.PROVED


def test_an_answer_that_nobody_asked_for_is_an_event_and_nothing_more(ledger):
    waiting(ledger)
    assert prove(ledger, {"2.25.1"}, uid="2.25.404") is Proof.UNKNOWN
    assert row(ledger)["committed"] == 0


def test_a_proof_for_a_canceled_delivery_is_kept_and_does_not_revive_it(ledger):
    delivery = waiting(ledger)
    with ledger.write() as c:
        deliveries.cancel(c, delivery.delivery_id, now=after(2), reason="not wanted")
    prove(ledger, {"2.25.1", "2.25.2"})
    assert (row(ledger)["state"], row(ledger)["committed"]) == ("canceled", 2)


def refuse_all(ledger: Ledger, *, uid: str, now: datetime, max_age: timedelta | None = None) -> Proof:
    failed = {"2.25.1": 0x0110, "2.25.2": 0x0213}
    with ledger.write() as c:
        return deliveries.prove(c, uid, set(), failed, now=now, run_after=now + timedelta(minutes=5), max_age=max_age)


def refused_until_it_ends(ledger: Ledger, max_age: timedelta) -> tuple[int, list[float]]:
    """Let the peer refuse every sending; return how many there were, and the minutes between them."""
    delivery, now, waits = a_claimed_delivery(ledger), NOW, []
    for n in range(1000):
        send_all(ledger, delivery, now=now)
        with ledger.write() as c:
            deliveries.await_commitment(c, delivery, transaction_uid=f"2.25.{n + 8000}", now=now, run_after=now)
        if refuse_all(ledger, uid=f"2.25.{n + 8000}", now=now, max_age=max_age) is Proof.REJECTED:
            return n + 1, waits
        due = row(ledger)["run_after"]
        waits.append((due - now).total_seconds() / 60)
        now, delivery = due, claim_delivery(ledger, now=due)
    pytest.fail("a thousand sendings, and no end")


def test_a_peer_that_never_commits_is_sent_to_ever_more_rarely_and_in_the_end_no_more(ledger):
    sendings, waits = refused_until_it_ends(ledger, timedelta(hours=72))
    assert 12 <= sendings <= 25
    assert [4 <= waits[0] <= 6, 8 <= waits[1] <= 12, 16 <= waits[2] <= 24] == [True] * 3
    assert max(waits) <= 1.2 * 6 * 60
    found = row(ledger)
    assert (found["state"], found["phase"], found["sent"]) == ("failed", "store", 0)


def test_a_delivery_that_failed_for_want_of_commitment_says_the_peers_reasons(ledger):
    refused_until_it_ends(ledger, timedelta(hours=1))
    reason = row(ledger)["reason"]
    assert reason.startswith("PeerRefused: 2 object(s) sent and not committed")
    assert "0x0110 processing failure (1 of them), 0x0213 resource limitation (1 of them)" in reason
    with ledger.read() as c:
        assert census.story(c, STUDY)[-1]["text"] == f"delivery 1 to pacs: {reason}"
        assert census.timeline(c, STUDY)[-1]["kind"] == "delivery_rejected"


def test_a_delivery_that_failed_for_want_of_commitment_is_sent_again_when_requeued(ledger):
    refused_until_it_ends(ledger, timedelta(hours=1))
    later = after(1_000_000)
    with ledger.write() as c:
        deliveries.requeue(c, 1, now=later)
    again = claim_delivery(ledger, now=later)
    assert (again.created_at, again.claim.attempt) == (later, 1)
    assert send_all(ledger, again, now=later) == ["2.25.1", "2.25.2"]


def test_a_refusal_spends_one_attempt_whether_the_delivery_waits_or_is_asked_about_again(ledger):
    waiting(ledger)
    assert refuse_all(ledger, uid=ASKED, now=after(10)) is Proof.DISPROVED
    assert row(ledger)["attempt"] == 1
    again = claim_delivery(ledger, now=after(600))
    send_all(ledger, again, now=after(600))
    with ledger.write() as c:
        deliveries.await_commitment(c, again, transaction_uid=ASKED_AGAIN, now=after(601), run_after=after(700))
    claim_delivery(ledger, now=after(700))
    assert refuse_all(ledger, uid=ASKED_AGAIN, now=after(701)) is Proof.DISPROVED
    assert row(ledger)["attempt"] == 2


def test_a_repeated_answer_says_nothing_of_what_was_sent_since(ledger):
    waiting(ledger)
    assert prove(ledger, {"2.25.1"}, {"2.25.2": 0x0110}) is Proof.DISPROVED
    again = claim_delivery(ledger, now=after(10))
    send_all(ledger, again, now=after(11))
    assert prove(ledger, {"2.25.1"}, {"2.25.2": 0x0110}) is Proof.PARTIAL
    assert (row(ledger)["state"], row(ledger)["sent"]) == ("in_progress", 2)
