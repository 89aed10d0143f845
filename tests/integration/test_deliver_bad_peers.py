"""Peers that misbehave, scripted over a real socket: each ends as the error that says what to do."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from dicomnode.deliver import Outgoing, OutgoingFile, deliver, dimse, echo, pdu, send_files
from dicomnode.domain.dicom import (
    COMPREHENSIVE_3D_SR_STORAGE,
    COMPREHENSIVE_SR_STORAGE,
    CT_IMAGE_STORAGE,
    KEY_OBJECT_SELECTION_STORAGE,
    LABEL_MAP_SEGMENTATION_STORAGE,
    SEGMENTATION_STORAGE,
)
from dicomnode.domain.node import Peer
from dicomnode.errors import (
    AssociationRejectedPermanent,
    AssociationRejectedTransient,
    ConfigError,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
    Verdict,
)
from tests.builders import ct_series, write_series
from tests.peers import PATIENCE_S, ScriptedPeer, Talk, command_set, storing

SHORT_S = 0.5
"""The limit in tests of peers that never answer: the only ones that run into it."""
ABORT_BY_PROVIDER = bytes((pdu.ABORT, 0, 0, 0, 0, 4, 0, 0, 2, 2))


@pytest.fixture
def images(tmp_path) -> list[Path]:
    return list(write_series(tmp_path / "ct", ct_series(np.zeros((3, 32, 32), dtype=np.int16))))


@pytest.fixture
def large(tmp_path) -> Path:
    """So large that it does not fit the sockets' buffers: the sender must wait for the peer to read."""
    return next(iter(write_series(tmp_path / "large", ct_series(np.zeros((1, 4096, 4096), dtype=np.int16)))))


def item(number: int, path: Path, *sop_classes: str) -> Outgoing:
    return Outgoing(item_id=number, alternatives=tuple(
        OutgoingFile(path=path, sop_class_uid=sop_class, sop_instance_uid=f"1.2.{number}.{place}",
                     transfer_syntax_uid="1.2.840.10008.1.2.1")
        for place, sop_class in enumerate(sop_classes or (CT_IMAGE_STORAGE,))))


def send(peer: Peer, items: Sequence[Outgoing], timeout_s: float = PATIENCE_S) -> list[tuple[int, str, int]]:
    marks: list[tuple[int, str, int]] = []
    deliver(node_ae_title="NODE", peer=peer, items=items, timeout_s=timeout_s,
            stored=lambda *mark: marks.append(mark[:3]), not_taken=never)
    return marks


def never(*_: object) -> None:
    pytest.fail("an item that a peer must take was noted as not taken")


def test_success_and_warning_are_marked_with_their_status(images):
    with storing(0x0000, 0xB000) as scripted:
        marks = send(scripted.peer, [item(7, images[0]), item(8, images[1])])
    assert marks == [(7, "1.2.7.0", 0), (8, "1.2.8.0", 0xB000)]
    assert scripted.finished


def test_a_message_arrives_whole_through_the_smallest_pdus(images):
    with storing(0x0000, max_pdu_bytes=pdu.SMALLEST_PEER_PDU_BYTES) as scripted:
        send(scripted.peer, [item(1, images[0])])
    assert scripted.talk is not None
    assert images[0].read_bytes().endswith(scripted.talk.stored[0][1])
    assert len(scripted.talk.stored[0][1]) > 2048


def test_no_items_need_no_association():
    assert send(Peer(name="x", ae_title="X", host="127.0.0.1", port=9), []) == []


@pytest.mark.parametrize("status", [0xA700, 0xA7FF])
def test_a_peer_without_room_is_busy_and_keeps_what_it_has(images, status):
    marks: list[int] = []
    with storing(0x0000, status) as scripted, pytest.raises(PeerBusy) as caught:
        deliver(node_ae_title="NODE", peer=scripted.peer, items=[item(n, images[0]) for n in range(3)],
                timeout_s=PATIENCE_S, stored=lambda item_id, *_: marks.append(item_id), not_taken=never)
    assert marks == [0]
    assert caught.value.status == status
    assert scripted.finished, "the association is released, so that the peer keeps the first object"


