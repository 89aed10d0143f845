from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from struct import pack

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicomnode.domain.node import NodeSettings, Peer, ReceiveSettings
from dicomnode.errors import ConfigError
from dicomnode.receive import scp
from dicomnode.spool import Incoming, Spool
from tests.builders import ct_series, write_file
from tests.receiving import Receiver, receiver
from tests.upper_layer import (
    COMMAND,
    CT,
    EXPLICIT,
    LAST,
    VERIFICATION,
    associate_rq,
    command,
    data_set,
    pdu,
    pdv,
    scripted_peer,
    store_command,
)

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
IMPLICIT = "1.2.840.10008.1.2"
RELEASE_RQ = b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00"
RELEASE_RP = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"


def abort_pdu(reason: int) -> bytes:
    """A-ABORT of the service provider."""
    return b"\x07\x00\x00\x00\x00\x04\x00\x00\x02" + bytes((reason,))


def reject_pdu(result: int, source: int, reason: int) -> bytes:
    return b"\x03\x00\x00\x00\x00\x04\x00" + bytes((result, source, reason))


def images(count: int, seed: str = "ct", **attributes: object) -> list[Dataset]:
    return ct_series(np.arange(count * 20, dtype=np.int16).reshape(count, 4, 5), seed=seed, **attributes)


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "spool") as running:
        yield running


def stored(node: Receiver) -> list[Dataset]:
    return [dcmread(arrival.path) for arrival in node.spool.arrivals()]


def leftovers(node: Receiver) -> list[str]:
    return [path.name for path in (node.spool.root / "arrivals").rglob("*") if path.suffix == ".part"]


def test_a_stored_image_is_a_complete_file_that_says_who_sent_it(node: Receiver):
    (image,) = images(1)
    with scripted_peer(node.port) as peer:
        assert peer.associate()[0] == 0x02
        response = peer.store(image)
        assert (response.Status, response.CommandField, response.MessageIDBeingRespondedTo) == (0, 0x8001, 1)
        (arrival,) = node.spool.arrivals()
        assert arrival.association_open
        assert peer.say(RELEASE_RQ).hear() == RELEASE_RP
    read = dcmread(arrival.path)
    assert read == image
    assert read.file_meta.SourceApplicationEntityTitle == "SCANNER"
    assert read.file_meta.ReceivingApplicationEntityTitle == "DICOMNODE"
    assert node.notified.wait(10)


def test_the_answer_comes_only_after_file_and_folder_are_synced(node: Receiver, monkeypatch: pytest.MonkeyPatch):
    (image,) = images(1)
    synced = threading.Event()
    may_finish = threading.Event()
    commit = Incoming.commit

    def held(self: Incoming) -> Path:
        path = commit(self)
        synced.set()
        assert may_finish.wait(30)
        return path

    monkeypatch.setattr(Incoming, "commit", held)
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.say(pdu(pdv(store_command(image), COMMAND | LAST)), pdu(pdv(data_set(image), LAST)))
        assert synced.wait(10)
        peer.connection.settimeout(0)
        with pytest.raises(BlockingIOError):
            peer.connection.recv(1)
        peer.connection.settimeout(10)
        may_finish.set()
        assert peer.response().Status == 0


@pytest.mark.parametrize("step", [1, 7, 100, 4096])
def test_bytes_cut_at_odd_places_are_stored_whole(node: Receiver, step: int):
    (image,) = images(1)
    stream = pdu(pdv(store_command(image), COMMAND | LAST)) + pdu(pdv(data_set(image)[:11], 0)) + pdu(
        pdv(data_set(image)[11:], LAST))
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer.say(*(stream[start:start + step] for start in range(0, len(stream), step)))
        assert peer.response().Status == 0
    assert stored(node) == [image]


