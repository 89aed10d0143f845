"""A detector in the node: its bundle in the real child, alone and beside a segmentation, to SEG and SR."""

from __future__ import annotations

import subprocess
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from highdicom import sr
from pydicom import Dataset, dcmread

from dicomnode.config import model_from_text
from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.demo.study import write_phantom_study
from dicomnode.domain.dicom import COMPREHENSIVE_3D_SR_STORAGE
from dicomnode.domain.node import Peer
from dicomnode.infer.pool import Pool
from tests.builders import ct_series, write_series
from tests.bundles import volume
from tests.detection_bundles import bright_spots, detection_model
from tests.live import LiveNode, need
from tests.model_files import write_model_file
from tests.object_rules import broken_rules
from tests.threshold_bundles import threshold_model

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SPACING_MM = (2.5, 1.5, 1.5)
SHAPE = (40, 90, 90)
AFFINE = np.array([[0, 0, 1.5, -67.0], [0, 1.5, 0, -67], [2.5, 0, 0, -40], [0, 0, 0, 1]])
"""(slice, row, column) → LPS mm."""
BOTH, DETECTOR_ALONE, SEGMENTATION_ALONE = (12, 25, 20), (28, 60, 62), (20, 40, 70)


def a_chest() -> np.ndarray:
    """A body with two lungs; one spot for both models, one too faint for one, one too small for the other."""
    grid = np.indices(SHAPE).transpose(1, 2, 3, 0) * SPACING_MM
    values = np.full(SHAPE, -1000, dtype=np.int16)
    values[:, 6:84, 3:87] = -490
    values[4:36, 10:80, 6:40] = values[4:36, 10:80, 50:84] = -800
    for place, radius_mm, hu in ((BOTH, 6, 600), (DETECTOR_ALONE, 7, 250), (SEGMENTATION_ALONE, 2, 600)):
        values[np.linalg.norm(grid - np.array(place) * SPACING_MM, axis=-1) < radius_mm] = hu
    return values


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    bright_spots(folder / "spots_bundle")
    write_model_file(detection_model(folder / "spots_bundle"), folder)
    threshold_model(folder, "levels", lung_hu=-900, nodule_hu=300)
    return folder


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> list[Path]:
    return write_series(tmp_path_factory.mktemp("study"), ct_series(a_chest(), affine=AFFINE, BodyPartExamined="CHEST"))


@pytest.fixture(scope="module")
def results(models_dir, study, tmp_path_factory) -> list[Dataset]:
    """What came back from a node whose one route has both models."""
    with ReceivingPacs(tmp_path_factory.mktemp("pacs")) as pacs:
        node = LiveNode(
            tmp_path_factory.mktemp("node"), models_dir=models_dir,
            peers=f'[peers.scanner]\nae_title = "SCANNER"\n[peers.pacs]\nae_title = "DEMOPACS"\nhost = "127.0.0.1"\n'
                  f'port = {pacs.port}\n',
            routes='[[routes]]\nname = "both"\nfrom = ["scanner"]\nmodel = ["spots", "levels"]\nto = ["pacs"]\n')
        try:
            node.start()
            us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
            send_files(node_ae_title="SCANNER", peer=us, paths=study, timeout_s=60, progress=None)
            node.wait_for_event("delivery_completed")
        finally:
            node.stop()
        return [dcmread(path) for path in sorted(pacs.folder.rglob("*.dcm"))]


def groups(results: list[Dataset]) -> list[sr.PlanarROIMeasurementsAndQualitativeEvaluations]:
    (report,) = [one for one in results if one.Modality == "SR" and " findings " in one.SeriesDescription]
    found = sr.Comprehensive3DSR.from_dataset(report)
    return found.content.get_planar_roi_measurement_groups()


def numbers(group) -> dict[str, float]:
    return {one.name.meaning: float(one.value) for one in group.get_measurements()}


def algorithms(item: Dataset) -> list[str]:
    """Return the names of algorithms (111001) in an item and below it."""
    own = [item.TextValue] if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "111001" else []
    return own + [name for child in item.get("ContentSequence", ()) for name in algorithms(child)]


def test_a_detector_in_the_child_gives_boxes_on_the_source_grid_and_no_labels(models_dir):
    model = model_from_text((models_dir / "spots.toml").read_text(), source="spots")
    with Pool(models_dir, device="cpu", threads=1) as pool:
        output = pool.run(model, {"image": volume(a_chest(), AFFINE)})
    assert output.labels_zyx is None
    assert output.boxes is not None
    assert {box.label for box in output.boxes} == {1}
    middles = sorted(tuple((np.array(box.box_zyx[:3]) + box.box_zyx[3:]) / 2) for box in output.boxes)
    for place, middle in zip((BOTH, DETECTOR_ALONE), middles, strict=True):
        assert np.abs((np.array(middle) - place) * SPACING_MM).max() < 4
    assert set(output.seconds) >= {"load", "preprocess", "inference", "postprocess", "transfer"}


