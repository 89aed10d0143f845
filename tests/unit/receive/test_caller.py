from __future__ import annotations

import pytest

from dicomnode.domain.node import Peer
from dicomnode.receive.caller import Caller, peers_called, why_not
from dicomnode.receive.over import ProtocolError
from dicomnode.receive.progress import SLOWEST_BYTES_PER_S, Progress
from dicomnode.tls import Identity

CERTIFICATE = Identity(frozenset({"ct1.hospital"}), "ab" * 32)
PLAIN, TLS = Caller("10.1.0.5"), Caller("10.1.0.5", CERTIFICATE)


def peer(name: str = "ct", **changes: object) -> Peer:
    return Peer(name=name, ae_title="SCANNER", **changes)


@pytest.mark.parametrize(("changes", "caller", "reason"), [
    ({}, PLAIN, ""),
    ({}, TLS, ""),
    ({"addresses": ("10.1.0.0/16",)}, PLAIN, ""),
    ({"addresses": ("10.2.0.0/16",)}, TLS, "calls from 10.1.0.5, which [peers.ct] addresses does not hold"),
    ({"tls_only": True}, TLS, ""),
    ({"tls_only": True}, PLAIN, "calls over plain TCP, which [peers.ct] tls_only forbids"),
    ({"tls_names": ("ct1.hospital",)}, TLS, ""),
    ({"tls_names": ("x", "sha256:" + "AB" * 32)}, TLS, ""),
    ({"tls_names": ("ct1.hospital",)}, PLAIN, "calls over plain TCP, which [peers.ct] tls_names forbids"),
    ({"tls_names": ("ct2.hospital",)}, TLS,
     f"shows the certificate of ct1.hospital (sha256:{'ab' * 32}), which carries none of [peers.ct] tls_names"),
])
def test_a_caller_is_the_peer_or_there_is_a_sentence_why_not(changes: dict, caller: Caller, reason: str):
    assert why_not(peer(**changes), caller) == reason


def test_of_peers_with_one_title_the_most_closely_described_comes_first():
    peers = {one.name: one for one in (
        peer("any"), peer("east", addresses=("10.1.0.0/16",)), peer("guarded", tls_names=("ct1.hospital",)),
        Peer(name="else", ae_title="ELSE"))}
    assert [one.name for one in peers_called("SCANNER", peers)] == ["guarded", "east", "any"]
    assert [one.name for one in peers_called("SCANNER", peers) if not why_not(one, Caller("10.9.0.1"))] == ["any"]


def test_a_message_that_comes_on_fast_enough_may_take_for_ever():
    progress = Progress(window_s=10)
    for _ in range(1000):
        progress.took(SLOWEST_BYTES_PER_S, 0.9)


def test_a_message_that_crawls_is_over_after_the_window():
    progress = Progress(window_s=10)
    for _ in range(9):
        progress.took(1, 1.0)
    with pytest.raises(ProtocolError, match="too slow: 10 bytes of a message in 10 s"):
        progress.took(1, 1.0)


def test_a_new_message_has_a_window_of_its_own():
    progress = Progress(window_s=10)
    for _ in range(20):
        progress.took(1, 6.0)
        progress.begin()


def test_time_that_the_node_spends_itself_is_not_the_sender_s():
    progress = Progress(window_s=10)
    for _ in range(10_000):
        progress.took(1, 0.0)