def test_command_and_data_in_many_pdvs_of_one_pdu_are_stored(node: Receiver):
    (image,) = images(1)
    announced, data = store_command(image), data_set(image)
    pdvs = [pdv(announced[:9], COMMAND), pdv(announced[9:], COMMAND | LAST)]
    pdvs += [pdv(data[start:start + 5], 0) for start in range(0, len(data), 5)] + [pdv(b"", LAST)]
    with scripted_peer(node.port) as peer:
        peer.associate()
        assert peer.say(pdu(*pdvs)).response().Status == 0
    assert stored(node) == [image]


def test_images_sent_without_waiting_are_all_answered_in_order(node: Receiver):
    series = images(20)
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.say(b"".join(
            pdu(pdv(store_command(image, MessageID=number), COMMAND | LAST), pdv(data_set(image), LAST))
            for number, image in enumerate(series)))
        answers = [peer.response() for _ in series]
    assert [(answer.MessageIDBeingRespondedTo, answer.Status) for answer in answers] == [(n, 0) for n in range(20)]
    assert stored(node) == series


def test_a_mismatch_is_refused_with_a900_and_the_next_image_is_stored(node: Receiver):
    first, second = images(2)
    with scripted_peer(node.port) as peer:
        peer.associate()
        answer = peer.store(first, AffectedSOPInstanceUID="1.2.3")
        assert answer.Status == 0xA900
        assert "SOP Instance UID" in answer.ErrorComment
        assert peer.store(second).Status == 0
    assert stored(node) == [second]
    assert leftovers(node) == []


def test_a_truncated_dataset_is_refused_with_c000(node: Receiver):
    (image,) = images(1)
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.say(pdu(pdv(store_command(image), COMMAND | LAST)), pdu(pdv(data_set(image)[:-3], LAST)))
        answer = peer.response()
        assert answer.Status == 0xC000
        assert "(7FE0,0010)" in answer.ErrorComment
        assert peer.store(image).Status == 0
    assert stored(node) == [image]


@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID"])
def test_an_image_without_its_study_or_series_is_refused_with_c000(node: Receiver, keyword: str):
    (image,) = images(1, **{keyword: None})
    with scripted_peer(node.port) as peer:
        peer.associate()
        assert peer.store(image).Status == 0xC000
    assert stored(node) == []


def test_a_refusal_early_in_a_long_data_set_still_reads_it_to_its_end(node: Receiver):
    (image,) = images(1)
    junk = b"\x08\x00\x05\x00\x00\x01" + bytes(300_000)
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.say(pdu(pdv(store_command(image), COMMAND | LAST)))
        for start in range(0, len(junk), 100_000):
            peer.say(pdu(pdv(junk[start:start + 100_000], LAST if start + 100_000 >= len(junk) else 0)))
        assert peer.response().Status == 0xC000
        assert peer.store(image).Status == 0
    assert stored(node) == [image]


def test_a_class_that_the_context_is_not_for_is_refused_with_0122(node: Receiver):
    (image,) = images(1)
    with scripted_peer(node.port) as peer:
        peer.associate()
        assert peer.store(image, AffectedSOPClassUID="1.2.840.10008.5.1.4.1.1.4").Status == 0x0122
        assert peer.store(image).Status == 0


def test_below_the_disk_floor_the_sender_hears_a700(tmp_path: Path):
    (image,) = images(1)
    with receiver(tmp_path, min_free_bytes=1 << 60) as node, scripted_peer(node.port) as peer:
        peer.associate()
        answer = peer.store(image)
        assert answer.Status == 0xA700
        assert peer.store(image).Status == 0xA700
        assert stored(node) == []


def test_an_instance_over_the_limit_is_refused_with_a700_and_leaves_nothing(tmp_path: Path):
    (image,) = images(1)
    with receiver(tmp_path, max_instance_mb=0.0001) as node, scripted_peer(node.port) as peer:
        peer.associate()
        assert peer.store(image).Status == 0xA700
        assert stored(node) == []
        assert leftovers(node) == []


def test_a_refused_data_set_without_end_is_aborted(tmp_path: Path):
    (image,) = images(1)
    with receiver(tmp_path, max_instance_mb=0.0001) as node, scripted_peer(node.port) as peer:
        peer.associate()
        peer.say(pdu(pdv(store_command(image), COMMAND | LAST)), *[pdu(pdv(bytes(60), 0))] * 5)
        assert peer.hear() == abort_pdu(0)
        assert leftovers(node) == []


