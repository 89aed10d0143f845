"""Data sets and recipes so small that a training takes a second: bright balls in dark boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code
from dicomnode.train.dataset.reader import Dataset, DatasetLabel, DatasetWriter, read_dataset
from dicomnode.train.fit.recipe import Recipe, recipe_of

BALL = DatasetLabel(
    value=1, name="Ball", colour_rgb=(240, 90, 70),
    category=Code(value="91723000", scheme="SCT", meaning="Anatomical Structure"),
    type=Code(value="39607008", scheme="SCT", meaning="Lung"))
CUBE = DatasetLabel(value=2, name="Cube", category=BALL.category, type=BALL.type)
PREPROCESSING = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS", "labels": None},
    {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 300, "b_min": 0.0, "b_max": 1.0,
     "clip": True},
    {"_target_": "EnsureTyped", "keys": "image"},
]
NETWORK = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": "@channels", "out_channels": "@classes",
    "channels": [4, 8], "strides": [2], "num_res_units": 0, "norm": "BATCH", "dropout": 0.1,
}
POSTPROCESSING = [
    {"_target_": "Activationsd", "keys": "pred", "softmax": True},
    {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
     "nearest_interp": False, "to_tensor": True},
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
]


def ball(shape_zyx: Sequence[int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A label map with one ball of radius 5 voxels somewhere inside."""
    middle = [rng.integers(6, size - 6) for size in shape_zyx]
    distance = sum((axis - at) ** 2 for axis, at in zip(np.indices(shape_zyx), middle, strict=True))
    return (distance < 25).astype(np.uint8)


def small_dataset(
    root: Path, *, training: int = 4, validation: int = 2, channels: Sequence[str] = ("ct",),
    labels: Sequence[DatasetLabel] = (BALL,), shape_zyx: Sequence[int] = (16, 24, 24), spacing_mm: float = 2.0,
    seed: int = 0,
) -> Dataset:
    """Write and read a data set of balls in -800 HU; every voxel of a ball is at 100 HU, with noise."""
    writer = DatasetWriter(root, name="balls", task="segmentation", channels=channels, modality="CT", labels=labels)
    rng = np.random.default_rng(seed)
    for number in range(training + validation):
        label_zyx = ball(shape_zyx, rng)
        images = [(np.where(label_zyx, 100, -800) + rng.normal(0, 30, shape_zyx)).astype(np.int16) for _ in channels]
        writer.add(
            id=f"case{number}", patient=f"patient{number}", images_zyx=images, label_zyx=label_zyx,
            affine_lps_mm=np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])[:, [2, 1, 0, 3]],
            split="training" if number < training else "validation")
    writer.close()
    return read_dataset(root)


def small_config(**changes: Any) -> dict[str, Any]:
    """A recipe as plain data; ``changes`` are top-level keys, None takes one away."""
    config: dict[str, Any] = {
        "task": "segmentation", "intended_use": "Tests only.", "seed": 3, "steps": 12, "batch_size": 2,
        "patch_size": [12, 12, 12], "learning_rate": 0.01, "validate_every": 4, "checkpoint_every": 3,
        "preprocessing": PREPROCESSING, "network_def": NETWORK, "postprocessing": POSTPROCESSING,
        "augmentation": [{"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0},
                         {"_target_": "RandGaussianNoised", "keys": "image", "std": 0.03, "prob": 0.5}],
        "loss": {"_target_": "dicomnode.train.fit.losses.DiceAndCrossEntropy", "class_weights": "@class_weights"},
        "optimizer": {"_target_": "torch.optim.AdamW", "params": "@parameters"},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": [16, 16, 16], "overlap": 0.1},
    }
    return {key: value for key, value in {**config, **changes}.items() if value is not None}


def small_recipe(**changes: Any) -> Recipe:
    """The same, checked."""
    return recipe_of(small_config(**changes), name="small", folder=Path())


def same_weights(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether two state dicts hold the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
