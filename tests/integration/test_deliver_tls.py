"""Results over TLS to real and scripted peers: the right certificate gets them, every other one a sentence."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import dcmread

from dicomnode.cli import cli
from dicomnode.deliver import echo, request_commitment, send_files
from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.node import Peer
from dicomnode.errors import DeliveryError, PeerUnreachable, TlsFailed, Verdict
from dicomnode.tls import Contexts
from tests.builders import ct_series, write_series
from tests.certificates import Authority, Pair, calling, listening
from tests.live import free_port, need, until
from tests.peers import Talk

PATIENCE_S = 60.0


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "hospital", "Hospital CA")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "elsewhere", "Another CA")


@pytest.fixture(scope="module")
def ours(hospital) -> Pair:
    return hospital.issue("node")


@pytest.fixture(scope="module")
def pacs(hospital) -> Pair:
    return hospital.issue("pacs", dns="pacs.hospital")


@pytest.fixture
def images(tmp_path) -> list[Path]:
    return write_series(tmp_path / "ct", ct_series(np.arange(3 * 64 * 64, dtype=np.int16).reshape(3, 64, 64)))


def peer_at(port: int, **changes: object) -> Peer:
    return replace(Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=port, tls=True), **changes)


@contextmanager
def storescp(folder: Path, authority: Authority, pair: Pair, tls: Contexts) -> Iterator[Peer]:
    """dcmtk's receiver under TLS, which demands a certificate too."""
    folder.mkdir()
    peer = peer_at(free_port())
    process = subprocess.Popen(
        [need("storescp", "dcmtk"), "-od", str(folder), "+tls", str(pair.key), str(pair.certificate), "+cf",
         str(authority.ca), str(peer.port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def listens() -> bool:
        with suppress(DeliveryError):
            echo(node_ae_title="NODE", peer=replace(peer, tls_names=()), timeout_s=PATIENCE_S, tls=tls)
            return True
        return False
    try:
        until(listens, "storescp answers")
        yield peer
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def by_uid(paths) -> dict[str, object]:
    return {one.SOPInstanceUID: one for one in map(dcmread, paths)}


def send(peer: Peer, paths: list[Path], tls: Contexts | None) -> int:
    return send_files(node_ae_title="NODE", peer=peer, paths=paths, timeout_s=PATIENCE_S, tls=tls)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_storescp_gets_every_image_in_either_version(images, tmp_path, hospital, ours, pacs, version: str):
    tls = calling(hospital, ours, versions=(version,))
    with storescp(tmp_path / "out", hospital, pacs, tls) as peer:
        assert send(replace(peer, tls_names=("pacs.hospital",)), images, tls) == 3
    assert by_uid((tmp_path / "out").iterdir()) == by_uid(images)


def test_a_pacs_that_does_not_take_our_certificate_is_tried_again_later(
    images, tmp_path, hospital, elsewhere, ours, pacs,
):
    with storescp(tmp_path / "out", hospital, pacs, calling(hospital, ours)) as peer:
        strangers = calling(hospital, elsewhere.issue("stranger"))
        with pytest.raises(TlsFailed, match="it does not accept our certificate: ") as failed:
            send(peer, images, strangers)
    assert failed.value.verdict is Verdict.RETRY
    assert list((tmp_path / "out").iterdir()) == []


@contextmanager
def scripted(contexts: Contexts | None, script: Callable[[Talk], None]) -> Iterator[Peer]:
    """A peer that plays a script to its first caller, after the handshake."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(PATIENCE_S)

        def play() -> None:
            with suppress(OSError):
                connection, _ = listener.accept()
                connection.settimeout(PATIENCE_S)
                with connection:
                    if contexts is None:
                        script(Talk(connection))
                        return
                    with contexts.current().wrap_socket(connection, server_side=True) as guarded:
                        script(Talk(guarded))

        thread = threading.Thread(target=play)
        thread.start()
        yield peer_at(listener.getsockname()[1])
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


def nothing(talk: Talk) -> None:
    with suppress(OSError, ConnectionError):
        talk.read_pdu()


def test_a_pacs_with_an_expired_certificate_gets_nothing(images, hospital, ours):
    expired = listening(hospital, hospital.issue("old", expired=True))
    with scripted(expired, nothing) as peer, pytest.raises(TlsFailed, match="certificate has expired"):
        send(peer, images, calling(hospital, ours))


def test_a_pacs_of_another_authority_gets_nothing(images, hospital, elsewhere, ours):
    theirs = listening(elsewhere, elsewhere.issue("pacs"))
    with scripted(theirs, nothing) as peer, pytest.raises(TlsFailed, match="its certificate is not accepted"):
        send(peer, images, calling(hospital, ours))


def test_a_pacs_with_another_name_gets_nothing(images, hospital, ours, pacs):
    heard: list[bytes] = []

    def listen(talk: Talk) -> None:
        heard.append(talk.socket.recv(1))

    with scripted(listening(hospital, pacs), listen) as peer, \
            pytest.raises(TlsFailed, match=r"carries none of \[peers.pacs\] tls_names = \['archive.hospital'\]"):
        send(replace(peer, tls_names=("archive.hospital",)), images, calling(hospital, ours))
    assert heard == [b""]


def test_a_pacs_without_tls_gets_nothing_in_the_clear(images, hospital, ours):
    heard: list[bytes] = []

    def listen(talk: Talk) -> None:
        heard.append(talk.socket.recv(1 << 16))

    with scripted(None, listen) as peer, pytest.raises(TlsFailed, match="does it speak TLS on this port"):
        send(peer, images, calling(hospital, ours))
    assert heard[0][:1] == b"\x16"
    assert b"NODE" not in heard[0]


def test_a_pacs_that_is_silent_in_the_handshake_is_unreachable(images, hospital, ours):
    over = threading.Event()
    with scripted(None, lambda _: over.wait(PATIENCE_S)) as peer:
        with pytest.raises(PeerUnreachable, match="silent in the TLS handshake"):
            send_files(node_ae_title="NODE", peer=peer, paths=images, timeout_s=1.0, tls=calling(hospital, ours))
        over.set()


def test_without_our_certificate_nothing_is_sent_and_the_reason_is_ours(images, tmp_path, hospital, ours):
    with scripted(None, nothing) as peer, pytest.raises(TlsFailed, match=r"there is no \[tls\] table"):
        send(peer, images, None)
    broken = calling(hospital, Pair(tmp_path / "none.pem", ours.key))
    with scripted(None, nothing) as peer, pytest.raises(TlsFailed, match="our own side of TLS cannot be used"):
        send(peer, images, broken)


def test_a_pacs_that_ends_tls_in_the_middle_of_an_object_is_unreachable(images, hospital, ours, pacs):
    def stop_reading(talk: Talk) -> None:
        talk.accept()
        talk.read_pdu()

    with scripted(listening(hospital, pacs), stop_reading) as peer, pytest.raises(DeliveryError) as failed:
        send(peer, images, calling(hospital, ours))
    assert failed.value.verdict is Verdict.RETRY


def test_storage_commitment_is_asked_for_under_tls(hospital, ours, pacs):
    asked: list[bytes] = []

    def commit(talk: Talk) -> None:
        talk.accept()
        context_id, command, data = talk.read_message()
        asked.append(data)
        talk.respond(context_id, command, 0)
        talk.release()

    with scripted(listening(hospital, pacs), commit) as peer:
        request_commitment(node_ae_title="NODE", peer=peer, transaction_uid="2.25.7", timeout_s=PATIENCE_S,
                           refs=[InstanceRef(sop_class_uid="1.2.3", sop_instance_uid="2.25.8")],
                           tls=calling(hospital, ours))
    assert b"2.25.7" in asked[0]


def test_the_send_command_and_check_go_by_the_configuration(images, tmp_path, hospital, ours, pacs):
    config = tmp_path / "node.toml"
    with storescp(tmp_path / "out", hospital, pacs, calling(hospital, ours)) as peer:
        config.write_text(
            f'[node]\nport = {free_port()}\n[receive]\nmin_free_gb = 0\n[retention]\nfree_gb_wanted = 0\n'
            f'[tls]\nport = {free_port()}\ncertificate = "{ours.certificate}"\nkey = "{ours.key}"\n'
            f'ca = "{hospital.ca}"\n[peers.pacs]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {peer.port}\n'
            "tls = true\n")
        command = ["--config", str(config), "send", str(images[0].parent), "--to", "pacs"]
        sent = CliRunner().invoke(cli, command)
        assert sent.exit_code == 0, sent.output
    assert by_uid((tmp_path / "out").iterdir()) == by_uid(images)
    looked = CliRunner().invoke(cli, ["--config", str(config), "check"])
    assert "O=Hospital, CN=node, valid until" in looked.output
    assert "10 days; ask its authority for a new one" in looked.output or ": 9 days; ask" in looked.output
