"""Audit messages reach their file and their server whole, in order and all of them, whatever is away meanwhile."""

from __future__ import annotations

import re
import socket
import threading

import pytest

from dicomnode.audit import Forwarder, Queue
from dicomnode.audit.forwarder import forward, sinks_of
from dicomnode.audit.sinks import FileSink, SinkAwayError, SyslogSink
from dicomnode.domain.audit import AuditSettings
from tests.certificates import Authority
from tests.live import until
from tests.syslog import SyslogServer

WHEN = rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
HEADER = re.compile(rb"<(\d+)>1 " + WHEN + rb" (\S+) dicomnode \d+ DICOM\+RFC3881 - \xef\xbb\xbf(.*)", re.DOTALL)
GOOD = b'<AuditMessage><EventIdentification EventOutcomeIndicator="0"/>%d</AuditMessage>'
BAD = b'<AuditMessage><EventIdentification EventOutcomeIndicator="8"/></AuditMessage>'


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca") / "ours")


@pytest.fixture(scope="module")
def pair(authority):
    return authority.issue("syslog", dns="localhost")


@pytest.fixture
def queue(tmp_path):
    return Queue(tmp_path / "audit", "syslog")


def to(port: int, authority: Authority, **more: str) -> SyslogSink:
    return SyslogSink(AuditSettings(syslog=f"localhost:{port}", syslog_ca=str(authority.ca), **more), "node1")


def bodies(frames: list[bytes]) -> list[bytes]:
    return [HEADER.fullmatch(frame)[3] for frame in frames]


def test_a_message_is_durable_before_put_returns_and_keeps_its_place(queue):
    for number in range(5):
        queue.put(GOOD % number)
    assert [path.read_bytes() for path in queue.oldest(10)] == [GOOD % number for number in range(5)]
    assert queue.backlog(2e10).waiting == 5
    assert queue.backlog(2e10).oldest_s > 0


def test_nobody_but_the_node_reads_what_waits(queue):
    queue.put(GOOD % 1)
    (path,) = queue.oldest(1)
    assert path.stat().st_mode & 0o777 == 0o600
    assert {folder.stat().st_mode & 0o777 for folder in path.parents[:3]} == {0o700}


def test_the_file_gets_one_line_for_each_message_and_only_grows(tmp_path, queue):
    sink = FileSink(tmp_path / "kept" / "audit.log")
    for number in range(3):
        queue.put(GOOD % number)
        assert forward(queue, sink) == 1
    assert (tmp_path / "kept" / "audit.log").read_bytes() == b"".join(GOOD % n + b"\n" for n in range(3))
    assert queue.backlog(0.0).waiting == 0


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path, queue):
    file = tmp_path / "audit.log"
    for number in range(2):
        queue.put(GOOD % number)
        forward(queue, FileSink(file))
        file.rename(tmp_path / f"moved.{number}")
    assert [(tmp_path / f"moved.{n}").read_bytes() for n in range(2)] == [GOOD % n + b"\n" for n in range(2)]


def test_a_line_that_a_crash_left_half_spoils_only_itself(tmp_path, queue):
    file = tmp_path / "audit.log"
    file.write_bytes(b"<AuditMess")
    queue.put(GOOD % 1)
    forward(queue, FileSink(file))
    assert file.read_bytes().split(b"\n") == [b"<AuditMess", GOOD % 1, b""]


def test_what_the_file_does_not_take_stays_in_the_queue(tmp_path, queue):
    (tmp_path / "audit.log").mkdir()
    queue.put(GOOD % 1)
    with pytest.raises(SinkAwayError, match="audit file cannot be written"):
        forward(queue, FileSink(tmp_path / "audit.log"))
    assert queue.backlog(0.0).waiting == 1


def test_the_server_gets_syslog_headers_and_octet_counts(queue, authority, pair):
    queue.put(GOOD % 7)
    queue.put(BAD)
    with SyslogServer(authority, pair) as server:
        forward(queue, to(server.port, authority))
        first, second = server.wait_for(2)
    assert HEADER.fullmatch(first).groups() == (b"85", b"node1", GOOD % 7)
    assert HEADER.fullmatch(second).groups() == (b"84", b"node1", BAD)
    assert queue.backlog(0.0).waiting == 0


