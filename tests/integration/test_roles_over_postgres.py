"""Each role a process of its own, started with the words and settings of the manifests, over one PostgreSQL."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
import yaml

from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.demo.study import write_phantom_study
from dicomnode.domain.node import Peer
from tests.live import ROOT, free_port, until

DEPLOY = ROOT / "deploy" / "kubernetes"
COPIES = {"keep": 2, "deliver": 2}

pytestmark = pytest.mark.timeout(400)


def words_of(file: str) -> list[str]:
    document = next(yaml.safe_load_all((DEPLOY / file).read_text(encoding="utf-8")))
    return list(document["spec"]["template"]["spec"]["containers"][0]["args"])


def probe_of(role: str) -> str:
    (container,) = yaml.safe_load((DEPLOY / f"{role}.yaml").read_text(
        encoding="utf-8"))["spec"]["template"]["spec"]["containers"]
    return str(container["readinessProbe"]["exec"]["command"][-1])


@contextmanager
def roles(environment: dict[str, str], logs: Path) -> Iterator[None]:
    """Every role of the manifests, as often as COPIES says."""
    with ExitStack() as stack:
        for file in ("receiver.yaml", "keeper.yaml", "worker.yaml", "sender.yaml", "web.yaml"):
            words = words_of(file)
            for number in range(COPIES.get(words[0], 1)):
                log = stack.enter_context((logs / f"{words[0]}-{number}.log").open("wb"))
                process = stack.enter_context(subprocess.Popen(
                    [sys.executable, "-m", "dicomnode", *words], env=environment, stdout=log, stderr=log))
                stack.callback(process.terminate)
        yield


@pytest.fixture
def deployed(tmp_path, postgres_url):
    """The configuration of the manifests with this machine's paths and ports in it."""
    data, port, page = tmp_path / "data", free_port(), free_port()
    shutil.copytree(ROOT / "models", data / "models")
    shutil.copytree(ROOT / "config" / "models", data / "models", dirs_exist_ok=True)
    secret = tmp_path / "database_url"
    secret.write_text(postgres_url, encoding="utf-8")
    with ReceivingPacs(tmp_path / "pacs") as pacs:
        text = (DEPLOY / "node.toml").read_text(encoding="utf-8")
        for said, here in (('"/data', f'"{data}'), ("/run/secrets/dicomnode/database_url", str(secret)),
                           ("0.0.0.0", "127.0.0.1"), ("port = 11112", f"port = {port}"),  # noqa: S104
                           ("port = 11180", f"port = {page}"), ("min_free_gb = 10.0", "min_free_gb = 0.1"),
                           ('host = "orthanc"', 'host = "127.0.0.1"'), ("port = 4242", f"port = {pacs.port}"),
                           ('"ORTHANC"', '"DEMOPACS"')):
            assert said in text, said
            text = text.replace(said, here)
        (tmp_path / "node.toml").write_text(f"{text}\n[completion]\nquiet_s = 2.0\n", encoding="utf-8")
        yield {**os.environ, "DICOMNODE_CONFIG": str(tmp_path / "node.toml")}, port, page


def test_a_study_goes_through_roles_that_share_nothing_but_a_database_and_a_volume(deployed, tmp_path, postgres_url):
    environment, port, page = deployed
    subprocess.run([sys.executable, "-m", "dicomnode", *words_of("migrate.yaml")], env=environment, check=True,
                   timeout=120)
    write_phantom_study(tmp_path / "study", seed=3)
    with roles(environment, tmp_path):
        until(lambda: "role_started" in (tmp_path / "receive-0.log").read_text(), "the receiver listens")
        send_files(node_ae_title="DEMOPACS", peer=Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=port),
                   paths=sorted((tmp_path / "study").glob("*.dcm")), timeout_s=60)
        until(lambda: delivered(postgres_url), "the delivery is completed", 300)
        for role in ("worker", "sender"):
            subprocess.run(["sh", "-c", probe_of(role).replace("/data", str(tmp_path / "data"))], check=True)
        with urllib.request.urlopen(f"http://127.0.0.1:{page}/health", timeout=30) as answer:
            health = json.load(answer)
    assert health["roles"] == {"receiver": 1, "keeper": 1, "worker": 1, "sender": 2}
    scaling = next(one for one in yaml.safe_load_all((DEPLOY / "autoscaling" / "workers.yaml").read_text())
                   if one["kind"] == "ScaledObject")
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        assert connection.execute(scaling["spec"]["triggers"][0]["metadata"]["query"]).fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM jobs WHERE state = 'completed'").fetchone() == (1,)
    assert list((tmp_path / "pacs").glob("*.dcm"))


def delivered(url: str) -> bool:
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        return connection.execute("SELECT count(*) FROM deliveries WHERE state = 'completed'").fetchone() == (1,)