@pytest.mark.parametrize("status", [0x0110, 0x0117, 0x0122, 0x0124, 0xA900, 0xC000])
def test_a_refusal_fails_after_the_other_items_were_sent(images, status):
    marks: list[int] = []
    with storing(status, 0x0000) as scripted, pytest.raises(PeerRefused) as caught:
        deliver(node_ae_title="NODE", peer=scripted.peer, items=[item(1, images[0]), item(2, images[1])],
                timeout_s=PATIENCE_S, stored=lambda item_id, *_: marks.append(item_id), not_taken=never)
    assert marks == [2]
    assert caught.value.status == status
    assert f"0x{status:04X}" in str(caught.value)
    assert "1.2.1.0" in str(caught.value)


def test_the_next_form_is_sent_where_the_first_is_not_negotiated(images):
    with storing(0x0000, takes=lambda uid: uid != COMPREHENSIVE_3D_SR_STORAGE) as scripted:
        marks = send(scripted.peer, [item(1, images[0], COMPREHENSIVE_3D_SR_STORAGE, COMPREHENSIVE_SR_STORAGE)])
    assert marks == [(1, "1.2.1.1", 0)]


@pytest.mark.parametrize("status", [0x0122, 0xA900, 0xC000])
def test_the_next_form_is_sent_where_the_first_is_negotiated_but_not_stored(images, status):
    with storing(status, 0x0000) as scripted:
        marks = send(scripted.peer, [item(1, images[0], COMPREHENSIVE_3D_SR_STORAGE, COMPREHENSIVE_SR_STORAGE)])
    assert marks == [(1, "1.2.1.1", 0)]


def test_a_peer_that_takes_no_form_is_told_every_form_and_still_gets_the_rest(images):
    marks: list[int] = []
    with storing(0x0000, takes=lambda uid: uid == COMPREHENSIVE_SR_STORAGE) as scripted, \
            pytest.raises(PeerRefused) as caught:
        deliver(node_ae_title="NODE", peer=scripted.peer, timeout_s=PATIENCE_S,
                items=[item(1, images[0], SEGMENTATION_STORAGE, CT_IMAGE_STORAGE),
                       item(2, images[1], COMPREHENSIVE_3D_SR_STORAGE, COMPREHENSIVE_SR_STORAGE)],
                stored=lambda item_id, *_: marks.append(item_id), not_taken=never)
    assert marks == [2]
    assert f"{SEGMENTATION_STORAGE}: no presentation context accepted" in str(caught.value)
    assert f"{CT_IMAGE_STORAGE}: no presentation context accepted" in str(caught.value)
    assert caught.value.verdict is Verdict.FAIL


def form(path: Path, kind: str, number: int, *refers_to: str) -> OutgoingFile:
    classes = {"LABELMAP": LABEL_MAP_SEGMENTATION_STORAGE, "SEG": SEGMENTATION_STORAGE,
               "SR3D": COMPREHENSIVE_3D_SR_STORAGE, "KOS": KEY_OBJECT_SELECTION_STORAGE}
    return OutgoingFile(path=path, sop_class_uid=classes[kind], sop_instance_uid=f"1.2.{number}", kind=kind,
                        transfer_syntax_uid="1.2.840.10008.1.2.1", refers_to=refers_to)


def parts_of_one_map(path: Path) -> list[Outgoing]:
    """Two parts of one segmentation, a label map that stands for both, and a report on each of these forms."""
    whole = form(path, "LABELMAP", 1)
    return [
        Outgoing(item_id=1, alternatives=(whole, form(path, "SEG", 2))),
        Outgoing(item_id=2, alternatives=(whole, form(path, "SEG", 3))),
        Outgoing(item_id=3, alternatives=(form(path, "SR3D", 4, "1.2.2", "1.2.3"), form(path, "SR3D", 5, "1.2.1"))),
    ]


