"""Four MR series through a network with overlapping outputs: every object says the whole of every label."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from io import BytesIO

import highdicom as hd
import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread

from dicomnode.infer.pool import Pool
from dicomnode.run.analyse import Identity, Task, analyse
from dicomnode.run.loop import utc_now
from tests.builders import affine_lps, mr_series, uid_of, write_series
from tests.bundles import blobs, model_file
from tests.findings import NODE_ID
from tests.live import need
from tests.zoo import brats_form, roles

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NAMES = ("t1c", "t1", "t2", "flair")
AFFINE = affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3))


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    brats_form(folder / "tumour")
    plain = model_file(folder / "tumour", labels=3, inputs=roles(NAMES), overlapping=True)
    least = replace(plain.labels[2], lesion=True, min_ml=0.3, measure=())
    model = replace(plain, labels=(*plain.labels[:2], least))
    shared = {"StudyInstanceUID": uid_of("study"), "FrameOfReferenceUID": uid_of("frame")}
    paths = {name: write_series(tmp_path_factory.mktemp(name), mr_series(
        blobs((16, 32, 32), seed=number) + 1000, affine=AFFINE, seed=name, **shared))
        for number, name in enumerate(NAMES)}
    with Pool(folder, device="cpu", threads=1) as pool:
        analysis = analyse([Task(model=model, paths=paths)], pool, Identity(node_id=NODE_ID, job_key="j"),
                           clock=utc_now)
    return analysis, model


def test_segments_overlap_and_hold_every_voxel_of_their_label(analysed):
    analysis, model = analysed
    (findings,) = analysis.findings
    assert findings.segmentation.overlapping
    seg = hd.seg.segread(BytesIO(next(one.payload for one in analysis.objects if one.kind == "SEG")))
    assert seg.SegmentsOverlap == "YES"
    sources = [plane.instance.sop_instance_uid for plane in findings.stack.planes]
    voxels = seg.get_pixels_by_source_instance(sources, assert_missing_frames_are_empty=True) > 0
    for number, label in enumerate(model.labels[:2]):
        np.testing.assert_array_equal(voxels[..., number], findings.segmentation.voxels(label))
    lesions = voxels[..., 2:].any(axis=-1)
    np.testing.assert_array_equal(lesions, findings.segmentation.voxels(model.labels[2]))
    assert (voxels[..., 0] & voxels[..., 1] & lesions).any(), "the comparison needs voxels of all three"


def test_the_report_measures_the_whole_of_each_structure(analysed):
    analysis, model = analysed
    (findings,) = analysis.findings
    report = next(one for one in analysis.objects if (one.kind, one.group) == ("SR3D", "volumes"))
    document = sr.Comprehensive3DSR.from_dataset(dcmread(BytesIO(report.payload)))
    said = {str(group.tracking_identifier).split(":")[0]: group.get_measurements()[0].value
            for group in document.content.get_volumetric_roi_measurement_groups()}
    for label in model.labels[:2]:
        millilitres = findings.segmentation.voxels(label).sum() * findings.stack.voxel_ml
        assert said.get(label.name) == pytest.approx(millilitres, rel=1e-4), said
    assert len(findings.detections) >= 1
    assert all(found.volume_ml >= 0.3 for found in findings.detections)


def test_dciodvfy_finds_no_error(analysed, tmp_path):
    program = need("dciodvfy", "dicom3tools")
    for number, one in enumerate(analysed[0].objects):
        path = tmp_path / f"{number}.dcm"
        path.write_bytes(one.payload)
        done = subprocess.run([program, str(path)], capture_output=True, text=True, errors="replace", check=False)
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Error", "Abort"))]
        assert not lines, (one.kind, lines)
