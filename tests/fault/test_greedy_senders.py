"""Senders that take all and give nothing: who else calls is served all the while."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from struct import pack
from types import MappingProxyType

import numpy as np
from pydicom import Dataset

from dicomnode.domain.node import Peer
from tests.builders import ct_series
from tests.live import until
from tests.receiving import Receiver, receiver
from tests.upper_layer import (
    COMMAND,
    CT,
    EXPLICIT,
    LAST,
    ScriptedPeer,
    associate_rq,
    data_set,
    pdu,
    pdv,
    store_command,
)

GREEDY, OTHER = "127.0.0.2", "127.0.0.3"
PEERS: Mapping[str, Peer] = MappingProxyType({
    "greedy": Peer(name="greedy", ae_title="GREEDY", addresses=(GREEDY,)),
    "other": Peer(name="other", ae_title="OTHER", addresses=(OTHER,)),
})
PATIENCE_S = 60
ACCEPTED, REJECTED, ABORTED = b"\x02", b"\x03", b"\x07"
LOCAL_LIMIT = (2, 3, 2)


@contextmanager
def calling(node: Receiver, address: str) -> Iterator[ScriptedPeer]:
    with socket.create_connection(("127.0.0.1", node.port), PATIENCE_S, source_address=(address, 0)) as connection:
        peer = ScriptedPeer(connection)
        connection.settimeout(PATIENCE_S)
        yield peer


def an_image(number: int = 0) -> Dataset:
    return ct_series(np.zeros((number + 1, 16, 16), np.int16), seed=f"greedy{number}")[number]


def others_are_served(node: Receiver) -> None:
    with calling(node, OTHER) as other:
        assert other.associate((CT, EXPLICIT), calling="OTHER")[:1] == ACCEPTED
        assert other.store(an_image()).Status == 0x0000


@contextmanager
def dripping(peers: list[ScriptedPeer], what: bytes) -> Iterator[None]:
    """Say one byte every fifth of a second on each connection, until the block ends or the node hangs up."""
    over = threading.Event()

    def drip() -> None:
        for byte in what:
            for peer in peers:
                with suppress(OSError):
                    peer.say(bytes([byte]))
            if over.wait(0.2):
                return

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(PATIENCE_S)


def test_many_that_say_one_byte_at_a_time_before_the_association_keep_out_nobody(tmp_path):
    request = associate_rq([(CT, EXPLICIT)], calling="GREEDY")
    with receiver(tmp_path, peers=PEERS, max_associations=4) as node, ExitStack() as stack:
        slow = [stack.enter_context(calling(node, GREEDY)) for _ in range(100)]
        with dripping(slow, request):
            for _ in range(3):
                others_are_served(node)


def test_a_message_of_one_byte_at_a_time_is_aborted_and_others_store_meanwhile(tmp_path):
    image = an_image()
    with receiver(tmp_path, peers=PEERS, max_associations=2, max_associations_per_peer=2, idle_timeout_s=4.0) as node, \
            ExitStack() as stack:
        slow = [stack.enter_context(calling(node, GREEDY)) for _ in range(2)]
        assert [peer.associate((CT, EXPLICIT), calling="GREEDY")[:1] for peer in slow] == [ACCEPTED] * 2
        for peer in slow:
            peer.say(pdu(pdv(store_command(image), COMMAND | LAST)), pack(">BxI", 4, len(data_set(image)) + 6))
        with dripping(slow, pdv(data_set(image), LAST)):
            others_are_served(node)
            assert [peer.hear()[:1] for peer in slow] == [ABORTED] * 2
    (only,) = node.spool.arrivals()
    assert only.path.stat().st_size > 512
    assert list(node.spool.root.rglob("*.part")) == []


def test_a_flood_of_one_peer_gets_its_places_and_no_more_and_others_are_served(tmp_path):
    with receiver(tmp_path, peers=PEERS, max_associations=8, max_associations_per_peer=3) as node, ExitStack() as stack:
        heard = []
        for number in range(200):
            peer = stack.enter_context(calling(node, GREEDY))
            heard.append(peer.say(associate_rq([(CT, EXPLICIT)], calling="GREEDY")).hear())
            if number % 50 == 25:
                others_are_served(node)
        others_are_served(node)
    assert sum(answer[:1] == ACCEPTED for answer in heard) == 3
    refused = [tuple(answer[7:10]) for answer in heard if answer[:1] == REJECTED]
    assert set(refused) == {LOCAL_LIMIT}
    assert len(node.refused) == 197
    assert {told["reason"] for told in node.refused} == {
        "max_associations_per_peer = 3 associations of peer greedy are open"}


def test_each_known_peer_gets_one_association_however_full_the_node_is(tmp_path):
    with receiver(tmp_path, peers=PEERS, max_associations=2, max_associations_per_peer=5) as node, ExitStack() as stack:
        full = [stack.enter_context(calling(node, GREEDY)) for _ in range(5)]
        answers = [peer.associate((CT, EXPLICIT), calling="GREEDY") for peer in full]
        assert [answer[:1] for answer in answers] == [ACCEPTED] * 3 + [REJECTED] * 2
        assert tuple(answers[-1][7:10]) == LOCAL_LIMIT
        others_are_served(node)


def test_unknown_titles_of_one_address_share_its_places(tmp_path):
    with receiver(tmp_path, peers=PEERS, unknown_peers="accept", max_associations_per_peer=2) as node, \
            ExitStack() as stack:
        strangers = [stack.enter_context(calling(node, GREEDY)) for _ in range(4)]
        answers = [peer.associate((CT, EXPLICIT), calling=f"TITLE{number}") for number, peer in enumerate(strangers)]
        assert [answer[:1] for answer in answers] == [ACCEPTED] * 2 + [REJECTED] * 2
        others_are_served(node)


def test_a_peer_s_own_limit_goes_before_the_common_one(tmp_path):
    peers = {"greedy": Peer(name="greedy", ae_title="GREEDY", max_associations=1), "other": PEERS["other"]}
    with receiver(tmp_path, peers=peers) as node, calling(node, GREEDY) as one, calling(node, GREEDY) as two:
        assert one.associate((CT, EXPLICIT), calling="GREEDY")[:1] == ACCEPTED
        assert tuple(two.associate((CT, EXPLICIT), calling="GREEDY")[7:10]) == LOCAL_LIMIT
        until(lambda: node.refused, "the watch is told", 30)
        assert node.refused[0]["reason"] == "[peers.greedy] max_associations = 1 associations of peer greedy are open"


def test_after_its_objects_an_association_gets_0xa700_and_a_new_one_goes_on(tmp_path):
    with receiver(tmp_path, peers=PEERS, max_objects_per_association=2) as node:
        images = [an_image(number) for number in range(3)]
        with calling(node, OTHER) as other:
            other.associate((CT, EXPLICIT), calling="OTHER")
            assert [other.store(image).Status for image in images] == [0x0000, 0x0000, 0xA700]
        with calling(node, OTHER) as other:
            other.associate((CT, EXPLICIT), calling="OTHER")
            assert other.store(images[2]).Status == 0x0000
        assert len(list(node.spool.arrivals())) == 3


def test_what_a_peer_may_not_send_is_not_accepted_and_everything_else_of_it_is(tmp_path):
    peers = {"mr": Peer(name="mr", ae_title="MR", sends=("1.2.840.10008.5.1.4.1.1.4",)), "other": PEERS["other"]}
    with receiver(tmp_path, peers=peers) as node:
        with calling(node, GREEDY) as scanner:
            answer = scanner.associate((CT, EXPLICIT), ("1.2.840.10008.5.1.4.1.1.4", EXPLICIT),
                                       ("1.2.840.10008.1.1", EXPLICIT), calling="MR")
            assert _results(answer) == {1: 3, 3: 0, 5: 0}
        others_are_served(node)


def _results(answer: bytes) -> dict[int, int]:
    """Context id → result of an A-ASSOCIATE-AC (PS3.8 Table 9-18)."""
    found, place = {}, 74
    while place < len(answer):
        kind, size = answer[place], int.from_bytes(answer[place + 2:place + 4], "big")
        if kind == 0x21:
            found[answer[place + 4]] = answer[place + 6]
        place += 4 + size
    return found


def test_the_answers_to_a_peer_wait_for_its_turn_and_those_to_others_do_not(tmp_path):
    peers = {"greedy": Peer(name="greedy", ae_title="GREEDY", max_objects_per_s=20), "other": PEERS["other"]}
    asked: list[tuple[str, float]] = []

    def take_turn(name: str, per_s: float) -> float:
        asked.append((name, per_s))
        return 0.25

    with receiver(tmp_path, peers=peers) as node, calling(node, GREEDY) as sender:
        node.spool.take_turn = take_turn
        sender.associate((CT, EXPLICIT), calling="GREEDY")
        began_s = time.monotonic()
        assert [sender.store(an_image(number)).Status for number in range(2)] == [0x0000] * 2
        assert time.monotonic() - began_s >= 0.5
        others_are_served(node)
    assert asked == [("peer greedy", 20)] * 2
