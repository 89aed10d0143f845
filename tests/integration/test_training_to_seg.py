"""From a data set to a SEG: what the training made, the node runs on a study as DICOM."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from dicomnode.cli import cli
from tests.builders import affine_lps, ct_series, write_series
from tests.training import PREPROCESSING, ball, small_config, small_dataset

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SHAPE = (16, 24, 24)


@pytest.mark.parametrize("spacing_mm", [(2.0, 2.0, 2.0), (2.0, 1.3, 1.3)])
def test_a_trained_bundle_segments_a_study_that_it_never_saw(tmp_path: Path, spacing_mm: tuple[float, ...]):
    spaced = [*PREPROCESSING[:3], {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0],
                                   "mode": "bilinear"}, *PREPROCESSING[3:]]
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(small_config(steps=80, patch_size=[16, 16, 16], validate_every=80,
                                                  preprocessing=spaced)), encoding="utf-8")
    data = small_dataset(tmp_path / "balls").root
    (tmp_path / "models").mkdir()
    (tmp_path / "config" / "models").mkdir(parents=True)
    node = tmp_path / "config" / "node.toml"
    node.write_text('[node]\nmodels_dir = "../models"\ndata_dir = "../data"\n', encoding="utf-8")
    rng = np.random.default_rng(99)
    truth = ball(SHAPE, rng).astype(bool)
    hu_zyx = np.where(truth, 100, -800) + rng.normal(0, 30, SHAPE).astype(np.int16)
    write_series(tmp_path / "study", ct_series(hu_zyx, affine=affine_lps(spacing_zyx_mm=spacing_mm)))

    trained = ["train", str(recipe), "--data", str(data), "--out", str(tmp_path / "models" / "balls_ct"), "--device",
               "cpu", "--threads", "1", "--model-file", str(tmp_path / "config" / "models" / "balls_ct.toml")]
    processed = ["--config", str(node), "process", str(tmp_path / "study"), "--model", "balls_ct", "--out",
                 str(tmp_path / "out"), "--device", "cpu"]
    for command in (trained, processed):
        done = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output

    (path,) = [found for found in (tmp_path / "out").rglob("*.dcm") if hd.imread(found).Modality == "SEG"]
    seg = hd.seg.segread(path)
    assert seg.SegmentSequence[0].SegmentLabel == "Ball"
    volume = seg.get_volume(combine_segments=True)
    found = volume.array.astype(bool)
    assert abs(found.sum() / truth.sum() - 1) < 0.25, "as many voxels as the ball has"
    middles = [affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3] for affine, mask in (
        (volume.affine, found), (affine_lps(spacing_zyx_mm=spacing_mm), truth))]
    assert np.abs(middles[0] - middles[1]).max() < 1.0, "at the place where it is, in patient millimetres"
