"""``dicomnode evaluate`` of a detector and of a segmentation model against boxes, through the node's own runner."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.train.dataset.reader import DatasetLabel, DatasetWriter
from dicomnode.train.score.label_match import NO_PARTNER
from tests.detection_bundles import bright_spots, detection_model
from tests.model_files import write_model_file
from tests.threshold_bundles import ABNORMAL, NODULE, threshold_model

SPACING_MM = np.array([2.5, 1.5, 1.5])
SHAPE = (40, 90, 90)
AFFINE = np.array([[0, 0, 1.5, -67.0], [0, 1.5, 0, -67], [2.5, 0, 0, -40], [0, 0, 0, 1]])
NEAR, FAR, EMPTY = (12, 25, 20), (28, 60, 62), (20, 40, 70)


def _image(*spots: tuple[tuple[int, int, int], float]):
    grid = np.indices(SHAPE).transpose(1, 2, 3, 0) * SPACING_MM
    values = np.full(SHAPE, -1000, np.int16)
    for place, radius_mm in spots:
        values[np.linalg.norm(grid - np.array(place) * SPACING_MM, axis=-1) < radius_mm] = 600
    return values


def _boxes(*spots: tuple[tuple[int, int, int], float]):
    return np.array([[*(AFFINE @ [*place, 1])[:3], *[2.0 * radius] * 3] for place, radius in spots]).reshape(-1, 6)


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    """Three scans: two nodules seen; one seen and one invisible; one bright spot that is no nodule."""
    folder = tmp_path_factory.mktemp("detection")
    label = DatasetLabel(value=1, name="Nodule", category=ABNORMAL, type=NODULE, lesion=True)
    writer = DatasetWriter(folder / "spots", name="spots", task="detection", channels=["ct"], modality="CT",
                           labels=[label])
    for name, shown, true in (
        ("a-both", [(NEAR, 6.0), (FAR, 6.0)], [(NEAR, 6.0), (FAR, 6.0)]),
        ("b-missed", [(NEAR, 6.0)], [(NEAR, 6.0), (EMPTY, 5.0)]),
        ("c-false", [(FAR, 6.0)], []),
    ):
        writer.add(id=name, patient=name, images_zyx=[_image(*shown)], affine_lps_mm=AFFINE, split="test",
                   boxes_lps_mm=_boxes(*true), box_labels=[0] * len(true))
    writer.close()
    bundle = bright_spots(folder / "spots_bundle")
    detector = write_model_file(detection_model(bundle), folder)
    with detector.open("a", encoding="utf-8") as file:
        file.write("[detection]\nscore_at_least = 0.9\n")
    levels = threshold_model(folder, "levels", lung_hu=-900, nodule_hu=300)
    done = CliRunner().invoke(cli, ["evaluate", str(detector), "--data", str(folder / "spots"), "--compare",
                                    str(levels), "--out", str(folder / "out"), "--device", "cpu", "--threads", "1"])
    assert done.exit_code == 0, done.output
    page = (folder / "out" / "index.html").read_text(encoding="utf-8")
    return json.loads((folder / "out" / "evaluation.json").read_text(encoding="utf-8")), page


def _value(document, metric, *, model="spots", group="all"):
    (row,) = [row for row in document["scores"] if (row["model"], row["metric"], row["group"]) ==
              (model, metric, group)]
    return row["value"]


@pytest.mark.parametrize("model", ["spots", "levels"])
def test_what_is_reported_is_matched_with_the_true_boxes(document, model):
    """Three of four nodules seen, one mark where nothing is, in three scans: by boxes and by a mask's components."""
    assert _value(document[0], "lesion_recall", model=model) == pytest.approx(0.75)
    assert _value(document[0], "lesion_precision", model=model) == pytest.approx(0.75)
    assert _value(document[0], "false_per_scan", model=model) == pytest.approx(1 / 3)
    cases = {row["id"]: row for row in document[0]["cases"] if row["model"] == model}
    assert [one["reported"] for one in cases["b-missed"]["lesions"]["Nodule"]["true"]] == [True, False]
    assert [one["diameter_mm"] for one in cases["a-both"]["lesions"]["Nodule"]["true"]] == [12.0, 12.0]
    assert cases["c-false"]["lesions"]["Nodule"]["false_reported"] == 1


def test_a_detector_has_a_froc_and_average_precision_and_a_mask_has_neither(document):
    assert _value(document[0], "sensitivity_at_8") == pytest.approx(0.75)
    assert 0.5 < _value(document[0], "cpm") <= 0.75
    assert 0.5 < _value(document[0], "ap_10") <= 76 / 101
    (curve,) = document[0]["froc"]
    assert (curve["model"], curve["findings"], curve["scans"]) == ("spots", 4, 3)
    assert len(curve["sensitivity"]) == len(curve["threshold"]) == 7
    assert "score_at_least = 0.9" in document[1]
    assert not [row for row in document[0]["scores"] if row["model"] == "levels" and row["metric"] == "cpm"]


def test_labels_of_a_model_that_the_data_set_lacks_are_named(document):
    notes = {model["name"]: model["notes"] for model in document[0]["models"]}
    assert notes["levels"] == [f"Lung of the model is not scored: {NO_PARTNER}"]


def test_sensitivity_by_diameter_leaves_other_sizes_aside(document):
    assert _value(document[0], "lesion_recall", group="8 to 11 mm") == 0.0
    assert _value(document[0], "lesion_recall", group="11 to 16 mm") == 1.0


def test_missed_and_dreamt_up_lesions_are_pictured(document):
    assert document[1].count("data:image/png;base64,") >= 3
    assert "b-missed</b>" in document[1]
    assert "c-false</b>" in document[1]