def test_a_lesion_that_both_models_found_is_one_group_whose_tracking_uid_the_seg_carries(results):
    (seg,) = [hd.seg.Segmentation.from_dataset(one) for one in results if one.Modality == "SEG"]
    tracked = {str(item.TrackingUID): int(item.SegmentNumber) for item in seg.SegmentSequence if "TrackingUID" in item}
    both = next(one for one in groups(results) if set(numbers(one)) == {"Diameter", "Volume", "Probability"})
    assert both.tracking_uid in tracked
    assert numbers(both)["Probability"] > 0.5
    assert numbers(both)["Volume"] == pytest.approx(4 / 3 * np.pi * 0.6 ** 3, rel=0.1)
    assert algorithms(both[0]) == ["levels", "spots"]


def test_what_one_model_alone_found_says_which(results):
    by_model = {tuple(algorithms(one[0])): numbers(one) for one in groups(results)}
    assert set(by_model) == {("levels", "spots"), ("levels",), ("spots",)}
    assert set(by_model["spots",]) == {"Diameter", "Probability"}
    assert set(by_model["levels",]) == {"Diameter", "Volume"}


def test_findings_are_numbered_from_the_largest_over_both_models(results):
    found = groups(results)
    assert [one.tracking_identifier for one in found] == ["Nodule 1", "Nodule 2", "Nodule 3"]
    sizes = [numbers(one)["Diameter"] for one in found]
    assert sizes == sorted(sizes, reverse=True)
    assert len({one.tracking_uid for one in found}) == 3


def test_the_lungs_of_the_segmentation_tell_the_side_of_a_box(results):
    sites = {tuple(algorithms(one[0])): one.finding_sites[0] for one in groups(results) if one.finding_sites}
    assert {who: site.laterality.meaning for who, site in sites.items()} \
        == {("levels", "spots"): "Right", ("levels",): "Left", ("spots",): "Left"}
    assert {site.value.meaning for site in sites.values()} == {"Lung"}


def test_nothing_is_said_to_be_absent_and_no_seg_stands_for_boxes(results):
    assert not [one for one in results if "negative" in one.SeriesDescription]
    assert sorted(one.Modality for one in results) == ["KO", "SEG", "SR", "SR"]


@pytest.fixture(scope="module")
def offline(models_dir, study, tmp_path_factory) -> tuple[str, list[Path]]:
    """What ``process`` prints and writes with both models."""
    folder = tmp_path_factory.mktemp("process")
    node = LiveNode(folder / "node", models_dir=models_dir, peers="", routes="")
    done = node.cli("process", str(study[0].parent), "--model", "spots", "--model", "levels", "--out",
                    str(folder / "out"))
    return done.stdout, sorted((folder / "out").glob("*.dcm"))


def test_process_with_both_models_gives_the_numbers_of_the_node(results, offline):
    said, paths = offline
    assert "Nodule 1: " in said
    assert "probability" in said
    reports = [one for one in map(dcmread, paths) if one.SOPClassUID == COMPREHENSIVE_3D_SR_STORAGE]
    assert [numbers(one) for one in groups(reports)] == [numbers(one) for one in groups(results)]


def test_the_results_break_no_rule_of_the_standard_nor_of_ours(offline, study):
    _, paths = offline
    assert broken_rules([dcmread(path) for path in paths], [dcmread(path) for path in study]) == []
    checker = need("dciodvfy", "dicom3tools")
    for path in paths:
        said = subprocess.run([checker, str(path)], capture_output=True, text=True, check=False, timeout=120)
        assert [line for line in (said.stdout + said.stderr).splitlines() if line.startswith("Error")] == [], path.name


def test_the_shipped_pair_gives_one_report_in_which_true_nodules_have_volume_and_probability(tmp_path):
    phantom = write_phantom_study(tmp_path / "study", seed=20260101)
    node = LiveNode(tmp_path / "node", peers="", routes="")
    node.cli("process", str(tmp_path / "study"), "--model", "demo_chest", "--model", "demo_nodule", "--out",
             str(tmp_path / "out"))
    written = [dcmread(path) for path in sorted((tmp_path / "out").glob("*.dcm"))]
    found = groups([one for one in written if one.SOPClassUID == COMPREHENSIVE_3D_SR_STORAGE])
    both = [one for one in found if {"Volume", "Probability"} <= set(numbers(one))]
    (seg,) = [one for one in written if one.Modality == "SEG"]
    assert {one.tracking_uid for one in both} <= {item.get("TrackingUID") for item in seg.SegmentSequence}
    slices = {str(image.SOPInstanceUID): image.InstanceNumber - 1
              for image in (dcmread(path, stop_before_pixels=True) for path in (tmp_path / "study").glob("*.dcm"))}
    for nodule in (one for one in phantom.nodules if one.diameter_mm >= 10):
        z, y, x = nodule.centre_index_zyx
        assert any(
            abs(slices[one.roi.ContentSequence[0].referenced_sop_instance_uid] - z) <= 3
            and np.abs(one.roi.value.mean(axis=0) - (x + 0.5, y + 0.5)).max() <= 4 for one in both), nodule
