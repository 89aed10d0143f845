"""Run a bundle by MONAI's own command on NIfTI files: what the node's answers are compared with."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.volume import Volume
from dicomnode.infer.request import affine_ras_mm

LENT = (
    "import runpy; from dicomnode.infer import borrowed; borrowed.lend(); "
    "runpy.run_module('monai.bundle', run_name='__main__', alter_sys=True)"
)
"""The command, with what a RetinaNet borrows from torchvision, where that is absent."""


def run_by_command(folder: Path, images: Sequence[Volume], work: Path, *, config: str = "inference.json",
                   run_id: str = "run", roles: Sequence[str] = ()) -> Path:
    """Save the volumes as NIfTI, in order, run the bundle's own command on them; return the folder of what it saved.

    Files are called after their number, or after their ``roles``.
    """
    import nibabel

    data = work / "data"
    data.mkdir()
    for number, image in enumerate(images):
        nifti = nibabel.Nifti1Image(image.values_zyx.transpose(2, 1, 0), affine_ras_mm(image.stack.affine_lps_mm))
        nibabel.save(nifti, data / f"case_{roles[number] if roles else number}.nii.gz")
    (folder / "eval").mkdir(exist_ok=True)
    root = Path(__file__).resolve().parents[1]
    try:
        subprocess.run(
            [sys.executable, "-c", LENT, "run", run_id, "--config_file", str(folder / "configs" / config),
             "--bundle_root", str(folder), "--dataset_dir", str(data), "--logging_file", "False"],
            check=True, capture_output=True, text=True, cwd=work,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1"})
    except subprocess.CalledProcessError as error:
        raise AssertionError(error.stderr[-3000:]) from error
    return folder / "eval"


def saved_zyx(folder: Path) -> NDArray[np.uint8]:
    """Return the labels that the command saved, in slice, row, column order; channels, if there are, in front."""
    import nibabel

    image = nibabel.load(next(folder.rglob("*.nii.gz")))
    values = np.asarray(image.dataobj)
    return np.moveaxis(values.transpose(2, 1, 0, *range(3, values.ndim)), 3, 0).astype(np.uint8) \
        if values.ndim == 4 else values.transpose(2, 1, 0).astype(np.uint8)