def test_a_message_of_many_kilobytes_arrives_whole(queue, authority, pair):
    message = b"<AuditMessage>" + b"\xe5\x8c\xbb" * 40000 + b"</AuditMessage>"
    queue.put(message)
    with SyslogServer(authority, pair) as server:
        forward(queue, to(server.port, authority))
        assert bodies(server.wait_for(1)) == [message]


def test_the_node_shows_its_certificate_to_a_server_that_asks(queue, authority, pair):
    ours = authority.issue("node")
    queue.put(GOOD % 1)
    with SyslogServer(authority, pair, wants_client=True) as server:
        for _ in range(10):  # in TLS 1.3 the refusal comes after what we sent, sooner or later
            with pytest.raises(SinkAwayError):
                forward(queue, to(server.port, authority))
        assert queue.backlog(0.0).waiting == 1
        forward(queue, to(server.port, authority, syslog_certificate=str(ours.certificate), syslog_key=str(ours.key)))
        assert bodies(server.wait_for(1)) == [GOOD % 1]


def test_a_server_with_another_authority_or_name_gets_nothing(queue, authority, tmp_path):
    other = Authority(tmp_path / "theirs")
    queue.put(GOOD % 1)
    for theirs, trusted in ((other.issue("syslog", dns="localhost"), authority),
                            (authority.issue("elsewhere", dns="elsewhere.example"), authority)):
        with SyslogServer(authority, theirs) as server:
            with pytest.raises(SinkAwayError, match="certificate is not trusted"):
                forward(queue, to(server.port, trusted))
            assert server.frames == []
    assert queue.backlog(0.0).waiting == 1


def test_a_connection_that_is_torn_down_loses_nothing(queue, authority, pair):
    for number in range(50):
        queue.put(GOOD % number + b" " * 20000)
    with SyslogServer(authority, pair, drops=1) as server:
        sink = to(server.port, authority)
        with pytest.raises(SinkAwayError):
            forward(queue, sink)
        assert queue.backlog(0.0).waiting == 50
        forward(queue, sink)
        assert [int(re.search(rb"/>(\d+)<", body)[1]) for body in bodies(server.wait_for(50))] == list(range(50))


def test_what_was_said_while_the_server_was_away_comes_when_it_is_back_in_order(tmp_path, authority, pair):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = AuditSettings(file=str(tmp_path / "audit.log"), syslog=f"localhost:{port}", syslog_ca=str(authority.ca))
    queues = [Queue(tmp_path / "audit", name) for name in sinks_of(settings)]
    count = 40
    with Forwarder(tmp_path / "audit", sinks_of(settings), again_first_s=0.1):
        for number in range(count):
            for queue in queues:
                queue.put(GOOD % number)
        file = tmp_path / "audit.log"
        until(lambda: file.exists() and file.read_bytes().count(b"\n") == count, "the file has all")
        assert queues[1].backlog(0.0).waiting == count
        with SyslogServer(authority, pair, port=port) as server:
            assert bodies(server.wait_for(count)) == [GOOD % number for number in range(count)]
            until(lambda: queues[1].backlog(0.0).waiting == 0, "nothing waits any more")
    assert file.read_bytes() == b"".join(GOOD % number + b"\n" for number in range(count))


def test_many_who_put_at_once_lose_nothing(queue):
    def put_twenty(first: int) -> None:
        for number in range(first, first + 20):
            queue.put(GOOD % number)

    threads = [threading.Thread(target=put_twenty, args=(n * 100,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [int(re.search(rb"/>(\d+)<", path.read_bytes())[1]) for path in queue.oldest(1000)]
    assert sorted(numbers) == sorted(n * 100 + i for n in range(8) for i in range(20))


def test_a_half_written_message_of_a_killed_process_is_never_sent(queue, tmp_path):
    queue.put(GOOD % 1)
    (path,) = queue.oldest(1)
    path.with_name("00000000000000000000-dead.part").write_bytes(b"<Aud")
    assert forward(queue, FileSink(tmp_path / "audit.log")) == 1
    assert (tmp_path / "audit.log").read_bytes() == GOOD % 1 + b"\n"