def test_a_connection_lost_within_a_pdu_leaves_nothing(node: Receiver):
    (image,) = images(1)
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.say(pdu(pdv(store_command(image), COMMAND | LAST)), pdu(pdv(data_set(image), LAST))[:-20])
    node.finish()
    assert stored(node) == []
    assert leftovers(node) == []


def test_an_abort_within_a_message_leaves_nothing_and_keeps_what_was_answered(node: Receiver):
    first, second = images(2)
    with scripted_peer(node.port) as peer:
        peer.associate()
        assert peer.store(first).Status == 0
        peer.say(pdu(pdv(store_command(second), COMMAND | LAST)), pdu(pdv(data_set(second)[:50], 0)), abort_pdu(0))
        assert peer.hear() == b""
    node.finish()
    assert stored(node) == [first]
    assert leftovers(node) == []
    assert node.spool.open_associations() == frozenset()


@pytest.mark.parametrize(("said", "reason"), [
    (pack(">BxI", 4, 0xFFFFFFF0), 6),
    (associate_rq([(CT, EXPLICIT)]), 2),
    (pack(">BxI", 9, 4) + b"abcd", 1),
    (pdu(pdv(b"data before its command", LAST)), 6),
    (pdu(pdv(b"\x08\x00\x00\x01\x02\x00\x00\x00\x01\x00", COMMAND | LAST)), 6),
    (pdu(pdv(command(CommandField=0x30, MessageID=1, CommandDataSetType=0x0101), COMMAND | LAST, 99)), 6),
    (pdu(pdv(bytes(70_000), COMMAND)), 6),
])
def test_what_the_standard_forbids_is_answered_with_an_abort_that_says_why(node: Receiver, said: bytes, reason: int):
    with scripted_peer(node.port) as peer:
        peer.associate()
        assert peer.say(said).hear() == abort_pdu(reason)
        peer.connection.shutdown(socket.SHUT_WR)
        assert peer.hear() == b""


