"""The whole node in processes: studies in by C-STORE, results out by C-STORE, and every bad input answered."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.demo.results import read_results
from dicomnode.demo.study import write_phantom_study
from dicomnode.domain.node import Peer
from tests.live import ROOT, LiveNode, until

ROUTE = """
[[routes]]
name = "chest-ct"
from = ["scanner"]
model = ["demo_chest"]
to = ["pacs"]
when = { Modality = "CT", BodyPartExamined = "CHEST" }
report_not_analysed = true
"""


def peers(pacs_port: int) -> str:
    return f"""
[peers.scanner]
ae_title = "SCANNER"
[peers.pacs]
ae_title = "DEMOPACS"
host = "127.0.0.1"
port = {pacs_port}
rejection_notes = true
[delivery]
backoff_s = 1.0
"""


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chest")
    phantom = write_phantom_study(folder, seed=7)
    return phantom, sorted(folder.glob("*.dcm"))


@pytest.fixture(scope="module")
def pacs(tmp_path_factory):
    with ReceivingPacs(tmp_path_factory.mktemp("pacs")) as receiving:
        yield receiving


@pytest.fixture(scope="module")
def node(tmp_path_factory, pacs):
    live = LiveNode(tmp_path_factory.mktemp("node"), peers=peers(pacs.port), routes=ROUTE)
    try:
        yield live.start()
    finally:
        live.stop()


@pytest.fixture(scope="module")
def analysed(node, chest):
    """The chest study's UID, after the node has analysed and delivered it."""
    _, paths = chest
    assert send(node, paths) == len(paths)
    uid = study_uid(paths)
    until(lambda: outcome(node, uid) == "analysed", f"study {uid} is analysed")
    return uid


def send(node: LiveNode, paths: list[Path]) -> int:
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
    return send_files(node_ae_title="SCANNER", peer=us, paths=paths, timeout_s=60, progress=None)


def changed(paths: list[Path], folder: Path, **attributes: object) -> list[Path]:
    """Copy a study under new UIDs, with attributes changed."""
    suffix = abs(hash(folder.name)) % 10**8
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for path in paths:
        image = dcmread(path)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
            setattr(image, keyword, f"{getattr(image, keyword)[:50]}.{suffix}")
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        for keyword, value in attributes.items():
            setattr(image, keyword, value)
        image.save_as(folder / path.name)
        written.append(folder / path.name)
    return written


def study_uid(paths: list[Path]) -> str:
    return str(dcmread(paths[0], stop_before_pixels=True).StudyInstanceUID)


def outcome(node: LiveNode, uid: str) -> str:
    return next((row["outcome"] for row in node.rows("studies") if row["study_uid"] == uid), "")


def reports(pacs: ReceivingPacs, uid: str) -> list[Dataset]:
    found = [dcmread(path) for path in pacs.folder.rglob("*.dcm")]
    return [one for one in found if uid == one.StudyInstanceUID and one.Modality == "SR"]


def texts(report: Dataset) -> str:
    parts = [str(report.get("TextValue", ""))]
    parts += [texts(item) for item in report.get("ContentSequence", ())]
    return " ".join(parts)


def test_a_chest_ct_comes_back_as_seg_and_reports_that_find_its_lungs(pacs, chest, analysed, tmp_path):
    phantom, _ = chest
    for path in pacs.folder.rglob("*.dcm"):
        if analysed == dcmread(path, stop_before_pixels=True).StudyInstanceUID:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    results = read_results(tmp_path)
    assert results.seg is not None
    assert results.seg.StudyInstanceUID == analysed
    lung = next(g for g in results.groups if "lung" in g.name.lower() or "lung" in g.finding.lower())
    truth_ml = float((phantom.truth_zyx > 0).sum() * np.prod(phantom.spacing_zyx_mm) / 1000)
    found_ml = next(float(v) for k, v in lung.numbers.items() if "Volume" in k)
    assert found_ml == pytest.approx(truth_ml, rel=0.05)


def test_the_same_study_again_makes_no_second_job(node, chest, analysed):
    _, paths = chest
    before = len(node.rows("jobs"))
    assert send(node, paths) == len(paths)
    until(lambda: not list((node.spool / "arrivals").rglob("*.dcm")), "the resend is indexed")
    assert outcome(node, analysed) == "analysed"
    assert len(node.rows("jobs")) == before


def test_a_study_analysed_again_gets_new_results_that_name_the_earlier_report(node, pacs, chest, tmp_path):
    _, paths = chest
    anew = changed(paths, tmp_path / "again")
    send(node, anew)
    uid = study_uid(anew)
    until(lambda: outcome(node, uid) == "analysed", f"study {uid} is analysed")
    before = reports(pacs, uid)
    (job,) = [row for row in node.rows("jobs") if row["study_uid"] == uid]
    node.cli("requeue", str(job["job_id"]), "--again")
    until(lambda: len(reports(pacs, uid)) == 2 * len(before), "the second set of reports arrives")
    earlier = {report.SOPInstanceUID for report in before}
    later = [report for report in reports(pacs, uid) if report.SOPInstanceUID not in earlier]
    named = {item.ReferencedSOPInstanceUID for report in later for document in report.PredecessorDocumentsSequence
             for series in document.ReferencedSeriesSequence for item in series.ReferencedSOPSequence}
    assert named <= earlier
    assert named
    assert all("supersedes" in report.SeriesDescription for report in later)


