"""Studies that kill, hang or exhaust: tried within their budget, set aside with a reason, and in nobody's way."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.node import Peer
from tests.builders import ct_series, write_series
from tests.live import LiveNode, until
from tests.poison import ACTS, plant, poisonous_model
from tests.threshold_bundles import threshold_model

HEALTHY = "levels"
UNREACHED = "unreached"
"""A model for studies whose reading never ends: a second on top of [worker] beside_models_s is its time."""
SETTINGS = """
[worker]
lease_s = 3.0
backoff_s = 0.5
attempts = 2
threads = 1
device = "cpu"
warm_models = 1
beside_models_s = 6.0
[delivery]
backoff_s = 0.5
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def route(name: str, model: str) -> str:
    """One route per kind of study, told by its series' description."""
    return (f'[[routes]]\nname = "{name}"\nmodel = ["{model}"]\nto = ["pacs"]\nreport_not_analysed = true\n'
            f'when = {{ SeriesDescription = "{name}" }}\n')


@pytest.fixture
def pacs(tmp_path):
    with ReceivingPacs(tmp_path / "pacs") as receiving:
        yield receiving


def a_node(folder: Path, pacs: ReceivingPacs, poison: dict[str, str], *, hung_after_s: float = 60) -> LiveNode:
    """A node for healthy studies, and for those that a route of ``poison`` (route → model) takes."""
    models = folder / "bundles"
    threshold_model(models, HEALTHY, lung_hu=200, nodule_hu=600)
    for model in set(poison.values()) & set(ACTS):
        poisonous_model(models, model, time_limit_s=8.0 if model == "hang" else 300.0, memory_limit_mb=900)
    peers = (f'[peers.scanner]\nae_title = "SCANNER"\n[peers.pacs]\nae_title = "DEMOPACS"\nhost = "127.0.0.1"\n'
             f"port = {pacs.port}\n")
    routes = route("healthy", HEALTHY) + "".join(route(name, model) for name, model in poison.items())
    node = LiveNode(folder / "node", peers=peers, routes=routes, extra=SETTINGS, models_dir=models)
    text = node.config_path.read_text(encoding="utf-8")
    node.config_path.write_text(text.replace("[node]\n", f"[node]\nhung_after_s = {hung_after_s}\n"), encoding="utf-8")
    return node


def send(node: LiveNode, folder: Path, kind: str, number: int = 0) -> str:
    """Send one small study; return its UID."""
    images = ct_series(np.full((4, 24, 24), 300, np.int16), seed=f"{kind}{number}", SeriesDescription=kind)
    paths = write_series(folder / f"{kind}{number}", images)
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
    send_files(node_ae_title="SCANNER", peer=us, paths=paths, timeout_s=60)
    return str(images[0].StudyInstanceUID)


def states(node: LiveNode) -> dict[str, tuple[str, int, str]]:
    """Return of each study's analysis: state, attempts, reason."""
    return {one["study_uid"]: (one["state"], one["attempt"], one["reason"])
            for one in node.rows("jobs") if one["kind"] == "analysis"}


def ended(node: LiveNode, *studies: str) -> dict[str, tuple[str, int, str]]:
    """Wait until these studies' analyses have ended, and return how."""
    def seen() -> dict[str, tuple[str, int, str]]:
        found = states(node)
        return found if all(found.get(one, ("",))[0] in {"completed", "failed"} for one in studies) else {}
    found: dict[str, tuple[str, int, str]] = until(seen, f"{len(studies)} analyses end", 240)
    return found


def completed_at(node: LiveNode, study: str) -> str:
    return next(one["timestamp"] for one in node.events()
                if one.get("event") == "job_completed" and one.get("study_uid") == study)


def reports_of(pacs: ReceivingPacs, study: str) -> list[str]:
    objects = [dcmread(path) for path in pacs.folder.rglob("*.dcm")]
    return [str(one.Modality) for one in objects if one.StudyInstanceUID == study]


def children_of(pid: int) -> list[int]:
    return [int(one) for thread in Path(f"/proc/{pid}/task").glob("*/children")
            for one in thread.read_text(encoding="ascii").split()]


