"""A detection bundle whose weights are set by hand: it finds what is bright on dark ground, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import Label, ModelFile, Runtime
from tests.bundles import model_file, save_weights

NODULE = Label(
    value=1, name="Nodule", category=Code(value="49755003", scheme="SCT", meaning="Morphologically Abnormal Structure"),
    type=Code(value="27925004", scheme="SCT", meaning="Nodule"),
    region=Code(value="39607008", scheme="SCT", meaning="Lung"), colour_rgb=(90, 240, 120),
    measure=("diameter_mm",), lesion=True)
CONFIG: Mapping[str, Any] = {
    "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
    "backbone": {"_target_": "ResNet", "block": "basic", "layers": [1, 1, 1, 1], "block_inplanes": [8, 8, 8, 8],
                 "spatial_dims": 3, "n_input_channels": 1, "conv1_t_size": 3, "conv1_t_stride": 1},
    "features": {"_target_": "BackboneWithFPN", "backbone": "@backbone", "return_layers": {"layer1": "0"},
                 "in_channels_list": [8], "out_channels": 8, "spatial_dims": 3},
    "network_def": {"_target_": "RetinaNet", "spatial_dims": 3, "num_classes": 1, "num_anchors": 1,
                    "feature_extractor": "@features", "size_divisible": [4, 4, 4]},
    "anchor_generator": {"_target_": "AnchorGeneratorWithAnchorShape", "feature_map_scales": [1, 2],
                         "base_anchor_shapes": [[6.0, 6.0, 6.0]]},
    "detector": {"_target_": "RetinaNetDetector", "network": "@network_def", "anchor_generator": "@anchor_generator"},
    "preprocessing": {"_target_": "Compose", "transforms": [
        {"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
        {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": -1024, "a_max": 300, "b_min": 0.0,
         "b_max": 1.0, "clip": True}]},
    "detection": {"roi_size": [64, 64, 64], "overlap": 0.25, "score_thresh": 0.3, "nms_thresh": 0.05},
}


def bright_spots(folder: Path, **changes: Any) -> Path:
    """Write the bundle; ``changes`` replace top-level ids of its config."""
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps({**CONFIG, **changes}, indent=1), encoding="utf-8")
    save_weights(folder, _weights())
    return folder


def detection_model(folder: Path, *, name: str = "spots", **changes: object) -> ModelFile:
    """Return the model file that pins it."""
    made = replace(model_file(folder, name=name, runtime=Runtime(time_limit_s=120.0)), task="detection",
                   labels=(NODULE,))
    return replace(made, **changes)  # type: ignore[arg-type]


def _weights() -> dict[str, Any]:
    """Let the first channel through unchanged up to the heads; there average it, so that a spot's middle is highest."""
    import torch
    from monai.bundle import ConfigParser

    from dicomnode.infer import borrowed

    borrowed.lend()
    network = ConfigParser(dict(CONFIG)).get_parsed_content("network_def")
    state = {name: torch.zeros_like(value) for name, value in network.state_dict().items()}
    for name, value in state.items():
        if name.endswith("running_var") or (name.endswith("weight") and value.ndim == 1):
            value.fill_(1)
    for name in ("feature_extractor.body.conv1.weight", "feature_extractor.fpn.inner_blocks.0.weight",
                 "feature_extractor.fpn.layer_blocks.0.weight"):
        middle = state[name].shape[-1] // 2
        state[name][0, 0, middle, middle, middle] = 1
    state["feature_extractor.body.bn1.bias"] -= 0.4
    for layer in (0, 3, 6, 9):
        state[f"classification_head.conv.{layer}.weight"][0, 0] = 1 / 27
    state["classification_head.cls_logits.weight"][0, 0, 1, 1, 1] = 1
    state["classification_head.cls_logits.bias"] -= 12
    return state