def all_marks(peer: Peer, items: Sequence[Outgoing], *, present: Sequence[str] = ()) -> list[tuple[object, ...]]:
    marks: list[tuple[object, ...]] = []
    deliver(node_ae_title="NODE", peer=peer, items=items, timeout_s=PATIENCE_S, present=present,
            stored=lambda *mark: marks.append(mark), not_taken=lambda *mark: marks.append(mark))
    return marks


def test_an_object_that_stands_for_several_is_sent_once_and_the_report_on_it_follows(images):
    with storing(0x0000, 0x0000) as scripted:
        marks = all_marks(scripted.peer, parts_of_one_map(images[0]))
    assert marks == [(1, "1.2.1", 0, ""), (2, "1.2.1", 0, ""), (3, "1.2.5", 0, "")]
    assert len(scripted.talk.stored) == 2


@pytest.mark.parametrize("negotiated", [False, True])
def test_a_peer_that_refuses_the_object_for_several_gets_each_of_them_and_is_told_why(images, negotiated):
    statuses = [*[0x0122] * negotiated, 0x0000, 0x0000, 0x0000]
    with storing(*statuses, takes=lambda uid: negotiated or uid != LABEL_MAP_SEGMENTATION_STORAGE) as scripted:
        marks = all_marks(scripted.peer, parts_of_one_map(images[0]))
    assert [mark[:2] for mark in marks] == [(1, "1.2.2"), (2, "1.2.3"), (3, "1.2.4")]
    why = "0x0122" if negotiated else "no presentation context accepted"
    assert all(str(mark[3]).startswith(f"LABELMAP {LABEL_MAP_SEGMENTATION_STORAGE}: {why}") for mark in marks[:2])
    assert len(scripted.talk.stored) == 3 + negotiated, "what was refused once is not offered again"


def test_a_later_attempt_knows_what_the_peer_has_already(images):
    with storing(0x0000) as scripted:
        marks = all_marks(scripted.peer, parts_of_one_map(images[0])[1:], present=["1.2.1"])
    assert marks == [(2, "1.2.1", 0, ""), (3, "1.2.5", 0, "")]
    assert len(scripted.talk.stored) == 1


def test_a_refused_object_that_may_be_refused_is_noted_and_fails_nothing(images):
    summary = Outgoing(item_id=9, alternatives=(form(images[0], "KOS", 8),), optional=True)
    with storing(0x0000, takes=lambda uid: uid != KEY_OBJECT_SELECTION_STORAGE) as scripted:
        marks = all_marks(scripted.peer, [summary, item(1, images[0])])
    assert marks[0][0] == 9
    assert "takes no form of 1.2.8: KOS" in str(marks[0][1])
    assert marks[1][:2] == (1, "1.2.1.0")


def test_what_takes_earlier_results_back_waits_until_the_new_ones_are_there(images):
    needed = Outgoing(item_id=1, alternatives=(form(images[0], "SEG", 2),))
    note = Outgoing(item_id=2, alternatives=(form(images[0], "KOS", 3),), optional=True, closing=True)
    with storing(0xC000) as scripted, pytest.raises(PeerRefused):
        send(scripted.peer, [needed, note])
    assert len(scripted.talk.stored) == 1
    with storing(0x0000, 0x0000) as scripted:
        assert [mark[0] for mark in send(scripted.peer, [needed, note])] == [1, 2]


def test_a_manifest_of_what_was_refused_stays_open_for_the_next_attempt(images):
    needed = Outgoing(item_id=1, alternatives=(form(images[0], "SEG", 2),))
    manifest = Outgoing(item_id=2, alternatives=(form(images[0], "KOS", 3, "1.2.2"),), optional=True)
    with storing(0xC000) as scripted, pytest.raises(PeerRefused):
        send(scripted.peer, [needed, manifest])
    with storing(0x0000, 0x0000) as scripted:
        assert [mark[0] for mark in send(scripted.peer, [needed, manifest])] == [1, 2]


