"""Small classification bundles in the shape of the Model Zoo's classification_template, and their model files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, ModelFile, Runtime
from dicomnode.domain.settings import ClassificationSettings, ClassLabel
from dicomnode.infer.digest import bundle_digest
from tests.bundles import save_weights

NAMES = ("Normal", "Pleural effusion", "Pneumothorax")
NETWORK = {
    "_target_": "DenseNet", "spatial_dims": 3, "in_channels": 1, "out_channels": "@num_classes", "init_features": 4,
    "growth_rate": 4, "block_config": [1, 1], "bn_size": 1,
}


def classification_template(folder: Path, *, post: list[dict[str, Any]] | None = None, network: Mapping[str, Any]
                            | None = None, seed: int = 3, suffix: str = "json") -> Path:
    """Write a bundle with random weights in the zoo template's form; its postprocessing wants the true label too."""
    import torch
    from monai.bundle import ConfigParser

    config = _config(post, dict(network or NETWORK))
    (folder / "configs").mkdir(parents=True)
    text = json.dumps(config, indent=1) if suffix == "json" else yaml.safe_dump(config, sort_keys=False)
    (folder / "configs" / f"inference.{suffix}").write_text(text, encoding="utf-8")
    metadata = {"version": "0.0.2", "task": "Classification of chest CT", "network_data_format": {
        "inputs": {"image": {"modality": "CT", "num_channels": 1, "spatial_shape": [32, 32, 32]}},
        "outputs": {"pred": {"type": "probabilities", "format": "classes", "num_channels": len(NAMES),
                             "channel_def": {str(number): name for number, name in enumerate(NAMES)}}}}}
    (folder / "configs" / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
    torch.manual_seed(seed)
    net = ConfigParser({"num_classes": len(NAMES), "net": dict(network or NETWORK)}).get_parsed_content("net")
    with torch.no_grad():
        net.class_layers.out.weight.mul_(4)
    save_weights(folder, net.state_dict())
    return folder


def classification_file(folder: Path, *, name: str = "chest_classes", **settings: Any) -> ModelFile:
    """Return the model file that pins such a bundle as it lies on disk; ``Normal`` is no finding."""
    codes = [Code(value="17621005", scheme="SCT", meaning="Normal"),
             Code(value="60046008", scheme="SCT", meaning="Pleural effusion"),
             Code(value="36118008", scheme="SCT", meaning="Pneumothorax")]
    classes = tuple(ClassLabel(value=value, name=label, code=code, finding=value > 0)
                    for value, (label, code) in enumerate(zip(NAMES, codes, strict=True)))
    made = ModelFile(
        name=name, task="classification", bundle=folder.name, digest=bundle_digest(folder), intended_use="Tests only.",
        inputs=(InputRole(role="image"),), labels=(), classes=classes, runtime=Runtime(time_limit_s=120.0))
    return replace(made, classification=ClassificationSettings(**settings))


def _config(post: list[dict[str, Any]] | None, network: dict[str, Any]) -> dict[str, Any]:
    after = post if post is not None else [
        {"_target_": "Activationsd", "keys": "@pred", "softmax": True},
        {"_target_": "SaveClassificationd", "keys": "@pred", "output_dir": "@output_dir",
         "meta_key_postfix": None},
        {"_target_": "AsDiscreted", "keys": ["@pred", "@label"], "argmax": [True, False], "to_onehot": "@num_classes"},
        {"_target_": "ToTensord", "keys": ["@pred", "@label"], "device": "@device"}]
    return {
        "imports": ["$import os", "$import json", "$import glob"],
        "image": "$monai.utils.CommonKeys.IMAGE", "label": "$monai.utils.CommonKeys.LABEL",
        "pred": "$monai.utils.CommonKeys.PRED", "num_classes": len(NAMES),
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "bundle_root": ".", "ckpt_path": "$@bundle_root + '/models/model.pt'", "output_dir": "$@bundle_root + '/eval'",
        "dataset_dir": "/nowhere", "network_def": network, "network": "$@network_def.to(@device)",
        "test_dict": "$[{'image': i, 'label': 1} for i in sorted(glob.glob(@dataset_dir + '/*.nii.gz'))]",
        "transforms": [
            {"_target_": "LoadImaged", "keys": "@image"}, {"_target_": "EnsureChannelFirstd", "keys": "@image"},
            {"_target_": "Orientationd", "keys": "@image", "axcodes": "RAS", "labels": None},
            {"_target_": "ScaleIntensityRanged", "keys": "@image", "a_min": -1000, "a_max": 1000, "b_min": -1,
             "b_max": 1, "clip": True},
            {"_target_": "Resized", "keys": "@image", "spatial_size": [32, 32, 32]}],
        "preprocessing": {"_target_": "Compose", "transforms": "$@transforms"},
        "dataset": {"_target_": "Dataset", "data": "@test_dict", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1, "num_workers": 0},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "val_handlers": [
            {"_target_": "CheckpointLoader", "_disabled_": "$not os.path.exists(@ckpt_path)", "load_path": "@ckpt_path",
             "load_dict": {"model": "@network"}},
            {"_target_": "StatsHandler", "name": None, "output_transform": "$lambda x: None"}],
        "evaluator": {"_target_": "SupervisedEvaluator", "device": "@device", "val_data_loader": "@dataloader",
                      "network": "@network", "inferer": "@inferer", "postprocessing": "@postprocessing",
                      "val_handlers": "@val_handlers"},
        "initialize": ["$setattr(torch.backends.cudnn, 'benchmark', True)"],
        "run": ["$@evaluator.run()"],
    }
