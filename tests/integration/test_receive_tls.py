"""Associations over TLS, from real programs: who has a certificate of the hospital comes in, and nobody else."""

from __future__ import annotations

import random
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pynetdicom import AE, build_role

from dicomnode.domain.node import Peer
from dicomnode.receive import doors
from dicomnode.tls import Contexts
from tests.builders import ct_series, dataset, write_series
from tests.certificates import Authority, Pair, calling, files, listening
from tests.live import need, until
from tests.receiving import Receiver, free_port, receiver
from tests.upper_layer import COMMAND, CT, EXPLICIT, LAST, VERIFICATION, ScriptedPeer, associate_rq, command, pdu, pdv

COMMITMENT = "1.2.840.10008.1.20.1"
SERVE = """
import signal, sys, threading
from pathlib import Path
from dicomnode.domain.node import NodeSettings, ReceiveSettings
from dicomnode.receive import scp
from dicomnode.spool import Spool
from dicomnode.tls import Contexts, TlsFiles
root, port, tls_port, ca, certificate, key = Path(sys.argv[1]), *map(int, sys.argv[2:4]), *map(Path, sys.argv[4:])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
spool = Spool(root, min_free_bytes=0)
spool.prepare()
scp.serve(NodeSettings(bind="127.0.0.1", port=port, data_dir=root),
          ReceiveSettings(unknown_peers="accept", processes=2), {}, spool,
          stop=stop, notify=lambda: None, ready=lambda: print("ready", flush=True),
          tls=Contexts(TlsFiles(ca=ca, certificate=certificate, key=key), listens=True), tls_port=tls_port)
"""


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "hospital", "Hospital CA")


@pytest.fixture(scope="module")
def ours(hospital) -> Pair:
    return hospital.issue("node", dns="node.hospital")


@pytest.fixture(scope="module")
def scanner(hospital) -> Pair:
    return hospital.issue("scanner", dns="ct1.hospital")


@pytest.fixture(scope="module")
def other(hospital) -> Pair:
    return hospital.issue("other", dns="mr1.hospital")


@pytest.fixture
def node(tmp_path, hospital, ours) -> Iterator[Receiver]:
    with receiver(tmp_path / "spool", tls=listening(hospital, ours)) as running:
        yield running


def images(folder: Path, count: int = 4) -> list[Path]:
    rows = np.arange(count * 64 * 64, dtype=np.int16).reshape(count, 64, 64)
    return write_series(folder, ct_series(rows, seed=folder.name))


def dcmtk(program: str, port: int, *words: object) -> subprocess.CompletedProcess[str]:
    options = [str(one) for one in words if not (isinstance(one, Path) and one.suffix == ".dcm")]
    paths = [str(one) for one in words if isinstance(one, Path) and one.suffix == ".dcm"]
    whom = ["-aet", "SCANNER", "-aec", "DICOMNODE", *options, "127.0.0.1", str(port), *paths]
    return subprocess.run([need(program, "dcmtk"), "-v", *whom], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False, timeout=120)


def shown(authority: Authority, pair: Pair) -> tuple[object, ...]:
    """dcmtk's options for a client with this certificate."""
    return ("+tls", pair.key, pair.certificate, "+cf", authority.ca)


def by_uid(paths) -> dict[str, object]:
    return {one.SOPInstanceUID: one for one in map(dcmread, paths)}


def arrived(node: Receiver) -> list[Path]:
    return [arrival.path for arrival in node.spool.arrivals()]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_each_version_carries_every_image_unchanged(tmp_path, hospital, ours, scanner, version: str):
    paths = images(tmp_path / "sent")
    with receiver(tmp_path / "spool", tls=listening(hospital, ours, versions=(version,))) as node:
        sent = dcmtk("storescu", node.tls_port, *shown(hospital, scanner), *paths)
        assert sent.returncode == 0, sent.stdout
        assert by_uid(arrived(node)) == by_uid(paths)
        with guarded(node, calling(hospital, scanner)) as session:
            assert session.version() == f"TLSv{version}"
            assert session.cipher()[0].endswith("AES256-GCM-SHA384" if version == "1.2" else "AES_256_GCM_SHA384")


@pytest.mark.parametrize("profile", ["+py", "+px", "+pz"])
def test_dcmtk_s_profiles_of_bcp_195_connect(node, hospital, scanner, profile: str):
    assert dcmtk("echoscu", node.tls_port, *shown(hospital, scanner), profile).returncode == 0


