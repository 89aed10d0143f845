"""Orthanc as the PACS, by its shipped example: real studies go to the node by themselves, and results come back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.dicom import CT_IMAGE_STORAGE
from tests.live import PATIENCE_S, LiveNode, Orthanc, free_port, orthanc_example, shared_data, unpack, until
from tests.outside import bundle_labels, head_labels, meshnet_labels, seg_on
from tests.shared import dicom_files
from tests.trip import Trip, install_models

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
ARCHIVES = {"brain": ("mr_brain_sag_anon", "sag_anon.tar.xz"), "chest": ("ct_chest_c3n00247", "c3n00247.tar.xz")}
MODELS = {"brain": ("meshnet_model5_gw_ae", "hippodeep_head"), "chest": ("demo_chest",)}
TUMOUR = {"slice_from_feet": 31, "row": 168, "column": 106}
"""Where the README of the shared data says that the chest study's cancer lies; low columns are the patient's right."""
ROUTES = """
[[routes]]
name = "brain-mr"
from = ["pacs"]
model = ["meshnet_model5_gw_ae", "hippodeep_head"]
to = ["pacs"]
when = { Modality = "MR" }
[[routes]]
name = "chest-ct"
from = ["pacs"]
model = ["demo_chest"]
to = ["pacs"]
when = { Modality = "CT", BodyPartExamined = "CHEST" }
"""
SEG, SR3D = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34"
KOS = "1.2.840.10008.5.1.4.1.1.88.59"
RECEIVE = f'sop_classes = ["CTImageStorage", "MRImageStorage", "{SEG}", "{SR3D}", "{KOS}"]'


@pytest.fixture(scope="module")
def trip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trip]:
    folder = tmp_path_factory.mktemp("trip")
    images = {}
    for name, parts in ARCHIVES.items():
        unpack(shared_data(*parts), folder / name)
        images[name] = dicom_files(folder / name)
    port = free_port()
    with Orthanc(folder / "orthanc", node_port=port, **orthanc_example(port) | {"StableAge": 2}) as orthanc:
        peers = f'[peers.pacs]\nae_title = "ORTHANC"\nhost = "127.0.0.1"\nport = {orthanc.dicom_port}\n'
        node = LiveNode(folder / "node", peers=peers, routes=ROUTES, port=port, models_dir=folder / "bundles",
                        receive=RECEIVE)
        install_models(folder / "bundles", node.folder / "models")
        try:
            node.start()
            for paths in images.values():
                orthanc.upload(paths)
            yield Trip(node, orthanc, images, folder / "bundles", folder)
        finally:
            node.stop()


@pytest.mark.parametrize("name", ARCHIVES)
def test_results_come_back_into_the_study_that_orthanc_sent(trip: Trip, name: str) -> None:
    results = trip.results(name)
    source = dcmread(trip.images[name][0], stop_before_pixels=True)
    assert len(results["SEG"]) == len(MODELS[name])
    assert results["SR"]
    for path in (*results["SEG"], *results["SR"]):
        result = dcmread(path)
        assert (result.StudyInstanceUID, result.PatientID) == (source.StudyInstanceUID, source.PatientID)
        assert result.Manufacturer == "dicomnode"
    assert [row["state"] for row in trip.node.rows("deliveries")].count("failed") == 0


@pytest.mark.parametrize("name", ARCHIVES)
def test_the_manifest_leads_to_every_object_of_the_analysis_that_orthanc_has(trip: Trip, name: str) -> None:
    results = trip.results(name)
    (path,) = results["KO"]
    manifest = hd.ko.KeyObjectSelectionDocument.from_dataset(dcmread(path))
    others = [dcmread(path, stop_before_pixels=True) for path in (*results["SEG"], *results["SR"])]
    for one in others:
        place = (str(one.StudyInstanceUID), str(one.SeriesInstanceUID), str(one.SOPInstanceUID))
        assert manifest.resolve_reference(one.SOPInstanceUID) == place
    (evidence,) = manifest.CurrentRequestedProcedureEvidenceSequence
    assert sum(len(series.ReferencedSOPSequence) for series in evidence.ReferencedSeriesSequence) == len(others)
    assert manifest.SeriesNumber > max(one.SeriesNumber for one in others)


@pytest.mark.parametrize("name", ARCHIVES)
def test_volumes_in_the_report_are_those_of_the_mask_as_highdicom_reads_both(trip: Trip, name: str) -> None:
    image = trip.volume(name)
    reported = volumes_ml(trip.results(name)["SR"])
    drawn = {}
    for path in trip.results(name)["SEG"]:
        mask = seg_on(path, image)
        for segment in hd.seg.segread(path).SegmentSequence:
            voxels = int((mask == segment.SegmentNumber).sum())
            drawn[segment.SegmentLabel] = voxels * image.voxel_volume / 1000
    assert set(reported) == set(drawn)
    for structure, volume_ml in drawn.items():
        assert reported[structure] == pytest.approx(volume_ml, rel=2e-3), structure


def volumes_ml(reports: list[Path]) -> dict[str, float]:
    """Read every measurement group's volume, by its tracking identifier."""
    found = {}
    for path in reports:
        for group in groups(dcmread(path)):
            name = next(one.TextValue for one in group.ContentSequence if meaning(one) == "Tracking Identifier")
            (volume,) = [one for one in group.ContentSequence if meaning(one) == "Volume"]
            assert volume.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue == "cm3"
            found[name] = float(volume.MeasuredValueSequence[0].NumericValue)
    return found


