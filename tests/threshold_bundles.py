"""Bundles whose answer can be worked out by hand: one convolution of one voxel that labels by HU thresholds."""

from __future__ import annotations

from pathlib import Path

import torch

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, Label, ModelFile, Runtime
from dicomnode.infer.digest import bundle_digest
from tests.bundles import ORGAN, save_weights, spleen_form
from tests.model_files import write_model_file

LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")
NODULE = Code(value="27925004", scheme="SCT", meaning="Nodule")
ABNORMAL = Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure")
PREPROCESSING = (
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 1000, "b_min": 0, "b_max": 1},
    {"_target_": "EnsureTyped", "keys": "image"},
)


def threshold_model(folder: Path, name: str, *, lung_hu: float = 250.0, nodule_hu: float = 700.0) -> Path:
    """Write a bundle that calls voxels Lung from ``lung_hu`` on and Nodule from ``nodule_hu`` on.

    Returns its model file, which lies beside it.
    """
    bundle = spleen_form(folder / f"{name}_bundle", preprocessing=PREPROCESSING, network={
        "_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 3, "kernel_size": 1})
    slopes = torch.tensor([0.0, 100.0, 300.0])
    lung, nodule = -100.0 * lung_hu / 1000, -200.0 * nodule_hu / 1000
    save_weights(bundle, {"weight": slopes.reshape(3, 1, 1, 1, 1), "bias": torch.tensor([0.0, lung, lung + nodule])})
    model = ModelFile(
        name=name, task="segmentation", bundle=bundle.name, digest=bundle_digest(bundle), intended_use="Tests only.",
        inputs=(InputRole(role="ct"),), runtime=Runtime(time_limit_s=120.0), labels=(
            Label(value=1, name="Lung", category=ORGAN, type=LUNG, colour_rgb=(1, 2, 3)),
            Label(value=2, name="Nodule", category=ABNORMAL, type=NODULE, colour_rgb=(3, 2, 1), lesion=True)))
    return write_model_file(model, folder)
