"""Over both databases: peers that refuse rejection notes are named, until they take one."""

from __future__ import annotations

from dicomnode.domain.job import NewDelivery
from dicomnode.domain.node import Peer
from dicomnode.ledger import deliveries, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.ledger.untold import untold
from dicomnode.run.untold import SHOWN_FOR, untold_peers
from tests.ledger_rows import DIGESTS, NOW, a_closed_study, a_job, a_result, a_snapshot, after, claim_delivery

PEERS = {"pacs": Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=104, rejection_notes=True)}


def a_note(ledger: Ledger, number: int) -> deliveries.ClaimedDelivery:
    """Return a delivery of a later analysis in a sender's hands: its segmentation, and the note on what was before."""
    a_job(ledger, snapshot=a_snapshot(uids=(f"1.2.3.1.{number}",)))
    with ledger.write() as c:
        job = jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=DIGESTS)
        made = [a_result(10 * number), a_result(10 * number + 1, "KOS", "rejection|pacs")]
        jobs.complete(c, job, now=NOW, data={}, results=made,
                      deliveries=[NewDelivery(peer="pacs", items=[[one.sop_instance_uid] for one in made])])
    return claim_delivery(ledger)


def send(ledger: Ledger, delivery: deliveries.ClaimedDelivery, *, note_taken: bool) -> None:
    result, note = delivery.items
    with ledger.write() as c:
        deliveries.mark_sent(c, delivery, result.item_id, status=0, now=NOW,
                             sop_instance_uid=result.alternatives[0].sop_instance_uid)
        if note_taken:
            deliveries.mark_sent(c, delivery, note.item_id, status=0, now=NOW,
                                 sop_instance_uid=note.alternatives[0].sop_instance_uid)
        else:
            deliveries.mark_not_taken(c, delivery, note.item_id, reason="0x0122", now=NOW)
        deliveries.complete(c, delivery, now=NOW)


def told(ledger: Ledger) -> dict[str, int]:
    with ledger.read() as c:
        return dict(untold(c, since=after(-1)))


def test_a_peer_that_refused_a_rejection_note_is_named_until_it_takes_a_later_one(ledger):
    a_closed_study(ledger)
    send(ledger, a_note(ledger, 1), note_taken=False)
    assert told(ledger) == {"pacs": 1}
    send(ledger, a_note(ledger, 2), note_taken=False)
    assert told(ledger) == {"pacs": 1}, "studies are counted, not notes"
    send(ledger, a_note(ledger, 3), note_taken=True)
    assert told(ledger) == {}


def test_the_advice_says_what_to_do_and_ends_by_itself_or_by_the_configuration(ledger):
    a_closed_study(ledger)
    send(ledger, a_note(ledger, 1), note_taken=False)
    with ledger.read() as c:
        (problem,) = untold_peers(c, PEERS, NOW)
        assert "pacs takes no rejection notes: of 1 study it keeps superseded results as valid; have" in problem.text
        assert list(untold_peers(c, PEERS, NOW + 2 * SHOWN_FOR)) == []
        assert list(untold_peers(c, {"pacs": Peer(name="pacs", ae_title="PACS")}, NOW)) == []


def test_another_refused_object_is_no_refused_note(ledger):
    a_closed_study(ledger)
    delivery = a_note(ledger, 1)
    with ledger.write() as c:
        deliveries.mark_not_taken(c, delivery, delivery.items[0].item_id, reason="0x0122", now=NOW)
    assert told(ledger) == {}
