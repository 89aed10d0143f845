"""What an administrator reads at the terminal: the commands run in this process over a real ledger."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.ledger import deliveries, events, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.run.presence import Presence
from dicomnode.spool import Spool
from tests.builders import ct_series, uid_of, write_series
from tests.ledger_rows import (
    NOW,
    STUDY,
    a_claimed_delivery,
    a_closed_study,
    a_job,
    a_snapshot,
    after,
    claim_job,
    complete_job,
    send_all,
)

ROOT = Path(__file__).parents[3]
NODE = f"""
[node]
ae_title = "DICOMNODE"
models_dir = "{ROOT / "models"}"

[receive]
min_free_gb = 0.0

[peers.pacs]
ae_title = "ORTHANC"
host = "127.0.0.1"
port = 4242

[[routes]]
name = "chest-ct"
model = ["demo_chest"]
to = ["pacs"]
when = {{ Modality = "CT" }}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TZ", "UTC")
    (tmp_path / "models").mkdir()
    text = (ROOT / "config" / "models" / "demo_chest.toml").read_text(encoding="utf-8")
    (tmp_path / "models" / "demo_chest.toml").write_text(text, encoding="utf-8")
    (tmp_path / "node.toml").write_text(NODE, encoding="utf-8")
    return tmp_path


@pytest.fixture
def ledger(folder: Path):
    (folder / "data").mkdir()
    made = Ledger(f"sqlite:///{folder / 'data' / 'dicomnode.sqlite'}")
    made.upgrade()
    yield made
    made.dispose()


