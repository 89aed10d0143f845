"""docs/models.md, executed: a folder of DICOM becomes a model that a node runs; a PyTorch network becomes a bundle."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode import config as configuration
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.encode.seg import encode_seg
from tests.builders import affine_lps, ct_series, write_series
from tests.findings import LUNG, findings, stack_of, stamp
from tests.live import ROOT, free_port, until

DOCS = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
TINY = ["--set", "steps=8", "--set", "validate_every=8", "--set", "patch_size=[32,32,32]", "--set",
        "spacing=[4.0,4.0,4.0]", "--threads", "1"]
"""What is added to `train`: the walk is to be right, not the network good."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def section(heading: str) -> str:
    return DOCS.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


def blocks(heading: str, language: str) -> list[str]:
    """The fenced blocks of one language below a heading."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)


def commands(block: str) -> list[list[str]]:
    return [shlex.split(line, comments=True) for line in block.splitlines() if line.strip()]


def chest(number: int) -> tuple[np.ndarray, np.ndarray]:
    """A small chest in HU, and its lungs."""
    z, y, x = np.mgrid[:40, :40, :40]
    hu = np.where(((y - 20) / 17) ** 2 + ((x - 20) / 18) ** 2 < 1, 40, -1000).astype(np.int16)
    lungs = np.zeros(hu.shape, bool)
    for middle in (11 - number % 2, 29):
        lungs |= ((y - 20) / 9) ** 2 + ((x - middle) / 6) ** 2 + ((z - 20) / 16) ** 2 < 1
    hu[lungs] = -820
    return hu + np.random.default_rng(number).integers(-30, 30, hu.shape).astype(np.int16), lungs


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with ``annotated/`` and a node's configuration."""
    folder = tmp_path_factory.mktemp("workshop")
    for number in range(6):
        hu, lungs = chest(number)
        series = ct_series(hu, affine=affine_lps(spacing_zyx_mm=(4.0, 4.0, 4.0)), seed=f"p{number}",
                           PatientID=f"P{number}", PatientName=f"Test^P{number}")
        write_series(folder / "annotated" / f"p{number}" / "ct", series)
        marked = findings(stack_of(series), lungs.astype(np.uint8), labels=(LUNG,))
        seg = encode_seg(marked, series, stamp(job_key=f"p{number}"))
        (folder / "annotated" / f"p{number}" / "seg.dcm").write_bytes(seg.payload)
    write_config(folder)
    return folder


def write_config(folder: Path, more: str = "") -> int:
    port = free_port()
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config" / "node.toml").write_text(
        f'[node]\nbind = "127.0.0.1"\nport = {port}\ndata_dir = "../data"\nmodels_dir = "../models"\n'
        "[receive]\nmin_free_gb = 0.1\n[completion]\nquiet_s = 1\n[web]\nenabled = false\n[worker]\nthreads = 1\n"
        f"{more}", encoding="utf-8")
    return port


def run(words: list[str], folder: Path, *, expect: int = 0) -> str:
    """Run one line of the documentation in a folder; return what it printed."""
    program = {"dicomnode": [sys.executable, "-m", "dicomnode"], "python": [sys.executable]}[words[0]]
    done = subprocess.run([*program, *words[1:]], cwd=folder, capture_output=True, text=True, check=False, env=quiet())
    assert done.returncode == expect, f"{words}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def quiet() -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key != "DICOMNODE_CONFIG"}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def trained(workshop):
    """Everything of the walk but the node itself, run as it stands there; what each command printed."""
    said = {}
    for words in commands(blocks("From a folder of DICOM to a model that runs", "sh")[0]):
        said[" ".join(words[1:3])] = run([*words, *(TINY if words[1] == "train" else [])], workshop)
    return said


def test_the_walk_goes_from_a_folder_of_dicom_to_a_model_and_its_results(trained, workshop):
    assert "training 4, validation 1, test 1" in trained["dataset build"] or "6 cases" in trained["dataset build"]
    assert "by its pieces" in trained["models add"]
    assert "label 1 Lung: (39607008, SCT, 'Lung')" in trained["models show"]
    assert (workshop / "lung-model-evaluation" / "index.html").is_file()
    model = configuration.model_from_text(
        (workshop / "config" / "models" / "lung-model.toml").read_text(encoding="utf-8"), source="lung-model")
    assert model.confirmed
    assert {dcmread(path).Modality for path in (workshop / "results").glob("*.dcm")} >= {"SR"}


