"""Two processes under torchrun train one network, and come to what one process comes to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml

from dicomnode.train.fit.order import Order
from dicomnode.train.fit.recipe import read_recipe
from dicomnode.train.fit.training import train
from tests.training import NETWORK, small_config, small_dataset

LINEAR_IN_THE_BATCH = {
    "network_def": {**NETWORK, "norm": None, "dropout": 0.0},
    "loss": {"_target_": "monai.losses.DiceCELoss", "softmax": True, "to_onehot_y": True, "lambda_dice": 0.0},
}
"""Neither normalisation nor loss mixes the samples of a batch: the gradients of two halves make those of the whole."""


@pytest.mark.slow
def test_two_processes_train_as_one_would(tmp_path: Path):
    if not torch.distributed.is_gloo_available():
        pytest.skip("this build of torch has no gloo")
    data = small_dataset(tmp_path / "balls").root
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(small_config(**LINEAR_IN_THE_BATCH)), encoding="utf-8")
    train(read_recipe(str(recipe)), Order(data=data, out=tmp_path / "one", model_file=tmp_path / "one.toml",
                                          device="cpu", threads=1, workers=0))
    command = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "dicomnode", "train", str(recipe), "--data", str(data), "--out", str(tmp_path / "two")]
    command += ["--device", "cpu", "--threads", "1", "--workers", "0"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("mean_dice:") == 1, "one of them speaks"
    one, two = (json.loads((tmp_path / f"{name}.run" / "history.json").read_text()) for name in ("one", "two"))
    losses = [[entry["loss"] for entry in history["losses"]] for history in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    assert two["validations"][-1]["mean_dice"] == pytest.approx(one["validations"][-1]["mean_dice"], abs=0.01)
    provenance = json.loads((tmp_path / "two" / "docs" / "provenance.json").read_text())
    assert provenance["training"]["processes"] == 2