def test_an_object_that_may_be_left_out_is_left_out_where_it_names_what_the_peer_did_not_take(images):
    first = Outgoing(item_id=1, alternatives=(form(images[0], "LABELMAP", 1), form(images[0], "SEG", 2)))
    manifests = (form(images[0], "KOS", 3, "1.2.1"), form(images[0], "KOS", 4, "1.2.2"))
    with storing(0x0000, 0x0000, takes=lambda uid: uid != LABEL_MAP_SEGMENTATION_STORAGE) as scripted:
        assert [mark[:2] for mark in all_marks(scripted.peer, [
            first, Outgoing(item_id=2, alternatives=manifests, optional=True)])] == [(1, "1.2.2"), (2, "1.2.4")]
    with storing(0x0000, takes=lambda uid: uid != LABEL_MAP_SEGMENTATION_STORAGE) as scripted:
        marks = all_marks(scripted.peer, [first, Outgoing(item_id=2, alternatives=manifests[:1], optional=True)])
    assert "names other objects than the peer has" in str(marks[1][1])


def test_a_manifest_that_leaves_out_what_the_peer_got_is_not_sent(images):
    pair = [Outgoing(item_id=n, alternatives=(form(images[0], "SEG", n),)) for n in (1, 2)]
    part, whole = form(images[0], "KOS", 3, "1.2.1"), form(images[0], "KOS", 4, "1.2.1", "1.2.2")
    with storing(0x0000, 0x0000) as scripted:
        marks = all_marks(scripted.peer, [*pair, Outgoing(item_id=3, alternatives=(part,), optional=True)])
    assert "names other objects than the peer has" in str(marks[2][1])
    with storing(0x0000, 0x0000) as scripted:
        marks = all_marks(scripted.peer, [pair[1], Outgoing(item_id=3, alternatives=(part, whole), optional=True)],
                          present=["1.2.1"])
    assert [mark[:2] for mark in marks] == [(2, "1.2.2"), (3, "1.2.4")]


@pytest.mark.parametrize(("result", "source", "reason", "kind"), [
    (1, 1, 7, AssociationRejectedPermanent), (1, 1, 3, AssociationRejectedPermanent),
    (2, 3, 2, AssociationRejectedTransient), (1, 3, 1, AssociationRejectedTransient),
])
def test_a_rejected_association_says_whether_to_come_again(images, result, source, reason, kind):
    def script(talk: Talk) -> None:
        talk.read_request()
        talk.socket.sendall(bytes((pdu.ASSOCIATE_RJ, 0, 0, 0, 0, 4, 0, result, source, reason)))
    with ScriptedPeer(script) as scripted, pytest.raises(kind, match=r"PS3\.8 Table 9-21"):
        send(scripted.peer, [item(1, images[0])])


def test_an_abort_in_the_middle_of_an_object_is_tried_again(large):
    def script(talk: Talk) -> None:
        talk.accept()
        talk.read_pdu()
        talk.read_pdu()
        talk.socket.sendall(ABORT_BY_PROVIDER)
        talk.socket.shutdown(socket.SHUT_WR)
        while talk.socket.recv(1 << 20):
            pass
    with ScriptedPeer(script) as scripted, pytest.raises(PeerUnreachable) as caught:
        send(scripted.peer, [item(1, large)])
    assert caught.value.verdict is Verdict.RETRY
    assert "aborted the association (service provider, unexpected PDU" in str(caught.value)


def test_a_connection_that_breaks_in_the_middle_of_an_object_is_tried_again(large):
    def script(talk: Talk) -> None:
        talk.accept()
        talk.read_pdu()
        talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with ScriptedPeer(script) as scripted, pytest.raises(PeerUnreachable, match="the connection broke while sending"):
        send(scripted.peer, [item(1, large)])


