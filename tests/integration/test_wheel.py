"""The wheel carries migrations, models and example configuration; the checkout has them at its root."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile

import pytest

from dicomnode.shipped import shipped
from tests.live import ROOT

SCRIPT = """
from pathlib import Path
from dicomnode.shipped import shipped
from dicomnode.ledger.engine import Ledger
from dicomnode.config import load
folder = shipped("migrations").parent
assert folder.name == "_shipped", folder
assert (shipped("models") / "phantom_chest_ct_segmentation" / "models" / "model.pt").is_file()
assert (shipped("config") / "models" / "demo_chest.toml").is_file()
ledger = Ledger("sqlite:///ledger.sqlite")
assert ledger.upgrade() == ledger.head()
print("carried", len(load(shipped("config") / "node.toml", environ={}).routes))
"""


@pytest.fixture(scope="module")
def unpacked_wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
                   check=True, capture_output=True, timeout=240)
    (wheel,) = folder.glob("dicomnode_monai-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_alone_migrates_a_database_and_finds_its_model(unpacked_wheel, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(unpacked_wheel)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True,
                          check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("carried")


@pytest.mark.parametrize("kind", ["migrations", "models", "config"])
def test_the_checkout_finds_its_own_folders(kind):
    assert shipped(kind) == ROOT / kind
