"""The configs of a trained bundle, in the Model Zoo's layout: MONAI's command line runs it as the node does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import monai
import numpy as np
import torch

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Dataset
    from dicomnode.train.fit.recipe import Recipe

SCHEMA: Final = (
    "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
)
DIVISORS: Final = (1, 2, 4, 8, 16, 32)
SMALL: Final = 24
"""Voxels: at least so wide is what a network is tried with."""


def inference_config(pieces: Mapping[str, Any], channels: Sequence[str]) -> dict[str, Any]:
    """``configs/inference.json``: the task's pieces, and around them what MONAI's command line needs.

    A detector has no evaluator in MONAI proper, so a detection bundle holds its pieces alone.
    """
    chains = ("preprocessing", "postprocessing")
    pieces = {key: {"_target_": "Compose", "transforms": value} if key in chains and isinstance(value, list) else value
              for key, value in pieces.items()}
    if "detector" in pieces:
        return {"imports": [], "bundle_root": ".", "device": "cpu", **pieces}
    own = {key: value for key, value in pieces.items() if key not in {"preprocessing", "inferer", "postprocessing"}}
    after = pieces.get("postprocessing", {"_target_": "Compose", "transforms": []})
    saver = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"}
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "$@bundle_root + '/data'",
        "datalist": _datalist(channels),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        **own,
        "network": "$@network_def.to(@device)",
        "preprocessing": pieces["preprocessing"],
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]",
                    "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False,
                       "num_workers": 0},
        "inferer": pieces["inferer"],
        "postprocessing": {**after, "transforms": [*after["transforms"], saver]},
        "handlers": [
            {"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
             "load_dict": {"model": "@network"}, "strict": True},
            {"_target_": "StatsHandler", "iteration_log": False},
        ],
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                      "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
                      "val_handlers": "@handlers", "amp": False},
        "run": ["$@evaluator.run()"],
    }


def _datalist(channels: Sequence[str]) -> str:
    """Every image below ``dataset_dir``; of several channels, ``<case>_<channel>.nii.gz`` in the network's order."""
    if len(channels) == 1:
        return "$sorted(glob.glob(@dataset_dir + '/*.nii*'))"
    first = f"_{channels[0]}.nii"
    return (f"$[[i.replace({first!r}, '_' + c + '.nii') for c in {list(channels)!r}] "
            f"for i in sorted(glob.glob(@dataset_dir + '/*{first}*'))]")


def metadata(recipe: Recipe, dataset: Dataset, scores: Mapping[str, float], divisor: int) -> dict[str, Any]:
    """``configs/metadata.json``, as the Model Zoo's schema wants it."""
    own, names = recipe.settings, ["background", *(label.name for label in dataset.labels)]
    shape = [f"{divisor}*n"] * 3
    image = {"type": "image", "format": "hounsfield" if dataset.modality == "CT" else "magnitude",
             "modality": dataset.modality, "num_channels": len(dataset.channels), "spatial_shape": shape,
             "dtype": "float32", "value_range": [], "is_patch_data": True,
             "channel_def": {str(number): name for number, name in enumerate(dataset.channels)}}
    return {
        "schema": SCHEMA, "version": own.version, "changelog": {own.version: "trained"},
        "monai_version": monai.__version__, "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__, "required_packages_version": {"nibabel": "5.3", "pytorch-ignite": "0.5.1"},
        "supported_apps": {}, "name": own.name or recipe.name, "task": own.task, "description": own.description,
        "authors": own.authors, "copyright": own.licence or "not stated", "data_source": dataset.name,
        "data_type": "nifti", "image_classes": f"{len(dataset.channels)} channels: {', '.join(dataset.channels)}",
        "label_classes": ", ".join(f"{label.value} {label.name}" for label in dataset.labels),
        "pred_classes": ", ".join(names), "eval_metrics": {name: round(value, 4) for name, value in scores.items()},
        "intended_use": own.intended_use, "references": [],
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": _output(own.task, names, shape)}},
    }


def _output(task: str, names: list[str], shape: list[str]) -> dict[str, Any]:
    if task == "detection":
        return {"type": "object", "format": "dict", "dtype": "float32", "num_channels": 1, "spatial_shape": shape,
                "value_range": [], "is_patch_data": False,
                "channel_def": {str(number): name for number, name in enumerate(names[1:])}}
    return {"type": "image", "format": "segmentation", "num_channels": len(names), "spatial_shape": shape,
            "dtype": "float32", "value_range": [0, 1], "is_patch_data": True,
            "channel_def": {str(number): name for number, name in enumerate(names)}}


def smallest_divisor(network: torch.nn.Module, channels: int, stated: Sequence[int] = ()) -> int:
    """What the edges of an input must be a multiple of, found by trying; 32 where nothing smaller is taken.

    Parameters
    ----------
    stated : what the trainee says of itself (``size_divisible`` of a detector).
    """
    if stated:
        return max(stated)
    parameter = next(network.parameters())
    network.eval()
    for divisor in DIVISORS:
        odd = -(-SMALL // divisor) | 1
        size = (divisor * odd,) * 3
        image = torch.zeros((1, channels, *size), dtype=parameter.dtype, device=parameter.device)
        try:
            with torch.inference_mode():
                output = network(image)
        except (RuntimeError, ValueError, IndexError, AssertionError):
            continue
        if not isinstance(output, torch.Tensor) or tuple(output.shape[2:]) == size:
            return divisor
    return DIVISORS[-1]