def test_a_peer_that_stops_reading_does_not_hold_the_sender(large):
    stalled = threading.Event()

    def script(talk: Talk) -> None:
        talk.accept()
        talk.read_pdu()
        stalled.wait(PATIENCE_S)
    with ScriptedPeer(script) as scripted:
        with pytest.raises(PeerUnreachable, match=r"did not read for 0\.5 s"):
            send(scripted.peer, [item(1, large)], timeout_s=SHORT_S)
        stalled.set()


@pytest.mark.parametrize("silent_after", ["connect", "accept", "object"])
def test_a_silent_peer_does_not_hold_the_sender(images, silent_after):
    hold = threading.Event()

    def script(talk: Talk) -> None:
        if silent_after != "connect":
            talk.accept()
        if silent_after == "object":
            talk.read_message()
        hold.wait(PATIENCE_S)
    with ScriptedPeer(script) as scripted:
        with pytest.raises(PeerUnreachable, match=r"silent for 0\.5 s"):
            send(scripted.peer, [item(1, images[0])], timeout_s=SHORT_S)
        hold.set()


def test_a_peer_that_hangs_up_is_away(images):
    def script(talk: Talk) -> None:
        talk.read_request()
    with ScriptedPeer(script) as scripted, \
            pytest.raises(PeerUnreachable, match=r"closed the connection|connection broke"):
        send(scripted.peer, [item(1, images[0])])


@pytest.mark.parametrize("answer", [
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    bytes((pdu.ASSOCIATE_AC, 0, 0xFF, 0xFF, 0xFF, 0xFF)),
    bytes((pdu.RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0)),
    bytes((pdu.ASSOCIATE_AC, 0, 0, 0, 0, 70)) + bytes(68) + b"\x21\x00",
    bytes((pdu.ASSOCIATE_AC, 0, 0, 0, 0, 74)) + bytes(68) + b"\x50\x00\xff\x00\x00\x00",
])
def test_an_answer_that_is_not_the_protocols_is_said_to_be_so(images, answer):
    def script(talk: Talk) -> None:
        talk.read_request()
        talk.socket.sendall(answer)
    with ScriptedPeer(script) as scripted, pytest.raises(PeerUnreachable, match="what the protocol does not allow"):
        send(scripted.peer, [item(1, images[0])])


@pytest.mark.parametrize(("command", "words"), [
    ({dimse.COMMAND_FIELD: 0x8001, dimse.MESSAGE_ID_RESPONDED_TO: 1, dimse.DATA_SET_TYPE: dimse.NO_DATA_SET},
     "a response without Status"),
    ({dimse.COMMAND_FIELD: 0x8001, dimse.MESSAGE_ID_RESPONDED_TO: 99, dimse.DATA_SET_TYPE: dimse.NO_DATA_SET,
      dimse.STATUS: 0}, "for message 99, where the response to message 1 was due"),
    ({dimse.COMMAND_FIELD: 0x0030, dimse.MESSAGE_ID: 1, dimse.DATA_SET_TYPE: dimse.NO_DATA_SET}, "command 0x0030"),
    ({dimse.STATUS: 0, dimse.DATA_SET_TYPE: dimse.NO_DATA_SET}, r"lacks \(0000,0100\)"),
])
def test_a_response_that_answers_nothing_is_not_taken_for_success(images, command, words):
    marks: list[object] = []

    def script(talk: Talk) -> None:
        talk.accept()
        context_id, _, _ = talk.read_message()
        talk.say(context_id, command_set(command))
        with suppress(ConnectionError):
            talk.read_pdu()
    with ScriptedPeer(script) as scripted, pytest.raises(PeerUnreachable, match=words):
        deliver(node_ae_title="NODE", peer=scripted.peer, items=[item(1, images[0])], timeout_s=PATIENCE_S,
                stored=lambda *mark: marks.append(mark), not_taken=never)
    assert marks == []


