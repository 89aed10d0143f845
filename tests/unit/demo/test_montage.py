"""What the tour reads from reports and draws: boxes of findings, and which model found each."""

from __future__ import annotations

from dataclasses import replace

import highdicom as hd
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from dicomnode.demo.montage import BOX_RGB, write_montage
from dicomnode.demo.results import read_results
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.sr import encode_reports
from tests.builders import ct_series, write_series
from tests.findings import block, findings, lesion, provenance, stack_of, stamp

SHAPE = (10, 40, 40)
NODULE_VOXELS = block(SHAPE, slice(4, 7), slice(20, 24), slice(10, 16))


@pytest.fixture
def study(tmp_path):
    """Images, and the results of a segmentation and a detector that found the same nodule, read back."""
    series = ct_series(np.zeros(SHAPE))
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:9, 5:35, 5:35] = 1
    drawn = findings(stack_of(series), mask, lesions=[NODULE_VOXELS])
    detector = provenance("detector")
    drawn = replace(drawn, detections=(replace(lesion(NODULE_VOXELS), probability=0.8, probability_by=detector),))
    own = stamp(drawn.provenance, detector)
    seg = encode_seg(drawn, series, own)
    objects = (seg, *encode_reports([drawn], {drawn.stack.series_uid: series}, own, [seg]))
    (tmp_path / "results").mkdir()
    for one in objects:
        if one.kind != "SR":
            (tmp_path / "results" / f"{one.kind}{one.group[:8]}.dcm".replace(":", "")).write_bytes(one.payload)
    return write_series(tmp_path / "images", series), read_results(tmp_path / "results")


def test_a_finding_says_who_found_it_and_where_it_lies(study):
    images, results = study
    nodule = next(group for group in results.groups if group.name == "Nodule 1")
    assert nodule.found_by == ["demo_chest", "detector"]
    assert nodule.numbers["Probability"] == "0.80"
    assert nodule.outline is not None
    assert nodule.outline.points == ((10.0, 20.0), (16.0, 20.0), (16.0, 24.0), (10.0, 24.0), (10.0, 20.0))
    assert nodule.outline.image_uid in {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in images}
    assert [column.header for column in results.table().columns] == [
        "name", "place", "Diameter \\[mm]", "Volume \\[ml]", "Prob.", "found by"]


def test_the_picture_frames_the_finding_on_its_slice(study, tmp_path):
    images, results = study
    assert isinstance(results.seg, hd.seg.Segmentation)
    with_boxes = write_montage(results.seg, images, tmp_path / "a.png", title="t", groups=results.groups)
    without = write_montage(results.seg, images, tmp_path / "b.png", title="t")
    painted = [int((np.asarray(Image.open(path)) == BOX_RGB).all(axis=2).sum()) for path in (with_boxes, without)]
    assert painted[0] > 100
    assert painted[1] == 0
