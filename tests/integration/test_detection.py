"""A detector in the node: its bundle in the real child, alone and beside a segmentation, to SEG and SR."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.infer.pool import Pool
from tests.bundles import volume
from tests.detection_bundles import bright_spots, detection_model

AFFINE = np.array([[0, 0, 1.5, -60.0], [0, 1.5, 0, -50], [2.5, 0, 0, -40], [0, 0, 0, 1]])
"""(slice, row, column) → LPS mm."""
PLACES = [(12, 20, 30), (28, 50, 55)]


def dark_with_spots() -> np.ndarray:
    grid = np.indices((40, 70, 80)).transpose(1, 2, 3, 0) * [2.5, 1.5, 1.5]
    values = np.full((40, 70, 80), -1000, dtype=np.int16)
    for place in PLACES:
        values[np.linalg.norm(grid - np.array(place) * [2.5, 1.5, 1.5], axis=-1) < 6] = 0
    return values


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    bright_spots(folder / "spots")
    return folder


def test_a_detector_in_the_child_gives_boxes_on_the_source_grid_and_no_labels(models_dir):
    with Pool(models_dir, device="cpu", threads=1) as pool:
        output = pool.run(detection_model(models_dir / "spots"), {"image": volume(dark_with_spots(), AFFINE)})
    assert output.labels_zyx is None
    assert output.boxes is not None
    assert {box.label for box in output.boxes} == {1}
    middles = sorted(tuple((np.array(box.box_zyx[:3]) + box.box_zyx[3:]) / 2) for box in output.boxes)
    for place, middle in zip(PLACES, middles, strict=True):
        assert np.abs((np.array(middle) - place) * [2.5, 1.5, 1.5]).max() < 4
    assert set(output.seconds) >= {"load", "preprocess", "inference", "postprocess", "transfer"}
