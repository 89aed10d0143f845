from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from struct import pack

import pytest

from dicomnode.receive.over import Overdue, PeerGone, ProtocolError, Released, Stopping
from dicomnode.receive.wire import ARTIM_S, BUFFER_BYTES, COMMAND, LAST, MOST_ASSOCIATE_BYTES, Wire

RELEASE_RQ = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00\x00\x00"


def pdv(data: bytes, control: int, context_id: int = 1) -> bytes:
    return pack(">IBB", len(data) + 2, context_id, control) + data


def pdu(*pdvs: bytes) -> bytes:
    body = b"".join(pdvs)
    return pack(">BxI", 4, len(body)) + body


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connected TCP pair: the peer's end and ours."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as peer:
        peer.connect(listener.getsockname())
        ours, _ = listener.accept()
        with ours:
            yield peer, ours


def wire_over(ours: socket.socket, *, max_pdu_bytes: int = 131072, silence_s: float = 30.0,
              stop: threading.Event | None = None) -> Wire:
    return Wire(ours, max_pdu_bytes=max_pdu_bytes, silence_s=silence_s, stop=stop or threading.Event())


def message_from(wire: Wire) -> tuple[int, int, bytes]:
    """Context id, last control header and all bytes up to the LAST bit."""
    pieces = []
    while True:
        context_id, control, piece = wire.next_fragment()
        pieces.append(bytes(piece))
        if control & LAST:
            return context_id, control, b"".join(pieces)


@pytest.mark.parametrize("step", [1, 5, 6, 7, 12, 13, 100])
def test_fragments_are_the_same_however_tcp_cuts_them(sockets, step: int):
    peer, ours = sockets
    wire = wire_over(ours)
    stream = pdu(pdv(b"command", COMMAND | LAST)) + pdu(pdv(b"da", 0)) + pdu(pdv(b"ta", LAST)) + RELEASE_RQ

    def send() -> None:
        for start in range(0, len(stream), step):
            peer.sendall(stream[start:start + step])

    sender = threading.Thread(target=send)
    sender.start()
    assert message_from(wire) == (1, COMMAND | LAST, b"command")
    assert message_from(wire) == (1, LAST, b"data")
    with pytest.raises(Released):
        wire.next_fragment()
    sender.join()


def test_several_pdvs_command_and_data_together_fit_one_pdu(sockets):
    peer, ours = sockets
    wire = wire_over(ours)
    peer.sendall(pdu(pdv(b"com", COMMAND), pdv(b"mand", COMMAND | LAST), pdv(b"da", 0), pdv(b"", 0), pdv(b"ta", LAST)))
    assert message_from(wire) == (1, COMMAND | LAST, b"command")
    assert message_from(wire) == (1, LAST, b"data")


def test_an_empty_last_fragment_ends_the_message(sockets):
    peer, ours = sockets
    wire = wire_over(ours)
    peer.sendall(pdu(pdv(b"data", 0)) + pdu(pdv(b"", LAST)))
    assert message_from(wire) == (1, LAST, b"data")


