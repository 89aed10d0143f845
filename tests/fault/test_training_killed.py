"""A training that is killed goes on where its last checkpoint was, to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dicomnode.train.fit.order import Order
from dicomnode.train.fit.recipe import read_recipe
from dicomnode.train.fit.training import train
from tests.training import small_config, small_dataset

COMMAND = (sys.executable, "-W", "ignore", "-m", "dicomnode", "train")


def begin(recipe: Path, data: Path, out: Path, *more: str) -> subprocess.Popen[str]:
    arguments = [str(recipe), "--data", str(data), "--out", str(out), "--device", "cpu", "--threads", "1", *more]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([*COMMAND, *arguments], env=environment, text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)


@pytest.mark.slow
def test_a_killed_training_resumes_to_the_bits_of_one_that_was_not(tmp_path: Path):
    data = small_dataset(tmp_path / "balls").root
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(small_config(steps=40, validate_every=8, checkpoint_every=4)), encoding="utf-8")

    train(read_recipe(str(recipe)), Order(data=data, out=tmp_path / "whole", model_file=tmp_path / "whole.toml",
                                          device="cpu", threads=1, workers=0))

    killed = begin(recipe, data, tmp_path / "killed")
    assert killed.stdout is not None
    for line in killed.stdout:
        if "step 16: validation" in line:  # the checkpoint of step 16 is being written now, or just was
            os.kill(killed.pid, signal.SIGKILL)
            break
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert not (tmp_path / "killed").exists()

    again = begin(recipe, data, tmp_path / "killed", "--resume")
    said = again.communicate(timeout=200)[0]
    assert again.returncode == 0, said
    assert "going on after step" in said
    for name in ("models/model.pt", "configs/inference.json", "docs/metrics.json"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