def test_late_images_bring_new_results_and_a_note_that_names_exactly_what_they_supersede(node, pacs, chest, tmp_path):
    _, paths = chest
    study = changed(paths, tmp_path / "late")
    uid = study_uid(study)
    send(node, study[:-2])
    until(lambda: outcome(node, uid) == "analysed", f"study {uid} is analysed")
    first = objects(pacs, uid)
    send(node, study[-2:])
    until(lambda: outcome(node, uid) == "analysed" and len(objects(pacs, uid)) > len(first), "the late images count")
    second = {name: one for name, one in objects(pacs, uid).items() if name not in first}
    assert {one.Modality for one in second.values()} == {"SEG", "SR", "KO"}
    assert min(one.SeriesNumber for one in second.values()) > max(one.SeriesNumber for one in first.values())
    assert all("supersedes earlier" in one.SeriesDescription for one in second.values())
    *_, manifest, note = second.values()
    assert [one.ConceptNameCodeSequence[0].CodeValue for one in (manifest, note)] == ["113030", "113001"]
    assert evidence(note) == set(first)
    assert evidence(manifest) == set(second) - {manifest.SOPInstanceUID, note.SOPInstanceUID}


def objects(pacs: ReceivingPacs, uid: str) -> dict[str, Dataset]:
    """Everything of a study by SOP Instance UID, in the order of arrival."""
    found = {one.sop_instance_uid: dcmread(one.path) for one in tuple(pacs.received)}
    return {name: one for name, one in found.items() if one.StudyInstanceUID == uid}


def evidence(document: Dataset) -> set[str]:
    return {item.ReferencedSOPInstanceUID for study in document.CurrentRequestedProcedureEvidenceSequence
            for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence}


def test_results_sent_once_more_are_the_same_bytes(node, pacs, analysed):
    before = {name: pacs_bytes(pacs, name) for name in objects(pacs, analysed)}
    (job,) = [row["job_id"] for row in node.rows("jobs") if row["study_uid"] == analysed]
    (delivery,) = [row["delivery_id"] for row in node.rows("deliveries") if row["job_id"] == job]
    received = len(pacs.received)
    node.cli("requeue", "--delivery", str(delivery))
    assert pacs.wait_for(received + len(before), 120)
    assert {one.sop_instance_uid for one in pacs.received[received:]} == set(before)
    assert {name: pacs_bytes(pacs, name) for name in before} == before


def pacs_bytes(pacs: ReceivingPacs, name: str) -> bytes:
    return (pacs.folder / f"{name}.dcm").read_bytes()


def test_a_missing_slice_comes_back_as_a_report_that_names_the_gap(node, pacs, chest, tmp_path):
    _, paths = chest
    broken = changed(paths, tmp_path / "gap")
    uid = study_uid(broken)
    del broken[40]
    send(node, broken)
    until(lambda: outcome(node, uid).startswith("not analysed"), "the study ends as not analysed")
    assert "MissingSlices" in outcome(node, uid)
    (report,) = until(lambda: reports(pacs, uid), "the not-analysed report reaches the PACS")
    assert "5.0 mm" in texts(report)
    assert "gap" in node.cli("study", uid).stdout


def test_a_study_that_no_route_wants_is_not_applicable_and_says_which_rule_said_so(node, chest, tmp_path):
    _, paths = chest
    foreign = changed(paths[:30], tmp_path / "abdomen", BodyPartExamined="ABDOMEN")
    uid = study_uid(foreign)
    send(node, foreign)
    until(lambda: outcome(node, uid) == "not applicable", "the study ends as not applicable")
    assert "BodyPartExamined" in node.cli("study", uid).stdout


def test_a_refused_study_says_what_the_model_was_validated_for(node, pacs, chest, tmp_path):
    _, paths = chest
    child = changed(paths[:30], tmp_path / "child", PatientAge="004Y", PatientBirthDate="20220101")
    uid = study_uid(child)
    send(node, child)
    until(lambda: "OutsideIntendedUse" in outcome(node, uid), "the study is refused as outside intended use")
    (report,) = until(lambda: reports(pacs, uid), "the report reaches the PACS")
    assert "age" in texts(report).lower()