def said(folder: Path, *words: str) -> str:
    result = CliRunner().invoke(cli, ["--config", str(folder / "node.toml"), *words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def line(text: str, begins: str) -> str:
    (found,) = [one.strip() for one in text.splitlines() if one.strip().startswith(begins)]
    return " ".join(found.split())


def fail(ledger: Ledger, reason: str, route: str) -> None:
    a_job(ledger, snapshot=a_snapshot(route=route))
    with ledger.write() as c:
        jobs.fail(c, jobs.claim(c, now=NOW, lease_s=60, owner="w", digests=frozenset(
            {model.digest for model in a_snapshot().models})), now=NOW, reason=reason)


def test_status_of_a_node_that_never_worked_shows_dashes_and_no_none(folder, ledger):
    text = said(folder, "status")
    assert line(text, "studies") == "studies 0 receiving, 0 closed, 0 with conflicting images, last image –"
    assert line(text, "longest wait") == "longest wait job –, delivery –"
    assert "None" not in text


def test_status_counts_failures_of_the_input_apart_and_one_line_per_peer(folder, ledger):
    spool = Spool(folder / "data" / "spool", min_free_bytes=0)
    spool.prepare()
    a_closed_study(ledger)
    fail(ledger, "MissingSlices: gap of 7.0 mm", "a")
    fail(ledger, "OutsideIntendedUse: PatientAge is 4 years", "b")
    a_job(ledger)
    complete_job(ledger, claim_job(ledger))
    with ledger.write() as c:
        delivery = deliveries.claim(c, now=NOW, lease_s=60, owner="s", peers=frozenset({"pacs"}))
    send_all(ledger, delivery, now=after(60))
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=after(60))
    held = [Presence(folder / "data" / "run", role) for role in ("receiver", "keeper", "worker", "sender")]
    text = said(folder, "status")
    for one in held:
        one.close()
    assert text.startswith("dicomnode is healthy")
    assert line(text, "jobs") == "jobs 0 waiting, 0 in progress, 1 completed, 2 failed (2 refused inputs), 0 canceled"
    assert re.fullmatch(r"peer pacs 0 waiting, 0 failed, last sent 2026-11-22 12:01:00 \S+", line(text, "peer pacs"))
    assert "{" not in text
    assert not re.search(r"\d\.\d{6}", text)


def test_status_for_programs_keeps_the_documented_keys_and_iso_times(folder, ledger):
    a_closed_study(ledger)
    fail(ledger, "ModelFailed: nan", "a")
    (row,) = json.loads(said(folder, "status", "--json"))
    assert (row["jobs"]["failed"], row["refused_inputs"]) == (1, 0)
    assert row["last_arrival_at"] == "2026-11-22T12:00:00+00:00"


def test_a_malfunction_behind_a_hundred_refused_inputs_is_still_a_problem(folder, ledger):
    a_closed_study(ledger)
    fail(ledger, "ModelFailed: nan", "first")
    for number in range(101):
        fail(ledger, "MissingSlices: gap of 7.0 mm", f"r{number}")
    assert "1 job of route first failed: ModelFailed: nan" in said(folder, "status")


def test_a_malfunction_that_a_newer_job_made_good_is_counted_and_is_no_problem(folder, ledger):
    a_closed_study(ledger)
    fail(ledger, "ModelFailed: nan", "chest")
    a_job(ledger, snapshot=a_snapshot(route="chest"), revision=1)
    text = said(folder, "status")
    assert line(text, "jobs") == "jobs 1 waiting, 0 in progress, 0 completed, 1 failed (1 out of date), 0 canceled"
    assert "of route chest failed" not in text


def test_a_study_prints_its_timeline_with_zone_and_a_text_in_every_row(folder, ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        events.record(c, at=NOW, kind="study_complete", study_uid=STUDY, text="quiet for 30 s")
    text = said(folder, "study", STUDY)
    head, _, table = text.partition("\nat ")
    assert head.startswith(f"study {STUDY}\n2 instances, delivering")
    rows = [one for one in table.splitlines()[1:] if one.strip()]
    assert len(rows) == 10
    for row in rows:
        assert re.match(r"2026-11-22 \d\d:\d\d:\d\d \S+ +\w+ +\S.+", row), row
    assert "delivery 1 to pacs: SEG …2.25.1 stored there, status 0x0000" in text
    assert all(row["text"] for row in json.loads(said(folder, "study", STUDY, "--json")))


def test_explain_names_the_model_and_role_of_each_series(folder, tmp_path):
    write_series(tmp_path / "ct", ct_series(np.zeros((3, 8, 8), np.int16), BodyPartExamined="CHEST"))
    route, series = json.loads(said(folder, "explain", str(tmp_path / "ct"), "--json"))
    assert (route["route"], route["model"], route["says"]) == ("chest-ct", "demo_chest", "refused")
    assert (series["model"], series["role"], series["says"]) == ("demo_chest", "ct", "not eligible")
    assert "3 slices, wanted at least" in series["because"]


def test_explain_prints_the_parts_of_a_score_and_each_reason_for_a_model_that_no_route_names(folder, tmp_path):
    for name, kernel, millimetres in (("soft", "B30f", "1.5"), ("sharp", "B70f", "1.5")):
        write_series(tmp_path / "ct" / name, ct_series(
            np.zeros((40, 8, 8), np.int16), seed=name, StudyInstanceUID=uid_of("one study"), BodyPartExamined="CHEST",
            ConvolutionKernel=kernel, SliceThickness=millimetres, PatientAge="055Y"))
    write_series(tmp_path / "ct" / "few", ct_series(
        np.zeros((3, 8, 8), np.int16), seed="few", StudyInstanceUID=uid_of("one study"), BodyPartExamined="KNEE"))
    (tmp_path / "ct" / "README").write_text("no image")
    rows = json.loads(said(folder, "explain", str(tmp_path / "ct"), "--model", "demo_chest", "--json"))
    assert (rows[0]["route"], rows[0]["says"]) == ("--model", "matches")
    by_series = {row["series"]: row for row in rows[1:]}
    chosen, passed, few = (by_series[uid_of(name, "series")] for name in ("soft", "sharp", "few"))
    assert (chosen["says"], passed["says"], few["says"]) == ("chosen", "passed over", "not eligible")
    assert chosen["score"] > passed["score"]
    assert {"keyword": "ConvolutionKernel", "wish": "soft", "value": "B30f", "points": 1.0} in chosen["parts"]
    assert "ConvolutionKernel B70f (soft): 0.00" in passed["because"]
    assert "preferred" in passed["reasons"][0]
    assert len(few["reasons"]) >= 2
    assert chosen["slices"] == 40