@pytest.fixture
def poisoned(tmp_path, pacs) -> Iterator[LiveNode]:
    node = a_node(tmp_path, pacs, {act: act for act in ACTS})
    yield node.start()
    node.stop()


def test_models_that_die_hang_or_eat_memory_are_set_aside_and_the_studies_behind_them_go_on(poisoned, pacs, tmp_path):
    bad = {act: send(poisoned, tmp_path / "sent", act) for act in ACTS}
    good = [send(poisoned, tmp_path / "sent", "healthy", n) for n in range(3)]
    found = ended(poisoned, *bad.values(), *good)
    assert [found[one][:2] for one in good] == [("completed", 1)] * 3
    assert {act: found[uid][:2] for act, uid in bad.items()} == dict.fromkeys(ACTS, ("failed", 2))
    for act, said in (("abort", "ModelProcessDied"), ("hang", "ModelTimeout"), ("grow", "GpuOutOfMemory")):
        assert found[bad[act]][2].startswith(said), found[bad[act]]
        (row,) = [one for one in poisoned.rows("study", bad[act]) if one["kind"] == "job_failed"]
        assert said in row["text"]
        until(lambda act=act: reports_of(pacs, bad[act]), f"a report says why {act} was not analysed")
    last_failure = max(one["timestamp"] for one in poisoned.events() if one.get("event") == "job_not_completed")
    assert completed_at(poisoned, good[0]) < last_failure, "the healthy ones waited until all poison was set aside"
    assert len(poisoned.pids("worker")) == 1
    assert not [one for one in poisoned.events() if one.get("event") == "role_died"], "a model took the worker with it"


def test_studies_that_kill_or_hang_the_worker_itself_are_set_aside_and_the_others_go_on(
    tmp_path, pacs, monkeypatch,
):
    for name, value in plant(tmp_path / "planted", {"deadly": "abort", "endless": "hang"}).items():
        monkeypatch.setenv(name, value)
    node = a_node(tmp_path, pacs, {"deadly": UNREACHED, "endless": UNREACHED})
    path = threshold_model(tmp_path / "bundles", UNREACHED)
    path.write_text(path.read_text(encoding="utf-8").replace("time_limit_s = 120.0", "time_limit_s = 1.0"),
                    encoding="utf-8")
    node.start()
    try:
        bad = [send(node, tmp_path / "sent", kind) for kind in ("deadly", "endless")]
        good = [send(node, tmp_path / "sent", "healthy", n) for n in range(2)]
        found = ended(node, *bad, *good)
        assert [found[one][0] for one in good] == ["completed"] * 2
        assert [found[one][:2] for one in bad] == [("failed", 2)] * 2
        assert all("not heard of again" in found[one][2] for one in bad)
        overdue = [one for one in node.events() if one.get("event") == "step_overdue"]
        assert overdue
        assert any("sitecustomize" in place for place in overdue[0]["at"]), "the log says where it hung"
        codes = Counter(one["exit_code"] for one in node.events() if one.get("event") == "role_died")
        assert set(codes) == {-signal.SIGABRT, os.EX_SOFTWARE}
        for one in bad:
            until(lambda one=one: reports_of(pacs, one), "a report says that it was not analysed")
    finally:
        node.stop()


def test_a_worker_that_stands_still_is_killed_with_its_model_and_replaced(tmp_path, pacs):
    node = a_node(tmp_path, pacs, {"endless": "hang"}, hung_after_s=20)
    node.start()
    try:
        send(node, tmp_path / "sent", "endless")
        node.wait_for_event("job_claimed")
        (worker,) = node.pids("worker")
        model = until(lambda: children_of(worker), "the model's process runs")
        os.kill(worker, signal.SIGSTOP)
        (hung,) = node.wait_for_event("role_hung")
        assert (hung["role"], hung["pid"]) == ("work", worker)
        until(lambda: not Path(f"/proc/{worker}").exists(), "it is gone")
        until(lambda: not any(Path(f"/proc/{one}").exists() for one in model), "and its model with it")
        until(lambda: set(node.pids("worker")) - {worker}, "another took its place")
        node.wait_for_event("work_rescued")
    finally:
        node.stop()
