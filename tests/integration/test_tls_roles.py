"""TLS through the roles: what the receiver and the sender make of ``[tls]``, and what a person is told."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomnode.deliver import echo
from dicomnode.domain.node import Peer
from dicomnode.ledger.engine import Ledger
from tests.certificates import Authority, Pair, calling
from tests.ledger_rows import STUDY, a_closed_study
from tests.live import free_port, need, until
from tests.stepped import Stepped, a_study, at, peer_toml


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "hospital")


@pytest.fixture(scope="module")
def ours(hospital) -> Pair:
    return hospital.issue("node")


def table(authority: Authority, pair: Pair, port: int = 0) -> str:
    return (f'[tls]\nport = {port}\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"\n'
            f'ca = "{authority.ca}"\n')


@contextmanager
def storescp(folder: Path, port: int, authority: Authority, pair: Pair, *options: str) -> Iterator[None]:
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        [need("storescp", "dcmtk"), "-od", str(folder), "+tls", str(pair.key), str(pair.certificate), "+cf",
         str(authority.ca), *options, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: _listens(port), "storescp listens")
        yield
    finally:
        process.terminate()
        process.wait(60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_delivery_waits_for_the_right_certificate_and_nothing_is_lost(
    tmp_path, sqlite_ledger: Ledger, monkeypatch, hospital, ours,
):
    now = [at(0)]
    monkeypatch.setattr("dicomnode.run.sender.utc_now", lambda: now[0])
    port = free_port()
    node = Stepped(tmp_path / "node", sqlite_ledger,
                   table(hospital, ours) + peer_toml("pacs", "PACS", port, tls=True, tls_names=["pacs"]))
    a_closed_study(sqlite_ledger, study=STUDY)
    node.a_delivery(a_study(tmp_path / "results", 2)[1], study=STUDY)

    def deliver(seconds: float) -> dict:
        now[0] = at(seconds)
        while node.sender.step(now[0]):
            pass
        return node.delivery()

    with storescp(tmp_path / "out", port, hospital, hospital.issue("expired", expired=True)):
        row = deliver(0)
        assert row["state"] == "scheduled"
        assert "TlsFailed: " in row["reason"]
        assert "certificate has expired" in row["reason"]
    with storescp(tmp_path / "out", port, hospital, hospital.issue("archive")):
        row = deliver(3600)
        assert row["state"] == "scheduled"
        assert "carries none of [peers.pacs] tls_names" in row["reason"]
    assert list((tmp_path / "out").iterdir()) == []
    with storescp(tmp_path / "out", port, hospital, hospital.issue("pacs"), "--ignore"):
        assert deliver(7200)["state"] == "completed"


def test_the_receiver_answers_on_both_ports_audits_refusals_and_keeps_its_certificate(tmp_path, hospital, ours):
    mine = Pair(tmp_path / "node.pem", tmp_path / "node.key")
    shutil.copy(ours.certificate, mine.certificate)
    shutil.copy(ours.key, mine.key)
    port, tls_port = free_port(), free_port()
    config = tmp_path / "node.toml"
    config.write_text(
        f'[node]\nbind = "127.0.0.1"\nport = {port}\n[receive]\nmin_free_gb = 0\n[retention]\nfree_gb_wanted = 0\n'
        f'[audit]\nfile = "audit.xml"\n{table(hospital, mine, tls_port)}[peers.scanner]\nae_title = "SCANNER"\n')
    ask = calling(hospital, hospital.issue("scanner"))
    with (tmp_path / "log").open("w") as log, subprocess.Popen(
            [sys.executable, "-m", "dicomnode", "--config", str(config), "receive"], stdout=log) as process:
        try:
            until(lambda: _listens(tls_port), "the receiver listens")
            for over_tls in (True, False):
                us = Peer(name="us", ae_title="DICOMNODE", host="127.0.0.1", port=tls_port if over_tls else port,
                          tls=over_tls)
                assert echo(node_ae_title="SCANNER", peer=us, timeout_s=60, tls=ask) > 0
            with socket.create_connection(("127.0.0.1", tls_port), timeout=60) as stranger:
                stranger.sendall(b"\x01\x00\x00\x00\x00\x10" + bytes(16))
                assert stranger.recv(7)[:1] in {b"\x15", b""}
            refused = until(lambda: _events(tmp_path / "log", "association_refused"), "the refusal is logged")
            assert refused[0]["reason"].startswith("TLS: it speaks no TLS")
            told = until(lambda: [*(tmp_path / "data" / "audit").rglob("*.xml")], "the refusal is audited")
            assert any("it speaks no TLS" in one.read_text() for one in told)
            mine.key.write_text("no key")
            us = Peer(name="us", ae_title="DICOMNODE", host="127.0.0.1", port=tls_port, tls=True)
            assert echo(node_ae_title="SCANNER", peer=us, timeout_s=60, tls=ask) > 0
            assert _events(tmp_path / "log", "tls_files_not_taken")
            looked = subprocess.run([sys.executable, "-m", "dicomnode", "--config", str(config), "status"], text=True,
                                    capture_output=True, check=False, timeout=120)
            assert "TLS fails: [tls] certificate = " in looked.stdout
        finally:
            process.terminate()
            assert process.wait(60) == 0


def _events(log: Path, event: str) -> list[dict]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line.endswith("}")]
    return [line for line in lines if line["event"] == event]


def test_a_receiver_with_broken_files_says_so_and_does_not_start(tmp_path, hospital, ours):
    config = tmp_path / "node.toml"
    config.write_text(f'[node]\nbind = "127.0.0.1"\nport = {free_port()}\n'
                      + table(hospital, Pair(ours.certificate, tmp_path / "none.key"), free_port()))
    started = subprocess.run([sys.executable, "-m", "dicomnode", "--config", str(config), "receive"], text=True,
                             capture_output=True, check=False, timeout=120)
    assert started.returncode == 78
    assert "[tls] certificate = " in started.stderr
    assert "No such file or directory" in started.stderr
