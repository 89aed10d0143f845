"""``dicomnode dataset``: what it prints, what it writes, and how it ends."""

from __future__ import annotations

import json
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from dicomnode.cli import cli
from dicomnode.errors import EXIT_BAD_DATA, UnusableDataset
from dicomnode.train.dataset.reader import read_dataset
from tests.builders import ct_series, write_series
from tests.findings import stack_of

SHAPE = (8, 24, 30)
DOCS = (Path(__file__).parents[3] / "docs" / "commands.md").read_text(encoding="utf-8")


def a_mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:6, 4:16, 5:20] = 1
    mask[6, 8:10, 8:10] = 2
    return mask


@pytest.fixture
def source(tmp_path):
    for name in ("a", "b", "c"):
        series = ct_series(np.zeros(SHAPE, np.int16), seed=name, PatientID=name, PatientName=f"Doe^{name}")
        write_series(tmp_path / "src" / name, series)
        affine = np.diag((-1.0, -1.0, 1.0, 1.0)) @ stack_of(series).affine_lps_mm[:, [2, 1, 0, 3]]
        nibabel.save(nibabel.Nifti1Image(a_mask().transpose(2, 1, 0), affine), tmp_path / "src" / name / "seg.nii.gz")
    write_series(tmp_path / "src" / "bare", ct_series(np.zeros(SHAPE, np.int16), seed="bare", PatientID="bare"))
    return tmp_path / "src"


def run(*words: object):
    return CliRunner().invoke(cli, ["dataset", *(str(word) for word in words)])


def test_a_data_set_is_built_with_a_page_to_look_at(source, tmp_path):
    result = run("build", source, "--out", tmp_path / "lungs", "--label", "Lung=1", "--label", "<Spot>=2!")
    assert result.exit_code == 0, result.output
    assert "lungs: segmentation, 3 cases of 3 patients, channels ct (CT)" in result.output
    assert "no annotation refers to it" in result.output
    page = (tmp_path / "lungs" / "report.html").read_text(encoding="utf-8")
    assert "&lt;Spot&gt;" in page
    assert "<Spot>" not in page
    assert "Phantom Works" in page
    assert "Doe" not in page
    pictures = re.findall(r'<img src="(pictures/[\w.]+\.png)"', page)
    assert len(pictures) == 9  # most marked, rarest label, middle
    for name in pictures:
        with Image.open(tmp_path / "lungs" / name) as picture:
            assert picture.size[0] == 420
            assert len(np.unique(np.asarray(picture))) > 1


def test_the_outline_lies_where_the_label_is(source, tmp_path):
    run("build", source, "--out", tmp_path / "d")
    first = min((tmp_path / "d" / "pictures").glob("*_0.png"))
    with Image.open(first) as picture:
        coloured = np.ptp(np.asarray(picture).astype(int), axis=2) > 40
    rows, columns = np.nonzero(coloured)
    scale = 420 / SHAPE[2]
    assert np.allclose([rows.min(), rows.max()], [4 * scale, 16 * scale], atol=2)
    assert np.allclose([columns.min(), columns.max()], [5 * scale, 20 * scale], atol=2)


def test_show_verifies_and_prints_the_documented_keys(source, tmp_path):
    run("build", source, "--out", tmp_path / "d", "--no-report")
    assert not (tmp_path / "d" / "report.html").exists()
    assert "3 cases of 3 patients" in run("show", tmp_path / "d", "--report").output
    assert (tmp_path / "d" / "report.html").exists()
    rows = json.loads(run("show", tmp_path / "d", "--json").output)
    section = DOCS.partition("### dataset show\n")[2].partition("\n### ")[0].partition("| JSON key |")[2]
    cells = re.findall(r"^\| (`.+?`) \|", section, re.MULTILINE)
    assert set(rows[0]) == {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
    label = next((tmp_path / "d" / "labels").iterdir())
    content = label.read_bytes()
    label.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused = run("show", tmp_path / "d").exception
    assert isinstance(refused, UnusableDataset)
    assert refused.exit_code == EXIT_BAD_DATA
    assert run("show", tmp_path / "d", "--no-verify").exit_code == 0


def test_a_kept_key_makes_the_data_set_again_and_is_nobody_elses(source, tmp_path):
    for out in ("one", "two"):
        assert run("build", source, "--out", tmp_path / out, "--keep-key", tmp_path / "key", "--name", "d",
                   "--no-report").exit_code == 0
    assert (tmp_path / "one/dataset.json").read_bytes() == (tmp_path / "two/dataset.json").read_bytes()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    (tmp_path / "key").write_text("none")
    assert "no key" in str(run("build", source, "--out", tmp_path / "x", "--keep-key", tmp_path / "key").exception)


def test_a_data_set_grows_without_moving_a_patient_to_another_split(source, tmp_path):
    for out, words in (("old", ["--split", "0/0/1"]), ("new", ["--splits-of", tmp_path / "old"])):
        if out == "new":
            series = ct_series(np.zeros(SHAPE, np.int16), seed="d", PatientID="d")
            write_series(source / "d", series)
            (source / "d" / "seg.nii.gz").write_bytes((source / "a" / "seg.nii.gz").read_bytes())
        assert run("build", source, "--out", tmp_path / out, "--keep-key", tmp_path / "key", "--no-report",
                   *words).exit_code == 0
    old, new = (read_dataset(tmp_path / out) for out in ("old", "new"))
    assert {case.id for case in old.test} == {case.id for case in new.test}
    assert len(new.training) == 1


@pytest.mark.parametrize("words", [["--split", "70/30"], ["--split", "a/b/c"], ["--split", "0/0/0"]])
def test_a_split_that_is_none_is_refused(source, tmp_path, words):
    assert isinstance(run("build", source, "--out", tmp_path / "d", *words).exception, UnusableDataset)


def test_splits_are_kept_only_with_the_key_that_names_the_patients(source, tmp_path):
    run("build", source, "--out", tmp_path / "old", "--keep-key", tmp_path / "key", "--no-report")
    again = ("build", source, "--out", tmp_path / "new", "--splits-of", tmp_path / "old", "--no-report")
    assert "--splits-of needs --keep-key" in str(run(*again).exception)
    refused = run(*again, "--keep-key", tmp_path / "another").exception
    assert isinstance(refused, UnusableDataset)
    assert "none of the patients of --splits-of is among these" in str(refused)
    assert not (tmp_path / "new").exists()


def test_a_key_that_cannot_be_made_and_a_folder_that_is_a_file_are_said(source, tmp_path):
    nowhere = run("build", source, "--out", tmp_path / "d", "--keep-key", tmp_path / "none" / "key").exception
    assert isinstance(nowhere, UnusableDataset)
    assert "cannot be made: No such file or directory" in str(nowhere)
    (tmp_path / "file").write_text("x")
    assert "is a file" in str(run("build", source, "--out", tmp_path / "file").exception)
