"""A classification bundle through the sandboxed child: the command's own probabilities, and reports that say them."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from dataclasses import replace
from io import BytesIO

import nibabel
import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread

from dicomnode.domain.findings import Presence
from dicomnode.domain.model import InputRole
from dicomnode.infer.pool import Pool
from dicomnode.infer.request import affine_ras_mm
from dicomnode.run.analyse import Identity, Task, analyse
from dicomnode.run.loop import utc_now
from tests.builders import affine_lps, ct_series, write_series
from tests.bundles import blobs, volume
from tests.classification_bundles import NAMES, NETWORK, classification_file, classification_template
from tests.findings import NODE_ID
from tests.live import need

MAKES_CSV = importlib.util.find_spec("ignite") and importlib.util.find_spec("fire")


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundles")
    classification_template(folder / "template")
    with Pool(folder, device="cpu", threads=1) as made:
        yield made, folder


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(not MAKES_CSV, reason="the command needs pytorch-ignite and fire")
def test_probabilities_equal_those_of_the_bundle_command(pool, tmp_path):
    made, folder = pool
    image = volume(blobs((24, 40, 44), seed=1), affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3)))
    nibabel.save(nibabel.Nifti1Image(image.values_zyx.transpose(2, 1, 0), affine_ras_mm(image.stack.affine_lps_mm)),
                 tmp_path / "case.nii.gz")
    subprocess.run(
        [sys.executable, "-m", "monai.bundle", "run", "--config_file",
         str(folder / "template" / "configs" / "inference.json"), "--bundle_root", str(folder / "template"),
         "--dataset_dir", str(tmp_path), "--output_dir", str(tmp_path / "out"), "--logging_file", "False"],
        check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, cwd=tmp_path)
    (saved,) = csv.reader((tmp_path / "out" / "predictions.csv").read_text(encoding="utf-8").splitlines())
    expected = np.array(saved[1:], dtype=float)
    given = made.run(classification_file(folder / "template"), {"image": image}).probabilities
    assert expected.sum() == pytest.approx(1, abs=1e-5)
    assert expected.std() > 0.01, "equal classes would compare nothing"
    np.testing.assert_allclose([given[value] for value in range(3)], expected, atol=1e-6)


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("ignite"), reason="trust = 'code' needs pytorch-ignite")
def test_a_bundles_own_evaluator_gives_the_same_probabilities_as_its_pieces(pool):
    made, folder = pool
    image = volume(blobs((24, 40, 44), seed=1))
    model = classification_file(folder / "template")
    by_pieces, by_code = (made.run(replace(model, trust=trust), {"image": image}) for trust in ("pieces", "code"))
    assert by_code.probabilities == pytest.approx(by_pieces.probabilities, abs=1e-6)


def test_a_series_becomes_a_report_that_highdicom_and_dciodvfy_read(pool, tmp_path):
    made, folder = pool
    paths = write_series(tmp_path / "ct", ct_series(blobs((24, 40, 44), seed=1)))
    model = classification_file(folder / "template", report_at_least=0.3)
    analysis = analyse([Task(model=model, paths={"image": paths})], made, Identity(node_id=NODE_ID, job_key="j"),
                       clock=utc_now)
    (findings,) = analysis.findings
    presences = [one.presence for one in findings.classifications]
    assert presences == [Presence.PRESENT, Presence.ABSENT, Presence.ABSENT]
    assert [(one.kind, one.group) for one in analysis.objects] == [
        ("SR3D", "classification"), ("SR", "classification"), ("TEXT", "classification"),
        ("KOS", "manifest"), ("KOS", "manifest")]
    document = sr.Comprehensive3DSR.from_dataset(dcmread(BytesIO(analysis.objects[0].payload)))
    groups = document.content.get_image_measurement_groups()
    said = {group.tracking_identifier.split(":")[0]: group.get_measurements()[0].value for group in groups}
    assert said == {one.of.name: pytest.approx(one.probability, rel=1e-5) for one in findings.classifications}
    assert set(said) == set(NAMES)
    for number, one in enumerate(analysis.objects):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(one.payload)
        checked = subprocess.run([need("dciodvfy", "dicom3tools"), str(path)], capture_output=True, text=True,
                                 check=False)
        assert "Error" not in checked.stderr, checked.stderr


def test_a_report_says_which_input_was_absent(pool, tmp_path):
    made, folder = pool
    classification_template(folder / "two", network={**NETWORK, "in_channels": 2})
    model = classification_file(folder / "two")
    model = replace(model, inputs=(*model.inputs, InputRole(role="late", required=False)))
    paths = write_series(tmp_path / "ct", ct_series(blobs((12, 20, 22), seed=1)))
    analysis = analyse([Task(model=model, paths={"image": paths})], made, Identity(node_id=NODE_ID, job_key="j"),
                       clock=utc_now)
    assert analysis.findings[0].warnings == ("input late is absent: the model ran without it",)
    for one in (one for one in analysis.objects if one.kind != "KOS"):
        assert b"input late is absent" in one.payload
