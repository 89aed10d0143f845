"""Which series is analysed, and what is not: from the files to the reports, with real models and the whole node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import Dataset, dcmread

from dicomnode.cli import cli
from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.node import Peer
from dicomnode.errors import OutsideIntendedUse, PoorPixels
from tests.builders import affine_lps, ct_series, uid_of, write_series
from tests.live import LiveNode, until
from tests.threshold_bundles import threshold_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
STUDY = {"StudyInstanceUID": uid_of("the study"), "FrameOfReferenceUID": uid_of("the frame")}
NODULE_LPS_MM, RADIUS_MM = np.array([4.0, -6.0, 132.0]), 9.0


def chest(spacing_zyx_mm: tuple[float, float, float], origin_mm: tuple[float, float, float],
          shape: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Air, a body, two lungs and a nodule at one place of the patient, on any grid; and the grid's affine."""
    affine = affine_lps(spacing_zyx_mm=spacing_zyx_mm, origin_mm=origin_mm)
    index = np.indices(shape).reshape(3, -1)
    place = (affine[:3, :3] @ index + affine[:3, 3:]).T
    hu = np.full(len(place), -1000.0)
    hu[(place[:, 0] / 45) ** 2 + (place[:, 1] / 45) ** 2 < 1] = 30
    hu[(np.abs(place[:, 0]) - 20) ** 2 + place[:, 1] ** 2 < 250] = 400
    hu[np.linalg.norm(place - NODULE_LPS_MM, axis=1) < RADIUS_MM] = 900
    noisy = hu + np.random.default_rng(3).normal(0, 4, hu.shape)
    return np.rint(noisy).reshape(shape).astype(np.int16), affine


def write_study(folder: Path, change: Callable[[np.ndarray], np.ndarray] = lambda hu: hu, **attributes: object) -> Path:
    """A thin and a thick series of one patient in one frame of reference."""
    for name, grid in (("thin", ((2.0, 1.5, 1.5), (-50, -50, 100), (32, 67, 67))),
                       ("thick", ((4.0, 1.0, 1.0), (-52, -48, 102), (15, 104, 100)))):
        hu, affine = chest(*grid)
        write_series(folder / name, ct_series(change(hu), affine=affine, seed=f"{folder.name} {name}",
                                              **{**STUDY, "StudyInstanceUID": uid_of(folder.name), **attributes}))
    return folder


def model(folder: Path, name: str, *, of_input: str = "", more: str = "") -> None:
    path = threshold_model(folder, name, lung_hu=200, nodule_hu=600)
    text = path.read_text(encoding="utf-8").replace('role = "ct"\n', f'role = "ct"\n{of_input}\n')
    path.write_text(text + more, encoding="utf-8")


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    model(folder, "thin", of_input='prefer = { SliceThickness = "thinnest" }')
    model(folder, "thick", of_input="prefer = { SliceThickness = 5.0 }")
    model(folder, "narrow", of_input='prefer = { SliceThickness = "thinnest" }', more=(
        '[limits]\nBodyPartExamined = "CHEST"\nKVP = { min = 80, max = 140 }\n'
        '[quality]\nhounsfield = "refuse"\nduplicate_slices = "flag"\n'))
    (folder / "node.toml").write_text(f'[node]\nmodels_dir = "{folder}"\ndata_dir = "{folder}/data"\n')
    return folder


def processed(models_dir: Path, study: Path, out: Path, *names: str, options: Sequence[str] = ()) -> Result:
    words = [word for name in names for word in ("--model", name)]
    return CliRunner().invoke(cli, ["--config", str(models_dir / "node.toml"), "process", str(study), "--out", str(out),
                                    "--device", "cpu", *words, *options])


def written(out: Path, modality: str) -> list[Dataset]:
    return [one for path in sorted(out.glob("*.dcm")) if (one := dcmread(path)).Modality == modality]


def texts(item: Dataset) -> str:
    return f"{item.get('TextValue', '')}\n" + "".join(map(texts, item.get("ContentSequence", [])))


def tracking_uids(report: Dataset) -> list[str]:
    own = [report.UID] if report.get("ValueType") == "UIDREF" \
        and report.ConceptNameCodeSequence[0].CodeValue == "112040" else []
    return own + [uid for item in report.get("ContentSequence", []) for uid in tracking_uids(item)]


def test_a_nodule_that_two_models_found_on_two_series_is_reported_once(models_dir, tmp_path):
    result = processed(models_dir, write_study(tmp_path / "study"), tmp_path / "out", "thin", "thick")
    assert result.exit_code == 0, result.output
    segs = written(tmp_path / "out", "SEG")
    assert len({seg.ReferencedSeriesSequence[0].SeriesInstanceUID for seg in segs}) == 2
    uids = {segment.TrackingUID for seg in segs for segment in seg.SegmentSequence if "TrackingUID" in segment}
    assert len(uids) == 1
    findings = [report for report in written(tmp_path / "out", "SR") if tracking_uids(report)
                and "findings" in report.SeriesDescription]
    assert findings
    for report in findings:
        assert tracking_uids(report).count(uids.copy().pop()) == 1
    lines = [line for line in result.output.splitlines() if line.startswith("Nodule 1")]
    assert len(lines) == 1
    assert "Nodule 2" not in result.output