def test_a_commitment_report_that_comes_between_is_declined_so_that_the_peer_reports_to_the_receiver(images):
    answers: list[int] = []

    def script(talk: Talk) -> None:
        talk.accept()
        context_id, command, _ = talk.read_message()
        talk.say(context_id, command_set({
            dimse.AFFECTED_SOP_CLASS: "1.2.840.10008.1.20.1", dimse.COMMAND_FIELD: dimse.N_EVENT_REPORT_RQ,
            dimse.MESSAGE_ID: 5, dimse.DATA_SET_TYPE: dimse.NO_DATA_SET, dimse.EVENT_TYPE_ID: 1,
            dimse.AFFECTED_SOP_INSTANCE: "1.2.840.10008.1.20.1.1",
        }))
        _, answer, _ = talk.read_message()
        answers.append(answer.status or 0)
        talk.respond(context_id, command, 0x0000)
        talk.release()
    with ScriptedPeer(script) as scripted:
        assert send(scripted.peer, [item(1, images[0])]) == [(1, "1.2.1.0", 0)]
    assert answers == [dimse.PROCESSING_FAILURE]


STATUS_0 = {dimse.COMMAND_FIELD: 0x8001, dimse.MESSAGE_ID_RESPONDED_TO: 1, dimse.STATUS: 0}


@pytest.mark.parametrize("fragment_bytes", [1, 7, 16000])
@pytest.mark.parametrize("data", [None, b"a data set that nobody asked for"])
def test_a_response_in_any_number_of_fragments_with_or_without_data_is_understood(images, fragment_bytes, data):
    def script(talk: Talk) -> None:
        talk.accept()
        context_id, _, _ = talk.read_message()
        command = command_set(STATUS_0 | {dimse.DATA_SET_TYPE: dimse.NO_DATA_SET if data is None else dimse.DATA_SET})
        pdus = list(pdu.p_data_pdus(context_id, [command], is_command=True, fragment_bytes=fragment_bytes))
        if data:
            pdus += pdu.p_data_pdus(context_id, [data], is_command=False, fragment_bytes=fragment_bytes)
        values = b"".join(one[6:] for one in pdus)
        talk.socket.sendall(struct.pack(">BBI", pdu.P_DATA, 0, len(values)) + values)
        talk.release()
    with ScriptedPeer(script) as scripted:
        assert send(scripted.peer, [item(1, images[0])]) == [(1, "1.2.1.0", 0)]


def test_a_report_and_the_response_in_one_pdu_are_both_understood(images):
    report = {dimse.AFFECTED_SOP_CLASS: "1.2.840.10008.1.20.1", dimse.COMMAND_FIELD: dimse.N_EVENT_REPORT_RQ,
              dimse.MESSAGE_ID: 5, dimse.DATA_SET_TYPE: dimse.NO_DATA_SET}

    def script(talk: Talk) -> None:
        talk.accept()
        context_id, _, _ = talk.read_message()
        commands = [command_set(report), command_set(STATUS_0 | {dimse.DATA_SET_TYPE: dimse.NO_DATA_SET})]
        values = b"".join(one[6:] for command in commands for one in pdu.p_data_pdus(
            context_id, [command], is_command=True, fragment_bytes=16000))
        talk.socket.sendall(struct.pack(">BBI", pdu.P_DATA, 0, len(values)) + values)
        talk.read_message()
        talk.release()
    with ScriptedPeer(script) as scripted:
        assert send(scripted.peer, [item(1, images[0])]) == [(1, "1.2.1.0", 0)]
    assert scripted.finished


@pytest.mark.parametrize(("answer", "words"), [
    (pdu.RELEASE_RQ_PDU, "a PDU of type 0x05 where P-DATA-TF was due"),
    (bytes((pdu.P_DATA, 0, 0, 0, 0, 6, 0, 0, 0, 99, 1, 3)), "does not fit its PDU"),
    (bytes((pdu.P_DATA, 0, 0, 0, 0, 3, 0, 0, 0)), "is cut off"),
])
def test_nonsense_in_place_of_a_response_is_said_to_be_so(images, answer, words):
    def script(talk: Talk) -> None:
        talk.accept()
        talk.read_message()
        talk.socket.sendall(answer)
        with suppress(ConnectionError):
            talk.read_pdu()
    with ScriptedPeer(script) as scripted, pytest.raises(PeerUnreachable, match=words):
        send(scripted.peer, [item(1, images[0])])


