"""SIGKILL under the supervisor with a shipped model; afterwards a restart is all that is needed."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from pydicom import dcmread

from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.demo.study import write_phantom_study
from dicomnode.domain.node import Peer
from dicomnode.errors import DicomNodeError
from tests.live import LiveNode, until

LEASES = "[worker]\nlease_s = 3.0\nbackoff_s = 0.5\n[delivery]\nlease_s = 3.0\nbackoff_s = 0.5\n"
ROUTES = '[[routes]]\nname = "chest-ct"\nmodel = ["demo_chest"]\nto = ["pacs"]\n'

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    write_phantom_study(folder, seed=11)
    return sorted(folder.glob("*.dcm"))


@pytest.fixture
def pacs(tmp_path):
    with ReceivingPacs(tmp_path / "pacs") as receiving:
        yield receiving


@pytest.fixture
def node(tmp_path, pacs):
    peers = (f'[peers.scanner]\nae_title = "SCANNER"\n[peers.pacs]\nae_title = "DEMOPACS"\nhost = "127.0.0.1"\n'
             f"port = {pacs.port}\n")
    live = LiveNode(tmp_path / "node", peers=peers, routes=ROUTES, extra=LEASES)
    yield live.start()
    live.stop()


def send(node: LiveNode, paths: list[Path], acknowledged: list[Path] | None = None) -> None:
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)

    def note(count: int, _total: int) -> None:
        if acknowledged is not None:
            acknowledged[:] = paths[:count]

    send_files(node_ae_title="SCANNER", peer=us, paths=paths, timeout_s=30, progress=note)


def kill(node: LiveNode, role: str) -> None:
    for pid in node.pids(role):
        os.kill(pid, signal.SIGKILL)


def data_set_digest(path: Path) -> str:
    found = dcmread(path)
    return hashlib.sha256(found.SOPInstanceUID.encode() + found.PixelData).hexdigest()


def stored(node: LiveNode) -> Counter[str]:
    return Counter(data_set_digest(p) for folder in ("store", "arrivals", "quarantine")
                   for p in (node.spool / folder).rglob("*.dcm"))


def assert_exactly_one_result_set(pacs: ReceivingPacs) -> None:
    objects = [dcmread(p) for p in pacs.folder.rglob("*.dcm")]
    assert len({o.SOPInstanceUID for o in objects}) == len(objects)
    kinds = Counter((o.Modality, o.SeriesDescription) for o in objects)
    assert kinds, "nothing reached the PACS"
    assert set(kinds.values()) == {1}, kinds


def test_every_image_acknowledged_before_everything_was_killed_is_there_after_a_restart(node, pacs, chest):
    acknowledged: list[Path] = []
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)

    def kill_at_the_sixtieth(count: int, _total: int) -> None:
        acknowledged[:] = chest[:count]
        if count == 60:
            node.kill_everything()

    with pytest.raises(DicomNodeError):
        send_files(node_ae_title="SCANNER", peer=us, paths=chest, timeout_s=10, progress=kill_at_the_sixtieth)
    assert len(acknowledged) >= 60
    node.start()
    until(lambda: not list((node.spool / "arrivals").rglob("*.dcm")), "the backlog is indexed")
    kept = stored(node)
    assert {data_set_digest(p) for p in acknowledged} <= set(kept)
    assert set(kept.values()) == {1}


def test_a_worker_killed_in_mid_inference_leaves_exactly_one_set_of_results(node, pacs, chest):
    send(node, chest)
    node.wait_for_event("job_progress")
    kill(node, "worker")
    node.wait_for_event("delivery_completed")
    assert_exactly_one_result_set(pacs)
    (job,) = node.rows("jobs")
    assert job["state"] == "completed"
    assert job["attempt"] == 2


def test_a_worker_told_to_stop_gives_its_job_back_without_spending_an_attempt(node, pacs, chest):
    send(node, chest)
    node.wait_for_event("job_progress")
    for pid in node.pids("worker"):
        os.kill(pid, signal.SIGTERM)
    node.wait_for_event("job_released")
    node.wait_for_event("delivery_completed")
    assert_exactly_one_result_set(pacs)
    (job,) = node.rows("jobs")
    assert job["attempt"] == 1


@pytest.mark.parametrize("role", ["keeper", "sender", "receiver"])
def test_a_killed_role_comes_back_and_the_study_still_ends_with_one_result_set(node, pacs, chest, role):
    send(node, chest)
    kill(node, role)
    node.wait_for_event("delivery_completed")
    assert_exactly_one_result_set(pacs)
    if role == "receiver":
        until(lambda: node.pids("receiver"), "the receiver is back")


def test_everything_killed_after_inference_began_still_ends_with_one_result_set(node, pacs, chest):
    send(node, chest)
    node.wait_for_event("job_progress")
    node.kill_everything()
    node.start()
    node.wait_for_event("delivery_completed")
    assert_exactly_one_result_set(pacs)


def stopped_outside_a_transaction(node: LiveNode, pid: int) -> bool:
    """Stop a process; let it go on where it held the database, which nobody else could write to then."""
    os.kill(pid, signal.SIGSTOP)
    with closing(sqlite3.connect(node.folder / "data" / "dicomnode.sqlite", timeout=1.0, isolation_level=None)) as c:
        try:
            c.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            return False
    return True


def test_a_worker_killed_after_reading_the_next_study_ahead_leaves_that_study_untouched(node, pacs, chest, tmp_path):
    (tmp_path / "next").mkdir()
    write_phantom_study(tmp_path / "next", seed=12)
    (pid,) = until(lambda: node.pids("worker"), "the worker is there")
    until(lambda: stopped_outside_a_transaction(node, pid), "the worker is stopped while it holds no lock")
    try:
        send(node, chest)
        send(node, sorted((tmp_path / "next").glob("*.dcm")))
        node.wait_for_event("study_matched", count=2)
    finally:
        os.kill(pid, signal.SIGCONT)
    (ahead,) = node.wait_for_event("job_read_ahead")
    kill(node, "worker")
    node.wait_for_event("delivery_completed", count=2)
    objects = [dcmread(p) for p in pacs.folder.rglob("*.dcm")]
    kinds = Counter((o.StudyInstanceUID, o.Modality, o.SeriesDescription) for o in objects)
    assert len({study for study, *_ in kinds}) == 2
    assert set(kinds.values()) == {1}, kinds
    attempts = {one["job_id"]: one["attempt"] for one in node.rows("jobs")}
    assert attempts.pop(ahead["job"]) == 1, "what is read ahead is not claimed: no attempt was spent"
    assert list(attempts.values()) == [2]