def test_process_gives_the_same_bytes_under_the_same_uids(models_dir, tmp_path):
    study, at = write_study(tmp_path / "study"), ["--at", "2026-03-01T08:30:00+08:00"]
    runs = []
    for name in ("one", "two"):
        assert processed(models_dir, study, tmp_path / name, "thin", options=at).exit_code == 0
        runs.append({path.name: path.read_bytes() for path in sorted((tmp_path / name).glob("*.dcm"))})
    assert len(runs[0]) >= 4
    assert runs[0] == runs[1]


def test_process_says_so_where_the_model_file_allows_no_object(models_dir, tmp_path):
    model(models_dir, "silent", more="[outputs]\nseg = false\nsr = false\n")
    result = processed(models_dir, write_study(tmp_path / "study"), tmp_path / "out", "silent")
    assert result.exit_code == 0, result.output
    assert "nothing was written: [outputs] of silent allows no object" in result.output
    refused = processed(models_dir, tmp_path / "study", tmp_path / "out", "silent", options=["--at", "noon"])
    assert refused.exit_code == 2
    assert "'noon': allowed is a time" in refused.output


@pytest.mark.parametrize(("attributes", "said"), [
    ({"BodyPartExamined": "KNEE"}, "BodyPartExamined is KNEE, wanted CHEST"),
    ({"KVP": "160"}, "KVP is 160, wanted 80 to 140"),
])
def test_process_refuses_a_study_outside_the_limits_before_it_reads_a_pixel(models_dir, tmp_path, attributes, said):
    result = processed(models_dir, write_study(tmp_path / "study", **attributes), tmp_path / "out", "narrow")
    assert isinstance(result.exception, OutsideIntendedUse)
    assert result.exception.exit_code == 65
    assert "model narrow was not validated for this: series 3" in str(result.exception)
    assert said in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_poor_pixels_are_refused_or_reported_as_the_model_file_says(models_dir, tmp_path):
    def shifted(hu: np.ndarray) -> np.ndarray:
        return hu + 1024

    refused = processed(models_dir, write_study(tmp_path / "shifted", shifted), tmp_path / "none", "narrow")
    assert isinstance(refused.exception, PoorPixels)
    assert refused.exception.exit_code == 65
    assert "nothing is air (below -300)" in str(refused.exception)

    def repeated(hu: np.ndarray) -> np.ndarray:
        changed = hu.copy()
        changed[6] = changed[5]
        return changed

    flagged = processed(models_dir, write_study(tmp_path / "repeated", repeated), tmp_path / "out", "narrow")
    assert flagged.exit_code == 0, flagged.output
    said = "image quality: slice 7 has the same pixels as slice 6"
    assert f"warning: {said}" in flagged.output
    reports = written(tmp_path / "out", "SR")
    assert reports
    assert all(said in texts(report) for report in reports if report.SOPClassUID != "1.2.840.10008.5.1.4.1.1.88.59")


def test_the_node_reports_why_a_study_is_outside_the_limits_or_too_poor(models_dir, tmp_path):
    with ReceivingPacs(tmp_path / "pacs") as pacs:
        node = LiveNode(
            tmp_path / "node", models_dir=models_dir,
            peers=f'[peers.scanner]\nae_title = "SCANNER"\n[peers.pacs]\nae_title = "DEMOPACS"\nhost = "127.0.0.1"\n'
                  f'port = {pacs.port}\n',
            routes='[[routes]]\nname = "chest"\nfrom = ["scanner"]\nmodel = "narrow"\nto = ["pacs"]\n'
                   'report_not_analysed = true\n')
        try:
            node.start()
            knee = write_study(tmp_path / "knee", BodyPartExamined="KNEE")
            poor = write_study(tmp_path / "poor", lambda hu: np.clip(hu, 0, None))
            us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
            for study in (knee, poor):
                send_files(node_ae_title="SCANNER", peer=us, paths=sorted(study.rglob("*.dcm")), timeout_s=60,
                           progress=None)
            until(lambda: len(list(pacs.folder.rglob("*.dcm"))) >= 2, "two reports that nothing was analysed")
        finally:
            node.stop()
        found = {str(one.StudyInstanceUID): texts(one) for one in map(dcmread, pacs.folder.rglob("*.dcm"))}
    assert "BodyPartExamined is KNEE, wanted CHEST" in found[uid_of("knee")]
    assert "nothing is air (below -300)" in found[uid_of("poor")]