def test_an_endless_response_is_not_read_for_ever(images):
    def script(talk: Talk) -> None:
        talk.accept()
        context_id, _, _ = talk.read_message()
        endless = struct.pack(">BBIIBB", pdu.P_DATA, 0, 65536 + 6, 65536 + 2, context_id, 1) + bytes(65536)
        with suppress(OSError):
            while True:
                talk.socket.sendall(endless)
    with ScriptedPeer(script) as scripted, pytest.raises(PeerUnreachable, match="a message of more than"):
        send(scripted.peer, [item(1, images[0])])


def test_both_sides_may_ask_to_release_at_one_time(images):
    def script(talk: Talk) -> None:
        talk.accept()
        talk.store(0x0000)
        talk.socket.sendall(pdu.RELEASE_RQ_PDU)
        kinds = [talk.read_pdu()[0], talk.read_pdu()[0]]
        assert kinds == [pdu.RELEASE_RQ, pdu.RELEASE_RP]
    with ScriptedPeer(script) as scripted:
        send(scripted.peer, [item(1, images[0])])
    assert scripted.finished


def test_what_is_stored_stays_stored_when_the_peer_does_not_release(images):
    def script(talk: Talk) -> None:
        talk.accept()
        talk.store(0x0000)
    with ScriptedPeer(script) as scripted:
        assert send(scripted.peer, [item(1, images[0])]) == [(1, "1.2.1.0", 0)]


def test_a_failure_of_the_caller_releases_the_association_so_that_the_peer_keeps_the_object(images):
    def stop(*_: object) -> None:
        raise KeyError("the caller's own")
    with storing(0x0000) as scripted, pytest.raises(KeyError, match="the caller's own"):
        deliver(node_ae_title="NODE", peer=scripted.peer, items=[item(1, images[0])], timeout_s=PATIENCE_S,
                stored=stop, not_taken=never)
    assert scripted.finished


def test_a_closed_port_is_a_peer_that_is_away(images):
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(PeerUnreachable, match=r"pacs \(PACS at 127\.0\.0\.1:\d+\): no connection: Connection refused"):
        send(Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=port), [item(1, images[0])])


def test_an_unknown_host_is_a_peer_that_is_away():
    with pytest.raises(PeerUnreachable, match="the host name is unknown"):
        echo(node_ae_title="NODE", timeout_s=PATIENCE_S,
             peer=Peer(name="pacs", ae_title="PACS", host="pacs.invalid", port=104))


def test_a_peer_without_host_and_port_is_a_mistake_of_the_configuration():
    with pytest.raises(ConfigError, match=r"\[peers\.ct\]: host and port are needed"):
        echo(node_ae_title="NODE", peer=Peer(name="ct", ae_title="CT"), timeout_s=PATIENCE_S)


def test_an_echo_to_a_peer_without_verification_says_so():
    def script(talk: Talk) -> None:
        talk.accept(takes=lambda _: False)
        talk.release()
    with ScriptedPeer(script) as scripted, \
            pytest.raises(PeerRefused, match="accepts the association, but not Verification"):
        echo(node_ae_title="NODE", peer=scripted.peer, timeout_s=PATIENCE_S)


def test_sending_files_goes_on_after_a_refusal_and_counts_at_the_end(images, tmp_path):
    note = tmp_path / "note.txt"
    note.write_text("not DICOM", encoding="utf-8")
    seen: list[tuple[int, int]] = []
    skipped: list[Path] = []
    with storing(0x0000, 0xC000, 0x0000) as scripted, pytest.raises(PeerRefused, match="1 of 3 files refused"):
        send_files(node_ae_title="NODE", peer=scripted.peer, paths=[images[0], note, *images[1:]],
                   timeout_s=PATIENCE_S, progress=lambda *s: seen.append(s),
                   skipped=lambda path, _: skipped.append(path))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert skipped == [note]