def refused_callers(hospital: Authority, folder: Path) -> Mapping[str, tuple[tuple[object, ...], str]]:
    """Name → dcmtk's options, and what the watch is told."""
    elsewhere = Authority(folder / "elsewhere", "Another CA")
    return {
        "no certificate": (("+tla", "-ic"), "TLS: it showed no certificate"),
        "of another authority": (("+tls", *_files(elsewhere.issue("stranger")), "+cf", hospital.ca),
                                 "TLS: its certificate is not accepted: unable to get local issuer certificate"),
        "expired": (("+tls", *_files(hospital.issue("old", expired=True)), "+cf", hospital.ca),
                    "TLS: its certificate is not accepted: certificate has expired"),
        "plain TCP": ((), "TLS: it speaks no TLS, or a version that the profile forbids"),
    }


def _files(pair: Pair) -> tuple[Path, Path]:
    return pair.key, pair.certificate


def test_whoever_does_not_prove_himself_is_refused_and_told_of_and_the_others_are_served(
    node, hospital, scanner, tmp_path,
):
    for who, (options, reason) in refused_callers(hospital, tmp_path).items():
        assert dcmtk("echoscu", node.tls_port, *options).returncode != 0, who
        until(lambda: node.refused, "the watch is told", 30)
        assert node.refused.pop() == {"address": "127.0.0.1", "calling": "", "reason": reason}
        assert node.refused == []
    assert dcmtk("echoscu", node.tls_port, *shown(hospital, scanner)).returncode == 0
    assert dcmtk("echoscu", node.port).returncode == 0


def test_tls_1_1_is_refused_and_told_of(node, hospital, scanner):
    asked = subprocess.run(
        [need("openssl", "openssl"), "s_client", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0", "-cert", scanner.certificate,
         "-key", scanner.key, "-connect", f"127.0.0.1:{node.tls_port}"],
        input="", capture_output=True, text=True, check=False, timeout=60)
    assert asked.returncode != 0
    assert "alert protocol version" in asked.stderr
    until(lambda: node.refused, "the watch is told", 30)
    assert node.refused[0]["reason"] == "TLS: it offers no TLS version that [tls] versions allows"


def test_tls_on_the_plain_port_is_told_as_what_it_is(node, hospital, scanner):
    assert dcmtk("echoscu", node.port, *shown(hospital, scanner)).returncode != 0
    assert "TLS on the port of plain associations?" in node.refused[0]["reason"]


def test_without_plain_only_the_tls_port_answers(tmp_path, hospital, ours, scanner):
    with receiver(tmp_path, tls=listening(hospital, ours), plain=False) as node:
        assert dcmtk("echoscu", node.tls_port, *shown(hospital, scanner)).returncode == 0
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", node.port), timeout=10)


def test_a_peer_with_names_is_known_by_its_certificate_alone(tmp_path, hospital, ours, scanner, other):
    peers = {"ct": Peer(name="ct", ae_title="SCANNER", tls_names=("CT1.hospital",))}
    with receiver(tmp_path, peers=peers, tls=listening(hospital, ours)) as node:
        assert dcmtk("echoscu", node.tls_port, *shown(hospital, scanner)).returncode == 0
        refused = dcmtk("echoscu", node.tls_port, *shown(hospital, other))
        assert "Calling AE Title Not Recognized" in refused.stdout
        assert "mr1.hospital, other" in node.refused[0]["reason"]
        assert "carries none of [peers.ct] tls_names" in node.refused[0]["reason"]
        assert "Calling AE Title Not Recognized" in dcmtk("echoscu", node.port).stdout
        assert node.refused[1]["reason"] == "'SCANNER' calls over plain TCP, which [peers.ct] tls_names forbids"


def guarded(node: Receiver, contexts: Contexts) -> ssl.SSLSocket:
    connection = socket.create_connection(("127.0.0.1", node.tls_port), timeout=20)
    return contexts.current().wrap_socket(connection, server_hostname="127.0.0.1")


def echo(peer: ScriptedPeer) -> int:
    asked = command(AffectedSOPClassUID=VERIFICATION, CommandField=0x30, MessageID=1, CommandDataSetType=0x101)
    peer.say(pdu(pdv(asked, COMMAND | LAST)))
    return int(peer.response().Status)


def test_records_of_one_byte_each_make_the_same_association(node, hospital, scanner):
    with guarded(node, calling(hospital, scanner)) as connection:
        peer = ScriptedPeer(connection)
        request = associate_rq([(VERIFICATION, "1.2.840.10008.1.2")])
        assert peer.say(*(request[place:place + 1] for place in range(len(request)))).hear()[:1] == b"\x02"
        assert echo(peer) == 0