def test_a_node_runs_the_trained_model_on_what_arrives(trained, workshop, tmp_path):
    assert trained
    route = blocks("From a folder of DICOM to a model that runs", "toml")[0]
    assert tomllib.loads(route)["routes"][0]["model"] == ["lung-model"]
    with ReceivingPacs(tmp_path / "pacs") as pacs:
        port = write_config(workshop, f'[peers.pacs]\nae_title = "{pacs.ae_title}"\nhost = "127.0.0.1"\n'
                                      f'port = {pacs.port}\n[peers.me]\nae_title = "DICOMNODE"\nhost = "127.0.0.1"\n'
                                      f"port = 1\n{route}")
        path = workshop / "config" / "node.toml"
        path.write_text(path.read_text(encoding="utf-8").replace("port = 1\n", f"port = {port}\n"), encoding="utf-8")
        check, serve = commands(blocks("From a folder of DICOM to a model that runs", "sh")[1])
        run(["dicomnode", "db", "upgrade"], workshop)
        with (tmp_path / "log").open("wb") as log:
            node = subprocess.Popen([sys.executable, "-m", *serve], cwd=workshop, env=quiet(), stdout=log,
                                    stderr=subprocess.STDOUT)
        try:
            until(lambda: listens(port), f"the node listens; its log: {tmp_path / 'log'}", 60)
            assert "lung-model" in run(check, workshop)
            run(["dicomnode", "send", "annotated/p1/ct", "--to", "me"], workshop)
            assert pacs.wait_for(1, 180), (tmp_path / "log").read_text(encoding="utf-8")[-3000:]
        finally:
            node.terminate()
            node.wait(60)
    results = [dcmread(one.path, force=True) for one in pacs.received]
    assert all("lung-model" in one.SeriesDescription for one in results)


def test_a_pytorch_network_becomes_a_bundle_and_runs(workshop):
    own, _with_code = blocks("Wrap a PyTorch network of your own", "python")
    (workshop / "wrap.py").write_text(own, encoding="utf-8")
    wrap, add, process = commands(blocks("Wrap a PyTorch network of your own", "sh")[0])
    run(wrap, workshop)
    assert "by its pieces" in run(add, workshop)
    assert "lungnet is not confirmed" in run(process, workshop)
    assert list((workshop / "results-lungnet").glob("*.dcm"))
    shown = json.loads(run(["dicomnode", "models", "show", "lungnet", "--json"], workshop))
    assert shown[0]["labels"][0]["type"]["meaning"] == "Lung"


def test_a_network_of_own_code_runs_once_it_is_trusted(workshop):
    pytest.importorskip("ignite", reason="trust = 'code' needs pytorch-ignite")
    own, with_code = blocks("Wrap a PyTorch network of your own", "python")
    place = workshop / "with_code"
    place.mkdir()
    (place / "wrap.py").write_text(own, encoding="utf-8")
    (place / "wrap_code.py").write_text(with_code, encoding="utf-8")
    run(["python", "wrap_code.py"], place)
    (place / "lungnet").rename(place / "lungcode")
    refused = run(["dicomnode", "models", "add", "with_code/lungcode"], workshop, expect=78)
    assert "scripts.net.LungNet" in refused
    assert "--trust code" in refused
    assert not (workshop / "models" / "lungcode").exists()
    trusted = run(["dicomnode", "models", "add", "with_code/lungcode", "--trust", "code"], workshop)
    assert "with code of its own; loaded in the sandbox" in trusted


def test_every_command_and_key_that_the_page_shows_exists():
    commands_page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    names = set(re.findall(r"^### (models \w+)$", commands_page, re.MULTILINE))
    assert set(re.findall(r"`(models [a-z]+)\b", DOCS)) <= names
    for block in blocks("Take a bundle in", "toml") + blocks("Classification", "toml"):
        tomllib.loads(block)