@pytest.mark.parametrize(("said", "reason"), [
    (b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", 2),
    (RELEASE_RQ, 2),
    (pack(">BxI", 1, 60) + bytes(60), 6),
    (pack(">BxI", 1, 1 << 30), 6),
])
def test_a_connection_that_does_not_begin_with_a_readable_request_is_aborted(node: Receiver, said: bytes, reason: int):
    with scripted_peer(node.port) as peer:
        assert peer.say(said).hear() == abort_pdu(reason)


@pytest.mark.parametrize(("titles", "answer"), [
    ({"calling": "STRANGER"}, (1, 1, 3)), ({"called": "SOMEBODY"}, (1, 1, 7)),
])
def test_an_unknown_caller_or_a_wrong_called_title_is_rejected(
    node: Receiver, titles: dict[str, str], answer: tuple[int, int, int],
):
    with scripted_peer(node.port) as peer:
        assert peer.associate(**titles) == reject_pdu(*answer)


def test_a_known_title_from_a_foreign_address_is_rejected(tmp_path: Path):
    peers = {"ct": Peer(name="ct", ae_title="SCANNER", addresses=("192.0.2.0/24",))}
    with receiver(tmp_path, peers=peers) as node, scripted_peer(node.port) as peer:
        assert peer.associate() == reject_pdu(1, 1, 3)


def test_a_peer_over_its_limit_is_rejected_for_now_and_welcome_after_a_release(tmp_path: Path):
    with receiver(tmp_path, max_associations_per_peer=1) as node:
        with scripted_peer(node.port) as first, scripted_peer(node.port) as second:
            first.associate()
            assert second.associate() == reject_pdu(2, 3, 2)
            assert first.say(RELEASE_RQ).hear() == RELEASE_RP
            first.connection.shutdown(socket.SHUT_WR)
            assert first.hear() == b""
        with scripted_peer(node.port) as third:
            assert third.associate()[0] == 0x02


def test_all_peers_together_have_a_limit_too(tmp_path: Path):
    limits = {"max_associations": 1, "unknown_peers": "accept"}
    with receiver(tmp_path, **limits) as node, scripted_peer(node.port) as first, scripted_peer(node.port) as second:
        first.associate(calling="ONE")
        assert second.associate(calling="TWO") == reject_pdu(2, 3, 2)


def test_echo_is_answered_and_an_operation_of_no_service_here_is_0211(node: Receiver):
    echo = command(AffectedSOPClassUID=VERIFICATION, CommandField=0x30, MessageID=5, CommandDataSetType=0x0101)
    find = command(AffectedSOPClassUID=VERIFICATION, CommandField=0x20, MessageID=6, CommandDataSetType=1, Priority=0)
    cancel = command(CommandField=0x0FFF, MessageIDBeingRespondedTo=6, CommandDataSetType=0x0101)
    with scripted_peer(node.port) as peer:
        peer.associate((VERIFICATION, EXPLICIT))
        answer = peer.say(pdu(pdv(echo, COMMAND | LAST))).response()
        assert (answer.CommandField, answer.Status) == (0x8030, 0)
        peer.say(pdu(pdv(find, COMMAND | LAST), pdv(b"\x08\x00\x52\x00CS\0\0", LAST)), pdu(pdv(cancel, COMMAND | LAST)))
        answer = peer.response()
        assert (answer.CommandField, answer.Status) == (0x8020, 0x0211)
        assert peer.say(pdu(pdv(echo, COMMAND | LAST))).response().Status == 0


def test_a_silent_association_is_aborted_and_its_folder_closed(tmp_path: Path):
    (image,) = images(1)
    with receiver(tmp_path, idle_timeout_s=0.5) as node, scripted_peer(node.port) as peer:
        peer.associate()
        assert peer.store(image).Status == 0
        assert peer.hear() == abort_pdu(0)
        peer.connection.shutdown(socket.SHUT_WR)
        assert peer.hear() == b""
        assert node.spool.open_associations() == frozenset()


def silent_connections(stack: ExitStack, port: int, count: int, *, source: str) -> list[socket.socket]:
    """Connect and say nothing."""
    return [stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)))
            for _ in range(count)]


@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.2"])
def test_connections_that_say_nothing_keep_nobody_out_not_even_from_their_own_address(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str):
    monkeypatch.setattr(scp, "ARTIM_S", 3600.0)
    echo = command(AffectedSOPClassUID=VERIFICATION, CommandField=0x30, MessageID=5, CommandDataSetType=0x0101)
    with receiver(tmp_path, max_associations=1) as node, ExitStack() as stack:
        silent = silent_connections(stack, node.port, 64, source=source)
        assert silent[0].recv(1) == b""
        with scripted_peer(node.port) as peer:
            assert peer.associate((VERIFICATION, EXPLICIT))[0] == 0x02
            silent_connections(stack, node.port, 64, source=source)
            assert peer.say(pdu(pdv(echo, COMMAND | LAST))).response().Status == 0
            assert peer.say(RELEASE_RQ).hear() == RELEASE_RP


def test_rejected_callers_that_never_hang_up_keep_nobody_out(tmp_path: Path):
    with receiver(tmp_path, max_associations=1) as node, ExitStack() as stack:
        for _ in range(64):
            rejected = stack.enter_context(scripted_peer(node.port))
            assert rejected.associate(calling="STRANGER") == reject_pdu(1, 1, 3)
        with scripted_peer(node.port) as peer:
            assert peer.associate()[0] == 0x02


@pytest.mark.parametrize("said", [b"", associate_rq([(CT, EXPLICIT)])[:40]])
def test_a_connection_that_does_not_finish_its_request_is_closed_without_a_word_when_artim_expires(
        node: Receiver, monkeypatch: pytest.MonkeyPatch, said: bytes):
    monkeypatch.setattr(scp, "ARTIM_S", 0.3)
    with scripted_peer(node.port) as peer:
        assert peer.say(said).hear() == b""