def test_process_gives_the_same_volumes_as_the_node(node, pacs, chest, tmp_path, analysed):
    _, paths = chest
    node.cli("process", str(paths[0].parent), "--model", "demo_chest", "--out", str(tmp_path / "out"))
    offline, online = read_results(tmp_path / "out"), list(reports(pacs, analysed))
    assert online
    numbers = {str(item.MeasuredValueSequence[0].NumericValue) for report in online for item in walk(report)
               if item.ValueType == "NUM" and item.get("MeasuredValueSequence")}
    assert {v for g in offline.groups for v in g.numbers.values()}
    (manifest,) = (tmp_path / "out").glob("KOS.*.dcm")
    assert evidence(dcmread(manifest)) < {dcmread(path).SOPInstanceUID for path in (tmp_path / "out").glob("*.dcm")}
    mine = {str(item.MeasuredValueSequence[0].NumericValue) for path in (tmp_path / "out").glob("*.dcm")
            if dcmread(path).Modality == "SR" for item in walk(dcmread(path))
            if item.ValueType == "NUM" and item.get("MeasuredValueSequence")}
    assert mine == numbers


def walk(item: Dataset) -> list[Dataset]:
    found = []
    for child in item.get("ContentSequence", ()):
        found += [child, *walk(child)]
    return found


def test_check_and_status_say_that_a_working_node_is_well(node, pacs):
    checked = node.cli("check", check=False)
    assert checked.returncode == 0, checked.stdout
    assert "DEMOPACS" in checked.stdout
    assert node.cli("status", "--probe", check=False).stdout.strip() in {"healthy", "degraded"}


def test_results_wait_for_a_pacs_that_is_away_and_arrive_when_it_is_back(tmp_path, chest):
    _, paths = chest
    with ReceivingPacs(tmp_path / "pacs") as first:
        port = first.port
    live = LiveNode(tmp_path / "node", peers=peers(port), routes=ROUTE)
    try:
        live.start()
        send(live, paths)
        live.wait_for_event("delivery_not_completed")
        stuck = live.rows("deliveries")
        assert stuck[0]["state"] == "scheduled"
        assert "PeerUnreachable" in stuck[0]["reason"]
        with ReceivingPacs(tmp_path / "pacs", port=port) as back:
            live.wait_for_event("delivery_completed")
            assert {dcmread(p).Modality for p in back.folder.rglob("*.dcm")} == {"SEG", "SR", "KO"}
    finally:
        live.stop()


def test_a_peer_that_offers_no_storage_commitment_is_told_in_the_timeline(tmp_path, chest):
    _, paths = chest
    with ReceivingPacs(tmp_path / "pacs") as receiving:
        commits = peers(receiving.port).replace("[delivery]", "storage_commitment = true\n[delivery]")
        live = LiveNode(tmp_path / "node", peers=commits, routes=ROUTE)
        try:
            live.start()
            send(live, paths)
            live.wait_for_event("commitment_not_asked")
            uid = study_uid(paths)
            until(lambda: "could not be asked to commit" in live.cli("study", uid).stdout, "the timeline says it")
            assert outcome(live, uid) == "delivering"
            assert {dcmread(p).Modality for p in receiving.folder.rglob("*.dcm")} == {"SEG", "SR", "KO"}
        finally:
            live.stop()


def test_the_same_line_runs_over_postgresql(tmp_path, chest, postgres_url, monkeypatch):
    monkeypatch.setenv("DICOMNODE_DATABASE_URL", postgres_url)
    _, paths = chest
    with ReceivingPacs(tmp_path / "pacs") as receiving:
        live = LiveNode(tmp_path / "node", peers=peers(receiving.port), routes=ROUTE)
        try:
            live.start()
            send(live, paths)
            live.wait_for_event("delivery_completed")
            assert outcome(live, study_uid(paths)) == "analysed"
            assert {dcmread(p).Modality for p in receiving.folder.rglob("*.dcm")} == {"SEG", "SR", "KO"}
            assert not (live.folder / "data" / "dicomnode.sqlite").exists()
        finally:
            live.stop()


def test_a_model_whose_bytes_changed_is_refused_by_check_and_never_run(tmp_path):
    import shutil

    live = LiveNode(tmp_path / "node", peers=peers(11999), routes=ROUTE)
    shutil.copytree(ROOT / "models", tmp_path / "models")
    weights = tmp_path / "models" / "phantom_chest_ct_segmentation" / "models" / "model.pt"
    weights.write_bytes(weights.read_bytes() + b"\0")
    text = live.config_path.read_text().replace(str(ROOT / "models"), str(tmp_path / "models"))
    live.config_path.write_text(text)
    checked = live.cli("check", check=False)
    assert checked.returncode == 78
    assert "ModelChanged" in checked.stdout


def test_a_config_with_five_mistakes_lists_all_five_and_exits_78(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('[node]\nae_title = "MUCH TOO LONG AN AE TITLE"\nport = 99999\n[recieve]\n'
                    'processes = 1\n[completion]\nquiet_s = "soon"\n'
                    '[[routes]]\nname = "x"\nmodel = "no_such_model"\nto = ["nobody"]\n')
    done = subprocess.run([sys.executable, "-m", "dicomnode", "--config", str(path), "check"], capture_output=True,
                          text=True, check=False, timeout=60)
    assert done.returncode == 78
    for word in ("ae_title", "99999", "recieve", "soon", "nobody"):
        assert word in done.stdout + done.stderr, done.stdout + done.stderr
