"""The shipped bundle runs under MONAI's own command line, and says there what it says here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dicomnode.phantom.chest import chest_ct
from dicomnode.shipped import shipped
from dicomnode.train.demo_chest.held_out import BundleRunner

BUNDLE = shipped("models") / "phantom_chest_ct_segmentation"


@pytest.mark.slow
def test_the_monai_command_line_gives_the_same_labels_voxel_for_voxel(tmp_path: Path):
    for package in ("fire", "ignite"):
        pytest.importorskip(package, reason=f"MONAI's command line needs {package}: pip install fire pytorch-ignite")
    nibabel = pytest.importorskip("nibabel")
    phantom = chest_ct(300_100, shape_zyx=(50, 80, 80), spacing_zyx_mm=(5.0, 4.0, 4.0), nodules=2)
    (tmp_path / "in").mkdir()
    affine_ras_mm = np.diag([-4.0, -4.0, 5.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(phantom.hu_zyx.transpose(2, 1, 0), affine_ras_mm), tmp_path / "in" / "ct.nii.gz")
    command = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run"]
    command += ["--config_file", str(BUNDLE / "configs" / "inference.json"), "--bundle_root", str(BUNDLE)]
    command += ["--dataset_dir", str(tmp_path / "in"), "--output_dir", str(tmp_path / "out"), "--device", "cpu"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (found,) = (tmp_path / "out").rglob("*.nii.gz")
    theirs_zyx = np.asarray(nibabel.load(found).dataobj).squeeze().transpose(2, 1, 0)
    ours_zyx = BundleRunner(BUNDLE).segment(phantom.hu_zyx, phantom.spacing_zyx_mm)
    assert np.array_equal(theirs_zyx, ours_zyx)