def test_a_request_that_dribbles_is_cut_before_its_end(node: Receiver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(scp, "ARTIM_S", 0.3)
    request = associate_rq([(CT, EXPLICIT)])
    with scripted_peer(node.port) as peer:
        said = 0
        while said < len(request) and not select.select([peer.connection], [], [], 0.05)[0]:
            peer.say(request[said:said + 1])
            said += 1
        assert said < len(request)
        with suppress(ConnectionResetError):  # our last byte may have met a closed socket
            assert peer.connection.recv(1) == b""


def test_a_stop_lets_the_image_under_way_finish_and_then_aborts(node: Receiver):
    (image,) = images(1)
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.say(pdu(pdv(store_command(image), COMMAND | LAST)), pdu(pdv(data_set(image)[:30], 0)))
        while not leftovers(node):  # the receiver is inside the message
            threading.Event().wait(0.01)
        node.stop.set()
        peer.say(pdu(pdv(data_set(image)[30:], LAST)))
        assert peer.response().Status == 0
        assert peer.hear() == abort_pdu(0)
    node.finish()
    assert stored(node) == [image]


def test_a_port_that_is_taken_is_a_config_error_that_names_it(node: Receiver, tmp_path: Path):
    other = NodeSettings(bind="127.0.0.1", port=node.port, data_dir=tmp_path)
    with pytest.raises(ConfigError, match=rf"port = {node.port}: Address already in use"):
        scp.serve(other, ReceiveSettings(), {}, Spool(tmp_path, min_free_bytes=0), stop=threading.Event(),
                  notify=lambda: None, ready=lambda: None)


def test_the_same_bytes_arrive_as_a_file_writer_would_have_written_them(node: Receiver, tmp_path: Path):
    (image,) = images(1)
    written = write_file(tmp_path / "written.dcm", image).read_bytes()
    with scripted_peer(node.port) as peer:
        peer.associate()
        peer.store(image)
    (arrival,) = node.spool.arrivals()
    assert arrival.path.read_bytes().endswith(written[-len(data_set(image)):])


def test_the_log_names_each_refused_sop_class_and_why_so_that_nothing_stored_explains_itself(
        node: Receiver, monkeypatch: pytest.MonkeyPatch):
    lines = told(monkeypatch)
    with scripted_peer(node.port) as peer:
        peer.associate((SEG, EXPLICIT), (SEG, IMPLICIT), (CT, "1.2.840.10008.1.2.4.100"), (VERIFICATION, EXPLICIT))
        assert peer.say(RELEASE_RQ).hear() == RELEASE_RP
    node.finish()
    (line,) = lines
    assert line == ("warning", 0, [
        f"{SEG} Segmentation Storage: not in [receive] sop_classes",
        f"{CT} CT Image Storage: transfer syntax MPEG2 Main Profile / Main Level is not taken"])


def test_many_refused_sop_classes_are_a_count_and_a_stored_image_is_no_warning(
        node: Receiver, monkeypatch: pytest.MonkeyPatch):
    lines = told(monkeypatch)
    (image,) = images(1)
    with scripted_peer(node.port) as peer:
        peer.associate((CT, EXPLICIT), *((f"1.2.3.{n}", EXPLICIT) for n in range(30)))
        assert peer.store(image).Status == 0
        peer.say(RELEASE_RQ).hear()
    node.finish()
    ((level, stored_count, refused),) = lines
    assert (level, stored_count, len(refused)) == ("info", 1, 21)
    assert refused[0] == "1.2.3.0: not in [receive] sop_classes"
    assert refused[-1] == "and 10 more"


def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, list[str]]]:
    """Collect level, count of stored images and refused contexts of each association's last line."""
    lines: list[tuple[str, int, list[str]]] = []
    for level in ("info", "warning"):
        monkeypatch.setattr(scp._log, level, lambda _event, *, stored, contexts_refused, level=level, **_: lines.append(
            (level, stored, contexts_refused)))
    return lines