def test_new_files_are_taken_without_a_restart_and_open_associations_go_on(
    tmp_path, hospital, ours, other, scanner,
):
    mine = Pair(tmp_path / "node.pem", tmp_path / "node.key")
    _put(ours, mine)
    with receiver(tmp_path / "spool", tls=listening(hospital, mine)) as node:
        ask = calling(hospital, scanner)
        with guarded(node, ask) as connection:
            peer = ScriptedPeer(connection)
            peer.associate((VERIFICATION, "1.2.840.10008.1.2"))
            _put(other, mine)
            with guarded(node, ask) as fresh:
                assert ("commonName", "other") in [pair for part in fresh.getpeercert()["subject"] for pair in part]
            mine.key.write_text("no key any more\n")
            with guarded(node, ask) as fresh:
                assert ("commonName", "other") in [pair for part in fresh.getpeercert()["subject"] for pair in part]
            assert echo(peer) == 0
        assert node.refused == []


def _put(pair: Pair, place: Pair) -> None:
    shutil.copy(pair.certificate, place.certificate)
    shutil.copy(pair.key, place.key)


def test_noise_on_the_tls_port_ends_each_connection_and_nothing_else(node, hospital, scanner):
    hello = socket.create_connection(("127.0.0.1", node.tls_port), timeout=60)
    noise = random.Random(5)  # noqa: S311  the same noise each time
    with hello:
        for number in range(40):
            head = b"\x16\x03\x01" if number % 2 else b""
            with socket.create_connection(("127.0.0.1", node.tls_port), timeout=60) as stranger, suppress(OSError):
                stranger.sendall(head + noise.randbytes(noise.randrange(1, 600)))
                stranger.shutdown(socket.SHUT_WR)
                while stranger.recv(4096):
                    pass
        assert dcmtk("echoscu", node.tls_port, *shown(hospital, scanner)).returncode == 0
    assert all(told["reason"].startswith("TLS: ") for told in node.refused)


def test_a_caller_that_never_shakes_hands_is_cut_and_holds_up_nobody(node, hospital, scanner, monkeypatch):
    monkeypatch.setattr(doors, "HANDSHAKE_S", 5.0)
    with socket.create_connection(("127.0.0.1", node.tls_port), timeout=60) as silent:
        assert dcmtk("echoscu", node.tls_port, *shown(hospital, scanner)).returncode == 0
        assert silent.recv(1) == b""


def test_a_silent_association_is_aborted_under_tls_too(tmp_path, hospital, ours, scanner):
    with receiver(tmp_path, tls=listening(hospital, ours), idle_timeout_s=1.0) as node, \
            guarded(node, calling(hospital, scanner)) as connection:
        peer = ScriptedPeer(connection)
        assert peer.associate((CT, EXPLICIT))[:1] == b"\x02"
        connection.settimeout(60)
        assert peer.hear()[:1] == b"\x07"


def test_pynetdicom_sends_and_reports_commitment_over_tls(node, tmp_path, hospital, scanner):
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(CT, [EXPLICIT])
    entity.add_requested_context(COMMITMENT)
    association = entity.associate(
        "127.0.0.1", node.tls_port, ae_title="DICOMNODE", ext_neg=[build_role(COMMITMENT, scp_role=True)],
        tls_args=(calling(hospital, scanner).current(), "127.0.0.1"))
    assert association.is_established
    assert [association.send_c_store(path).Status for path in images(tmp_path)] == [0x0000] * 4
    done = dataset(TransactionUID="2.25.9", ReferencedSOPSequence=[
        dataset(ReferencedSOPClassUID=CT, ReferencedSOPInstanceUID="2.25.1")])
    status, _ = association.send_n_event_report(done, 1, COMMITMENT, f"{COMMITMENT}.1")
    association.release()
    assert status.Status == 0x0000
    assert len(arrived(node)) == 4
    assert len(list(node.spool.events())) == 1


def test_two_processes_serve_both_ports_and_end_when_they_are_told(tmp_path, hospital, ours, scanner):
    made = files(hospital, ours)
    port, tls_port = free_port(), free_port()
    words = [str(one) for one in (tmp_path / "spool", port, tls_port, made.ca, made.certificate, made.key)]
    started = [subprocess.Popen([sys.executable, "-c", SERVE, *words], stdout=subprocess.PIPE, text=True)
               for _ in range(2)]
    try:
        assert [process.stdout and process.stdout.readline() for process in started] == ["ready\n"] * 2
        for _ in range(4):
            assert dcmtk("echoscu", tls_port, *shown(hospital, scanner)).returncode == 0
            assert dcmtk("echoscu", port).returncode == 0
        with socket.create_connection(("127.0.0.1", tls_port)):  # in the middle of its handshake
            for process in started:
                process.terminate()
            assert [process.wait(60) for process in started] == [0, 0]
    finally:
        for process in started:
            process.kill()
            process.wait()
            if process.stdout:
                process.stdout.close()
