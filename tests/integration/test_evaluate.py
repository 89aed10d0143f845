"""``dicomnode evaluate`` on a data set whose scores can be worked out by hand, through the node's own runner."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.errors import ConfigError, DicomNodeError, ModelChanged, ModelMissing, UnusableDataset
from dicomnode.infer.pool import Pool
from dicomnode.train.dataset.reader import DatasetLabel, DatasetWriter, read_dataset
from dicomnode.train.evaluate.model import model_of
from dicomnode.train.evaluate.runner import evaluate
from tests.threshold_bundles import ABNORMAL, LUNG, NODULE, ORGAN, threshold_model

LABELS = [DatasetLabel(value=1, name="lungs", category=ORGAN, type=LUNG),
          DatasetLabel(value=7, name="Nodule", category=ABNORMAL, type=NODULE, lesion=True)]
SEEN = np.s_[8:12, 12:18, 12:18]
UNSEEN = np.s_[14:17, 22:27, 22:27]


def _case(*, seen=False, unseen=False, false=False):
    """A cube of lung; a nodule that shows, one that is as bright as lung, one that only the image has."""
    hu, truth = np.zeros((24, 40, 40), np.int16), np.zeros((24, 40, 40), np.uint8)
    hu[4:21, 8:32, 8:32], truth[4:21, 8:32, 8:32] = 500, 1
    for wanted, place, value, label in ((seen, SEEN, 900, 7), (unseen, UNSEEN, 500, 7), (false, UNSEEN, 900, 1)):
        if wanted:
            hu[place], truth[place] = value, label
    return hu, truth


def _affine(slice_mm=2.0):
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, :3] = [[0, 0, 1], [0, 1, 0], [slice_mm, 0, 0]]
    affine[:3, 3] = [-20, -20, 100]
    return affine


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    writer = DatasetWriter(tmp_path_factory.mktemp("data") / "chest", name="chest", task="segmentation",
                           channels=["ct"], modality="CT", labels=LABELS)
    skewed = _affine()
    skewed[0, 1] = 0.5
    for name, parts, affine in (
        ("a-missed", {"seen": True, "unseen": True}, _affine()), ("b-false", {"false": True}, _affine()),
        ("c-turned", {"seen": True}, _affine(-2.0)), ("d-thick", {"seen": True}, _affine(5.0)),
        ("e-skewed", {}, skewed),
    ):
        hu, truth = _case(**parts)
        maker = "Alpha" if name < "c" else "Beta"
        writer.add(id=name, patient=name, images_zyx=[hu], affine_lps_mm=affine, label_zyx=truth, split="test",
                   group={"maker": maker})
    writer.close()
    return writer._root


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return threshold_model(folder, "right"), threshold_model(folder, "eager", nodule_hu=450.0)


def _evaluate(*arguments: object, cwd):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-m", "dicomnode", "evaluate", *map(str, arguments)], cwd=cwd,
                          env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def run(data, models, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    done = _evaluate(models[0], "--data", data, "--out", out, "--compare", models[1], "--device", "cpu", "--threads", 1,
                     cwd=out)
    assert done.returncode == 0, done.stderr
    return done, json.loads((out / "evaluation.json").read_text(encoding="utf-8")), \
        (out / "index.html").read_text(encoding="utf-8")


def _value(document, label, metric, *, model="right", group="all"):
    (row,) = [row for row in document["scores"] if (row["model"], row["label"], row["metric"], row["group"]) ==
              (model, label, metric, group)]
    return row


def test_overlap_of_each_case_is_what_the_voxels_say(run):
    cases = {row["id"]: row for row in run[1]["cases"] if row["model"] == "right"}
    nodule = cases["a-missed"]["overlap"]["Nodule"]
    assert nodule["dice"] == pytest.approx(2 * 144 / (144 + 144 + 75), abs=1e-6)
    assert nodule["recall"] == pytest.approx(144 / 219, abs=1e-6)
    assert nodule["precision"] == 1.0
    assert nodule["truth_ml"] == pytest.approx(219 * 2.0 / 1000, abs=1e-6)
    assert nodule["volume_error_percent"] == pytest.approx(-100 * 75 / 219, abs=1e-4)
    lung = cases["a-missed"]["overlap"]["lungs"]
    assert lung["dice"] == pytest.approx(2 * (9792 - 219) / (9792 - 219 + 9792 - 144), abs=1e-6)
    assert cases["b-false"]["overlap"]["Nodule"]["dice"] == 0.0
    assert cases["b-false"]["overlap"]["Nodule"]["hd95_mm"] is None


def test_slices_that_run_against_the_normal_meet_their_truth(run):
    cases = {row["id"]: row for row in run[1]["cases"] if row["model"] == "right"}
    assert {label["dice"] for label in cases["c-turned"]["overlap"].values()} == {1.0}
    assert {label["hd95_mm"] for label in cases["d-thick"]["overlap"].values()} == {0.0}
    assert cases["d-thick"]["group"] == {"maker": "Beta", "slice_mm": 5.0}


def test_lesions_are_counted_one_by_one_over_all_cases(run):
    document = run[1]
    assert _value(document, "Nodule", "lesion_recall")["value"] == pytest.approx(3 / 4)
    assert _value(document, "Nodule", "lesion_precision")["value"] == pytest.approx(3 / 4)
    assert _value(document, "Nodule", "false_per_scan")["value"] == pytest.approx(1 / 4)
    a_case = next(row for row in document["cases"] if row["id"] == "a-missed")
    assert [(one["diameter_mm"], one["reported"]) for one in a_case["lesions"]["Nodule"]["true"]] == \
        [(6.0, True), (5.0, False)]
    assert _value(document, "Nodule", "lesion_recall", group="4 to 6 mm")["value"] == 0.0
    assert _value(document, "Nodule", "lesion_recall", group="6 to 8 mm")["value"] == 1.0


def test_means_run_over_the_cases_that_have_a_number_and_say_how_many(run):
    row = _value(run[1], "Nodule", "dice")
    assert row["value"] == pytest.approx((288 / 363 + 0 + 1 + 1) / 4, abs=1e-6)
    assert row["cases"] == 4
    assert row["low"] < row["value"] < row["high"]
    shared, both = 144 * (2 + 2 + 5), (144 + 219) * 2 + 75 * 2 + 2 * 144 * (2 + 5)
    assert _value(run[1], "Nodule", "dice_pooled")["value"] == pytest.approx(2 * shared / both, abs=1e-6)
    assert _value(run[1], "Nodule", "hd95_mm")["cases"] == 3
    assert _value(run[1], "Nodule", "dice", group="Alpha")["value"] == pytest.approx(144 / 363, abs=1e-6)
    assert _value(run[1], "Nodule", "case_precision")["value"] == 0.75


def test_a_case_that_fails_is_a_row_with_its_reason(run):
    (failed,) = [row for row in run[1]["cases"] if row["failed"] and row["model"] == "right"]
    assert failed["id"] == "e-skewed"
    assert "right angles" in failed["failed"]
    assert "e-skewed" in run[2]
    assert run[1]["models"][0]["scored"] == 4
    assert run[1]["models"][0]["failed"] == 1


def test_two_models_are_compared_on_the_same_cases_and_the_difference_is_paired(run):
    rows = {(row["label"], row["metric"]): row for row in run[1]["differences"]}
    lung = rows["lungs", "dice"]
    assert lung["first"] > 0.9
    assert lung["second"] < 0.1
    assert lung["difference"] == pytest.approx(lung["second"] - lung["first"], abs=1e-6)
    assert (lung["verdict"], lung["cases"]) == ("second is lower", 4)
    assert rows["Nodule", "lesion_recall"]["verdict"] in {"not shown", "second is higher"}


def test_the_page_needs_no_other_file_and_pictures_the_worst_cases(run):
    text = run[2]
    assert re.findall(r"(?:src|href)=\"(?!data:)", text) == []
    assert text.count("data:image/png;base64,") >= 4
    assert text.count("data:image/svg+xml;base64,") >= 4
    assert "a-missed</b>" in text
    assert "right and eager on chest" in text


def test_a_terminal_gets_a_line_per_case_and_the_table(run):
    done = run[0]
    assert re.search(r"right 1/5 a-missed \(.*\): lungs Dice 0\.99\d; Nodule Dice 0\.793; Nodule 1 of 2 seen, 0 false",
                     done.stderr)
    assert "FAILED: UnusableDataset" in done.stderr
    assert re.search(r"right\s+Nodule\s+all\s+dice\s+0\.698", done.stdout)


def _refused(*arguments: object):
    done = CliRunner().invoke(cli, ["evaluate", *map(str, arguments)])
    assert isinstance(done.exception, DicomNodeError), done.output
    return done.exception


def test_json_on_the_terminal_is_one_array_of_the_scores(data, models, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(models[0].parent / "right_bundle", "right_bundle")
    shutil.copy(models[0], "right_bundle.toml")
    done = CliRunner().invoke(cli, ["evaluate", "right_bundle", "--data", str(data), "--json", "--cases", "1",
                                    "--threads", "1", "--device", "cpu"])
    rows = json.loads(done.stdout)
    assert {"model", "label", "key", "group", "metric", "value", "low", "high", "cases"} == set(rows[0])
    assert (tmp_path / "right-evaluation" / "index.html").is_file()


def test_a_bundle_without_a_model_file_is_refused_with_what_to_do(data, models):
    refusal = _refused(models[0].parent / "right_bundle", "--data", data)
    assert isinstance(refusal, ModelMissing)
    assert "right_bundle.toml" in str(refusal)


def test_where_no_case_can_be_scored_the_exit_code_is_65(data, models, tmp_path):
    refusal = _refused(models[0], "--data", data, "--split", "training")
    assert (refusal.exit_code, "no case in training" in str(refusal)) == (65, True)
    changed = tmp_path / "changed"
    shutil.copytree(data, changed)
    (changed / "images" / "a-missed_ct.nii.gz").write_bytes(b"x")
    refusal = _refused(models[0], "--data", changed)
    assert (refusal.exit_code, "a-missed_ct.nii.gz" in str(refusal)) == (65, True)


def test_a_model_that_gives_nothing_for_any_case_ends_with_the_reason(data, models, tmp_path):
    slow = tmp_path / "slow.toml"
    text = models[0].read_text(encoding="utf-8")
    slow.write_text(text.replace("time_limit_s = 120.0", "time_limit_s = 0.05"), encoding="utf-8")
    shutil.copytree(models[0].parent / "right_bundle", tmp_path / "right_bundle")
    refusal = _refused(slow, "--data", data, "--cases", 2, "--out", tmp_path / "out")
    assert (type(refusal), refusal.exit_code) == (UnusableDataset, 65)
    assert "ModelTimeout" in str(refusal)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_cannot_be_made_is_said_before_the_model_runs(data, models, tmp_path):
    (tmp_path / "file").write_text("x", encoding="utf-8")
    refusal = _refused(models[0], "--data", data, "--out", tmp_path / "file" / "out")
    assert isinstance(refusal, ConfigError)
    assert "cannot be made: Not a directory" in str(refusal)


def test_a_changed_bundle_is_not_run(data, models, tmp_path):
    shutil.copytree(models[0].parent / "right_bundle", tmp_path / "right_bundle")
    shutil.copy(models[0], tmp_path / "right.toml")
    with (tmp_path / "right_bundle" / "docs" / "README.md").open("a", encoding="utf-8") as card:
        card.write("one byte more")
    refusal = _refused(tmp_path / "right.toml", "--data", data)
    assert (type(refusal), refusal.exit_code) == (ModelChanged, 78)


def test_two_models_of_one_name_are_refused_before_anything_runs(data, models, tmp_path):
    twin = tmp_path / "twin.toml"
    shutil.copy(models[0], twin)
    shutil.copytree(models[0].parent / "right_bundle", tmp_path / "right_bundle")
    refused = CliRunner().invoke(cli, ["evaluate", str(models[0]), "--data", str(data), "--out", str(tmp_path / "out"),
                                       "--compare", str(twin)]).exception
    assert isinstance(refused, ConfigError)
    assert "both models are called right" in str(refused)
    assert not (tmp_path / "out").exists()


def test_a_seed_that_no_interval_can_be_drawn_from_is_refused_before_the_model_runs(data, models):
    done = CliRunner().invoke(cli, ["evaluate", str(models[0]), "--data", str(data), "--seed", "-1"])
    assert (done.exit_code, "-1 is not in the range x>=0" in done.output) == (2, True)


def test_a_fault_of_another_library_in_one_case_is_that_cases_row_and_the_others_are_scored(data, models):
    dataset = read_dataset(data)
    model, models_dir = model_of(str(models[0]), pytest.fail)

    def full_disk(image, _findings, _row):
        if image.case.id == "b-false":
            raise OSError(28, "No space left on device")

    with Pool(models_dir, device="cpu", threads=1, warm=1) as pool:
        found = evaluate(model, pool, dataset, dataset.test[:2], watch=full_disk)
    assert [(row.case.id, row.failed) for row in found.cases] == \
        [("a-missed", ""), ("b-false", "OSError: [Errno 28] No space left on device")]
