"""From a data set to a SEG: what the training made, the node runs on a study as DICOM."""

from __future__ import annotations

from dataclasses import dataclass
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


OWN_NETWORK = """
import torch


class Own(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv3d(1, 6, 3, padding=1), torch.nn.BatchNorm3d(6), torch.nn.ReLU(),
            torch.nn.Conv3d(6, classes, 1))

    def forward(self, image):
        return self.layers(image)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_dataset(tmp_path_factory.mktemp("data") / "balls").root


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a study: how the commands ended, and of its SEG what it shows beside the truth."""

    exits: dict[str, int]
    said: str
    label: str
    size: float
    middle_off_mm: float


def outcome(folder: Path, data: Path, config: dict[str, object], spacing_mm: tuple[float, ...]) -> Outcome:
    """Train, and run the bundle on a study with a ball."""
    (folder / "mine.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    (folder / "models").mkdir()
    (folder / "config" / "models").mkdir(parents=True)
    node = folder / "config" / "node.toml"
    node.write_text('[node]\nmodels_dir = "../models"\ndata_dir = "../data"\n', encoding="utf-8")
    rng = np.random.default_rng(99)
    truth = ball(SHAPE, rng).astype(bool)
    hu_zyx = np.where(truth, 100, -800) + rng.normal(0, 30, SHAPE).astype(np.int16)
    write_series(folder / "study", ct_series(hu_zyx, affine=affine_lps(spacing_zyx_mm=spacing_mm)))

    trained = ["train", str(folder / "mine.yaml"), "--data", str(data), "--out", str(folder / "models" / "balls_ct"),
               "--device", "cpu", "--threads", "1", "--model-file", str(folder / "config" / "models" / "balls_ct.toml")]
    processed = ["--config", str(node), "process", str(folder / "study"), "--model", "balls_ct", "--out",
                 str(folder / "out"), "--device", "cpu"]
    done = {name: CliRunner().invoke(cli, command, catch_exceptions=False)
            for name, command in (("train", trained), ("process", processed))}
    exits, said = {name: one.exit_code for name, one in done.items()}, "".join(one.output for one in done.values())
    segs = [found for found in (folder / "out").rglob("*.dcm") if hd.imread(found).Modality == "SEG"]
    if not segs:
        return Outcome(exits=exits, said=said, label="", size=0.0, middle_off_mm=np.inf)
    seg = hd.seg.segread(segs[0])
    volume = seg.get_volume(combine_segments=True)
    found = volume.array.astype(bool)
    middles = [affine[:3, :3] @ np.argwhere(mask).mean(axis=0) + affine[:3, 3] for affine, mask in (
        (volume.affine, found), (affine_lps(spacing_zyx_mm=spacing_mm), truth))]
    return Outcome(exits=exits, said=said, label=seg.SegmentSequence[0].SegmentLabel, size=found.sum() / truth.sum(),
                   middle_off_mm=float(np.abs(middles[0] - middles[1]).max()))


def test_a_trained_bundle_segments_a_study_of_another_spacing(data: Path, tmp_path: Path):
    spaced = [*PREPROCESSING[:3], {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0],
                                   "mode": "bilinear"}, *PREPROCESSING[3:]]
    config = small_config(steps=80, patch_size=[16, 16, 16], validate_every=80, preprocessing=spaced)
    found = outcome(tmp_path, data, config, (2.0, 1.3, 1.3))
    assert found.exits == {"train": 0, "process": 0}, found.said
    assert found.label == "Ball"
    assert abs(found.size - 1) < 0.25, "as many voxels as the ball has"
    assert found.middle_off_mm < 1.0, "at the place where it is, in patient millimetres"


def test_a_network_of_ones_own_code_runs_where_its_model_file_trusts_it(data: Path, tmp_path: Path):
    pytest.importorskip("ignite", reason="trusted code needs dicomnode-monai[engine]")
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "__init__.py").touch()
    (tmp_path / "scripts" / "own.py").write_text(OWN_NETWORK, encoding="utf-8")
    config = small_config(steps=80, patch_size=[16, 16, 16], validate_every=80, scripts="scripts",
                          network_def={"_target_": "scripts.own.Own", "classes": "@classes"})
    found = outcome(tmp_path, data, config, (2.0, 2.0, 2.0))
    assert found.exits == {"train": 0, "process": 0}, found.said
    assert found.label == "Ball"
    assert abs(found.size - 1) < 0.25, "as many voxels as the ball has"
    assert found.middle_off_mm < 1.0, "at the place where it is, in patient millimetres"
