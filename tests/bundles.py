"""Small MONAI bundles on disk for tests, in the Model Zoo's layout, and the model files that pin them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import CT_IMAGE_STORAGE, Code, InstanceRef
from dicomnode.domain.model import InputRole, Label, ModelFile, Runtime
from dicomnode.domain.volume import SlicePlane, SliceStack, Volume
from dicomnode.infer.digest import bundle_digest
from tests.builders import affine_lps, uid_of

ORGAN = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
LUNG = Code(value="39607008", scheme="SCT", meaning="Lung")
SMALL_UNET = {
    "_target_": "UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 3, "channels": [4, 8, 16],
    "strides": [2, 2], "num_res_units": 1, "norm": "batch",
}


def stack(shape_zyx: Sequence[int], affine: NDArray[np.float64] | None = None, *, seed: str = "stack") -> SliceStack:
    """Return a regular stack whose planes lie where ``affine`` puts them."""
    affine = affine_lps() if affine is None else affine
    column_mm, row_mm = float(np.linalg.norm(affine[:3, 1])), float(np.linalg.norm(affine[:3, 2]))
    planes = tuple(
        SlicePlane(
            position_lps_mm=affine[:3, 3] + k * affine[:3, 0], row_lps=affine[:3, 2] / row_mm,
            column_lps=affine[:3, 1] / column_mm, pixel_spacing_mm=(column_mm, row_mm),
            instance=InstanceRef(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=uid_of(seed, k)))
        for k in range(shape_zyx[0]))
    return SliceStack(
        study_uid=uid_of(seed, "study"), series_uid=uid_of(seed, "series"),
        frame_of_reference_uid=uid_of(seed, "frame"), planes=planes, rows=shape_zyx[1], columns=shape_zyx[2])


def volume(values_zyx: NDArray[Any], affine: NDArray[np.float64] | None = None, *, modality: str = "CT") -> Volume:
    """Return an array as a volume on a regular stack."""
    return Volume(values_zyx=values_zyx, stack=stack(values_zyx.shape, affine), modality=modality)


def blobs(shape_zyx: Sequence[int], *, seed: int = 0) -> NDArray[np.int16]:
    """Return smooth random HU: structure at several scales, so that a network gives several labels."""
    rng = np.random.default_rng(seed)
    field = np.zeros(tuple(shape_zyx))
    for cells in (3, 6, 12):
        coarse = rng.normal(size=(cells, cells, cells))
        index = [np.linspace(0, cells - 1, n).round().astype(int) for n in shape_zyx]
        field += coarse[np.ix_(*index)] / np.sqrt(cells)
    return np.asarray(field / np.abs(field).max() * 900 + rng.normal(size=shape_zyx) * 30, dtype=np.int16)


def spleen_form(
    folder: Path, *, network: Mapping[str, Any] | None = None, spacing: Sequence[float] = (2.0, 2.0, 2.0),
    roi: Sequence[int] = (32, 32, 32), axcodes: str = "RAS", seed: int = 0,
    preprocessing: Sequence[Mapping[str, Any]] | None = None,
    postprocessing: Sequence[Mapping[str, Any]] | None = None, extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write a bundle in the form of the zoo's spleen_ct_segmentation, with random weights; return its folder."""
    import torch

    definition = dict(network or SMALL_UNET)
    config = _inference(definition, spacing, roi, axcodes, preprocessing, postprocessing)
    config.update(extra or {})
    _write_configs(folder, config)
    torch.manual_seed(seed)
    save_weights(folder, {name: _spread(value) for name, value in _build(definition).state_dict().items()})
    return folder


def _spread(weight: Any) -> Any:
    """Return random weights without bias: scores lie around zero, so that every class wins somewhere."""
    return weight * 0 if weight.ndim == 1 and weight.is_floating_point() and float(weight.abs().max()) < 1 else weight


def save_weights(folder: Path, state: Mapping[str, Any]) -> None:
    """Write ``models/model.pt``."""
    import torch

    (folder / "models").mkdir(parents=True, exist_ok=True)
    torch.save(dict(state), folder / "models" / "model.pt")


def model_file(folder: Path, *, name: str = "small", labels: int = 2, runtime: Runtime | None = None,
               modality: str = "CT", **changes: object) -> ModelFile:
    """Return the model file that pins a bundle as it lies on disk."""
    made = ModelFile(
        name=name, task="segmentation", bundle=folder.name, digest=bundle_digest(folder), intended_use="Tests only.",
        inputs=(InputRole(role="image", modality=modality),),
        labels=tuple(Label(value=v, name=f"Structure {v}", category=ORGAN, type=LUNG, colour_rgb=(v % 256, 99, 99))
                     for v in range(1, labels + 1)),
        runtime=runtime or Runtime(time_limit_s=120.0))
    return replace(made, **changes)  # type: ignore[arg-type]


def _write_configs(folder: Path, config: Mapping[str, Any]) -> None:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "docs").mkdir(exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    metadata = {"version": "0.1.0", "task": "test", "network_data_format": {
        "inputs": {"image": {"spatial_shape": ["8*n", "8*n", "8*n"]}}, "outputs": {}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    (folder / "docs" / "README.md").write_text("A test bundle.\n", encoding="utf-8")


def _inference(
    network: Mapping[str, Any], spacing: Sequence[float], roi: Sequence[int], axcodes: str,
    preprocessing: Sequence[Mapping[str, Any]] | None, postprocessing: Sequence[Mapping[str, Any]] | None,
) -> dict[str, Any]:
    pre = preprocessing if preprocessing is not None else [
        {"_target_": "Orientationd", "keys": "image", "axcodes": axcodes},
        {"_target_": "Spacingd", "keys": "image", "pixdim": list(spacing), "mode": "bilinear"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1000, "a_max": 1000, "b_min": -1, "b_max": 1,
         "clip": True},
        {"_target_": "EnsureTyped", "keys": "image"},
    ]
    post = postprocessing if postprocessing is not None else [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
         "nearest_interp": False, "to_tensor": True},
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    ]
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".", "output_dir": "$@bundle_root + '/eval'", "dataset_dir": "/nowhere",
        "datalist": "$list(sorted(glob.glob(@dataset_dir + '/*.nii.gz')))",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "network_def": dict(network), "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}, *pre]},
        "dataset": {"_target_": "Dataset", "data": "$[{'image': i} for i in @datalist]", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "shuffle": False,
                       "num_workers": 0},
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": list(roi), "sw_batch_size": 2, "overlap": 0.5},
        "postprocessing": {"_target_": "Compose", "transforms": [
            *post,
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir", "separate_folder": False,
             "resample": False, "print_log": False}]},
        "handlers": [{"_target_": "CheckpointLoader", "load_path": "$@bundle_root + '/models/model.pt'",
                      "load_dict": {"model": "@network"}, "map_location": "@device"}],
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                      "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
                      "val_handlers": "@handlers", "amp": False},
        "run": ["$@evaluator.run()"],
    }


def _build(definition: Mapping[str, Any]) -> Any:
    from monai.bundle import ConfigParser

    return ConfigParser({"net": dict(definition)}).get_parsed_content("net")