def groups(item: Dataset) -> list[Dataset]:
    found = []
    for child in item.get("ContentSequence", ()):
        found += [child] if meaning(child) == "Measurement Group" else groups(child)
    return found


def meaning(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else ""


def test_the_brain_networks_outside_the_node_give_the_same_voxels(trip: Trip) -> None:
    image = trip.volume("brain")
    head = head_labels(shared_data("w_hippodeep", "torchparams", "params_head_00075_00000.pt"), image)
    assert int((seg_on(trip.seg("brain", "hippodeep_head"), image) != head).sum()) == 0
    weights = shared_data("w_brainchop_meshnet", "brainchop-models", "meshnet", "model5_gw_ae", "model.pth")
    outside = meshnet_labels(weights, image, trip.folder / "brain.nii.gz")
    inside = seg_on(trip.seg("brain", "meshnet"), image)
    assert {int(value) for value in np.unique(outside)} == {0, 1, 2}
    assert int((inside != outside).sum()) == 0


def test_the_chest_network_outside_the_node_gives_the_same_lungs(trip: Trip) -> None:
    image = trip.volume("chest")
    outside = bundle_labels(trip.bundles / "phantom_chest_ct_segmentation", image, trip.folder / "chest.nii.gz") == 1
    inside = seg_on(trip.seg("chest", "demo_chest"), image) == 1
    assert int(inside.sum()) == pytest.approx(int(outside.sum()), rel=2e-3)
    assert 2 * (inside & outside).sum() / (inside.sum() + outside.sum()) > 0.998


def test_brain_structures_lie_where_anatomy_has_them(trip: Trip) -> None:
    image = trip.volume("brain")
    head = seg_on(trip.seg("brain", "hippodeep_head"), image)
    white = seg_on(trip.seg("brain", "meshnet"), image) == 1
    cerebellum_lps, cerebrum_lps = centroid_lps_mm(head == 1, image), centroid_lps_mm(head == 2, image)
    assert cerebellum_lps[1] > cerebrum_lps[1] + 15, "cerebellum and brain stem lie behind"
    assert cerebellum_lps[2] < cerebrum_lps[2] - 30, "and below"
    assert (head[white] > 0).mean() > 0.97, "white matter lies inside the brain, as another network draws it"
    left_mm = lps_mm(head == 2, image)[0]
    assert (left_mm > cerebrum_lps[0]).mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(("name", "model", "looks"), [("brain", "meshnet", "bright"), ("chest", "demo_chest", "dark")])
def test_left_is_left_a_mirrored_mask_would_fit_the_image_worse(trip: Trip, name: str, model: str, looks: str) -> None:
    image = trip.volume(name).to_patient_orientation("LPH")
    mask = seg_on(trip.seg(name, model), image) == 1
    first, last = np.flatnonzero(mask.any(axis=(1, 2)))[[0, -1]]
    values, inside = image.array[first:last + 1].astype(np.float64), mask[first:last + 1]
    here, mirrored = values[inside].mean(), values[inside[::-1]].mean()
    assert (here < mirrored - 20) if looks == "dark" else (here > 1.05 * mirrored)


def test_the_known_lung_cancer_is_reported_at_its_place_in_the_right_lung(trip: Trip) -> None:
    by_height = sorted((dcmread(path, stop_before_pixels=True) for path in trip.images["chest"]),
                       key=lambda one: float(one.ImagePositionPatient[2]))
    near = {one.SOPInstanceUID for one in by_height[TUMOUR["slice_from_feet"] - 4:TUMOUR["slice_from_feet"] + 5]}
    sides = []
    for group in (one for path in trip.results("chest")["SR"] for one in groups(dcmread(path))):
        for region in (one for one in group.ContentSequence if one.ValueType == "SCOORD"):
            columns, rows = region.GraphicData[0::2], region.GraphicData[1::2]
            on = region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
            if on in near and min(columns) <= TUMOUR["column"] <= max(columns) and (
                    min(rows) <= TUMOUR["row"] <= max(rows)):
                sides.append(side(group))
    assert sides == ["Right"]
    assert by_height[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0], "low columns are the patient's right"


def side(group: Dataset) -> str:
    (site,) = [one for one in group.ContentSequence if meaning(one) == "Finding Site"]
    return str(site.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning)


@pytest.mark.parametrize("name", ARCHIVES)
def test_a_study_that_orthanc_sends_back_with_its_results_is_not_analysed_again(trip: Trip, name: str) -> None:
    results, uid = trip.results(name), trip.study_uid(name)
    jobs = trip.node.rows("jobs")
    order = trip.orthanc.send(trip.in_orthanc(uid)["ID"], "dicomnode")
    ended = until(lambda: trip.orthanc.get(f"/jobs/{order}")["State"] in {"Success", "Failure"}, "Orthanc has sent it")
    assert ended
    assert trip.orthanc.get(f"/jobs/{order}")["State"] == "Success"
    returned = sum(len(paths) for paths in results.values())
    until(lambda: events(trip.node, uid).count("own_output_returned") == returned, "the node knows its own results")
    until(lambda: not list((trip.node.spool / "arrivals").rglob("*.dcm")), "everything is indexed")
    assert trip.outcome(name) == "analysed"
    assert trip.node.rows("jobs") == jobs


def events(node: LiveNode, uid: str) -> list[str]:
    return [row["kind"] for row in node.rows("study", uid)]


def test_a_summary_page_that_calls_itself_ct_stays_in_orthanc(tmp_path: Path) -> None:
    unpack(shared_data("ct_head_philips_study", "philips_head_study.tar.xz"), tmp_path / "study")
    paths = [path for path in dicom_files(tmp_path / "study") if path.name != "DIRFILE"]
    with ReceivingPacs(tmp_path / "node", ae_title="DICOMNODE") as node, Orthanc(
            tmp_path / "orthanc", node_port=node.port, **orthanc_example(node.port) | {"StableAge": 1}) as orthanc:
        orthanc.upload(paths)
        images = [path for path in paths if dcmread(path, stop_before_pixels=True).SOPClassUID == CT_IMAGE_STORAGE]
        assert 0 < len(images) < len(paths)
        assert node.wait_for(len(images), PATIENCE_S)
        until(lambda: all(orthanc.get(f"/series/{one}")["IsStable"] for one in orthanc.get("/series")), "all is stable")
        until(lambda: set(states(orthanc)) == {"Success"}, "every order of Orthanc has ended well")
        assert {one.sop_class_uid for one in node.received} == {CT_IMAGE_STORAGE}


def states(orthanc: Orthanc) -> list[str]:
    return [orthanc.get(f"/jobs/{job}")["State"] for job in orthanc.get("/jobs")]


def lps_mm(mask: np.ndarray[Any, Any], image: hd.Volume) -> np.ndarray[Any, Any]:
    """Return where every voxel of a mask lies, 3 × n."""
    indices = np.argwhere(mask).T
    return np.asarray((image.affine @ np.vstack([indices, np.ones(indices.shape[1])]))[:3])


def centroid_lps_mm(mask: np.ndarray[Any, Any], image: hd.Volume) -> np.ndarray[Any, Any]:
    return np.asarray(lps_mm(mask, image).mean(axis=1))