def test_a_pdv_larger_than_the_buffer_comes_in_pieces_and_only_the_last_is_last(sockets):
    peer, ours = sockets
    wire = wire_over(ours, max_pdu_bytes=0)
    data = bytes(range(256)) * (BUFFER_BYTES // 256 * 3)
    sender = threading.Thread(target=peer.sendall, args=(pdu(pdv(data, LAST)),))
    sender.start()
    controls, received = [], b""
    while len(received) < len(data):
        _, control, piece = wire.next_fragment()
        controls.append(control)
        received += bytes(piece)
    sender.join()
    assert received == data
    assert controls == [0, 0, LAST]


@pytest.mark.parametrize(("sent", "reason"), [
    (pack(">BxI", 4, 0xFFFFFFFF), 6),
    (pack(">BxI", 4, 131073), 6),
    (pack(">BxI", 4, 3) + b"abc", 6),
    (pack(">BxI", 4, 10) + pack(">IBB", 100, 1, 2) + b"abcd", 6),
    (pack(">BxI", 4, 10) + pack(">IBB", 1, 1, 2) + b"abcd", 6),
    (pack(">BxI", 1, 4) + b"abcd", 2),
    (pack(">BxI", 2, 4) + b"abcd", 2),
    (pack(">BxI", 6, 4) + b"abcd", 2),
    (pack(">BxI", 5, 8) + b"abcdabcd", 2),
    (b"GET / HTTP/1.1\r\n\r\n", 1),
])
def test_a_pdu_that_may_not_come_is_a_protocol_error_with_its_abort_reason(sockets, sent: bytes, reason: int):
    peer, ours = sockets
    wire = wire_over(ours)
    peer.sendall(sent)
    with pytest.raises(ProtocolError) as error:
        wire.next_fragment()
    assert error.value.reason == reason


def test_a_release_within_a_message_is_a_protocol_error(sockets):
    peer, ours = sockets
    wire = wire_over(ours)
    peer.sendall(pdu(pdv(b"da", 0)) + RELEASE_RQ)
    wire.next_fragment()
    wire.at_boundary = False
    with pytest.raises(ProtocolError, match="0x05 during data transfer"):
        wire.next_fragment()


def test_anything_before_the_associate_request_is_a_protocol_error(sockets):
    peer, ours = sockets
    peer.sendall(RELEASE_RQ)
    with pytest.raises(ProtocolError, match="before A-ASSOCIATE-RQ"):
        wire_over(ours).associate_request(within_s=ARTIM_S)


def test_an_associate_request_of_any_announced_size_is_not_swallowed(sockets):
    peer, ours = sockets
    peer.sendall(pack(">BxI", 1, 0x7FFFFFFF))
    with pytest.raises(ProtocolError, match="2147483647 bytes"):
        wire_over(ours).associate_request(within_s=ARTIM_S)


@pytest.mark.parametrize("head", [b"", pack(">BxI", 1, MOST_ASSOCIATE_BYTES)])
def test_an_associate_request_that_dribbles_is_given_up_when_artim_expires(sockets, head: bytes):
    peer, ours = sockets
    cut = threading.Event()

    def dribble() -> None:
        peer.sendall(head)
        for _ in range(MOST_ASSOCIATE_BYTES if head else 5):  # never the whole request
            if cut.wait(0.01):
                return
            peer.sendall(b"\x01")

    dribbler = threading.Thread(target=dribble)
    dribbler.start()
    with pytest.raises(Overdue, match="ARTIM expired"):
        wire_over(ours).associate_request(within_s=0.3)
    cut.set()
    dribbler.join()


def test_the_deadline_of_the_associate_request_is_over_with_it(sockets):
    peer, ours = sockets
    wire = wire_over(ours, silence_s=0.5)
    peer.sendall(pack(">BxI", 1, 3) + b"abc")
    assert wire.associate_request(within_s=0.3) == pack(">BxI", 1, 3) + b"abc"
    with pytest.raises(ProtocolError, match=r"silent for 0\.5 s"):
        wire.next_fragment()


def test_the_peers_abort_and_its_hanging_up_are_told_apart(sockets):
    peer, ours = sockets
    wire = wire_over(ours)
    peer.sendall(ABORT)
    with pytest.raises(PeerGone, match="aborted by the peer"):
        wire.next_fragment()
    peer.close()
    with pytest.raises(PeerGone, match=r"closed by the peer|connection lost"):
        Wire.next_fragment(wire)


def test_a_silent_peer_is_given_up(sockets):
    _, ours = sockets
    with pytest.raises(ProtocolError, match=r"silent for 0\.25 s"):
        wire_over(ours, silence_s=0.25).next_fragment()


def test_a_stop_ends_the_wait_between_messages(sockets):
    _, ours = sockets
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopping):
        wire_over(ours, stop=stop).next_fragment()


def test_a_stop_waits_for_the_message_under_way(sockets):
    peer, ours = sockets
    stop = threading.Event()
    wire = wire_over(ours, stop=stop)
    peer.sendall(pdu(pdv(b"da", 0)))
    wire.next_fragment()
    wire.at_boundary = False
    stop.set()
    peer.sendall(pdu(pdv(b"ta", LAST)))
    assert message_from(wire) == (1, LAST, b"ta")


@pytest.mark.parametrize(("peer_max", "pdus"), [(0, 1), (16384, 1), (128, 3), (4, 1)])
def test_a_command_is_cut_to_the_maximum_that_the_peer_announced(sockets, peer_max: int, pdus: int):
    peer, ours = sockets
    wire = wire_over(ours)
    wire.peer_max_pdu_bytes = peer_max
    wire.send_command(3, b"x" * 300)
    ours.shutdown(socket.SHUT_WR)
    received = b"".join(iter(lambda: peer.recv(1 << 16), b""))
    bodies, controls = [], []
    while received:
        length = int.from_bytes(received[2:6], "big")
        assert received[10] == 3
        bodies.append(received[12:6 + length])
        controls.append(received[11])
        received = received[6 + length:]
    assert b"".join(bodies) == b"x" * 300
    assert controls == [COMMAND] * (pdus - 1) + [COMMAND | LAST]
