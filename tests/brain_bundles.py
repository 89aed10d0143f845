"""Published brain networks as MONAI bundles: plain torch layers in a config, weights from the shared data.

The weights stay where they are: a bundle is built in a temporary folder and never committed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import Label, ModelFile, Runtime
from tests.bundles import model_file, save_weights

ANATOMY = Code(value="91723000", scheme="SCT", meaning="Anatomical Structure")
MIN_TO_MAX = {"_target_": "ScaleIntensityd", "keys": "image", "minv": 0.0, "maxv": 1.0}
RAW = {"_target_": "ScaleIntensityRangePercentilesd", "keys": "image", "lower": 0, "upper": 99, "b_min": 0.0,
       "b_max": 1.0, "clip": True}
MESHNET_DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)
TISSUE = (("Cerebral white matter", "68523003", "Cerebral White Matter"),
          ("Cerebral cortex", "40146001", "Cerebral cortex"))
SUBCORTICAL = (
    *TISSUE, ("Lateral ventricle", "66720007", "Lateral Ventricle"),
    ("Inferior lateral ventricle", "53118009", "Inferior Horn of Lateral Ventricle"),
    ("Cerebellar white matter", "33060004", "Cerebellar White Matter"),
    ("Cerebellar cortex", "25991003", "Cerebellar Cortex"), ("Thalamus", "42695009", "Thalamus"),
    ("Caudate", "11000004", "Caudate Nucleus"), ("Putamen", "89278009", "Putamen"),
    ("Pallidum", "14738005", "Globus Pallidus"), ("Third ventricle", "49841001", "Third ventricle"),
    ("Fourth ventricle", "35918002", "Fourth Ventricle"), ("Brain stem", "119238007", "Brain Stem"),
    ("Hippocampus", "5366008", "Hippocampus"), ("Amygdala", "4958002", "Amygdala"),
    ("Accumbens area", "427667007", "Nucleus Accumbens"), ("Ventral diencephalon", "87563008", "Diencephalon"))
HEAD = (("Brain outside the cerebrum", "12738006", "Brain"), ("Cerebrum", "83678007", "Cerebrum"))
COLOURS = ((245, 245, 245), (205, 62, 78), (120, 18, 134), (196, 58, 250), (220, 248, 164), (230, 148, 34),
           (0, 118, 14), (122, 186, 220), (236, 13, 176), (12, 48, 255), (204, 182, 142), (42, 204, 164),
           (119, 159, 176), (220, 216, 20), (103, 255, 255), (255, 165, 0), (165, 42, 42))
HEAD_ORDER = ("conv0a", "conv0b", "bn0a", "conv1a", "conv1b", "bn1a", "conv2a", "conv2b", "bn2a", "conv3a", "conv3b",
              "bn3a", "conv2u", "conv2v", "bn2u", "conv1u", "conv1v", "bn1u", "conv0u", "conv0v", "bn0u", "conv1x")
JOINED = {"conv2v": 24, "conv1v": 24, "conv0v": 16}
"""Convolutions over a joined pair, and how many of their input channels come from below."""


def meshnet(folder: Path, data: Path, name: str = "model5_gw_ae", *, conformed: bool = True) -> ModelFile:
    """Write brainchop's MeshNet ``model5_gw_ae`` or ``subcortical`` as a bundle; return its model file.

    The networks expect white matter at about half of the range, as FreeSurfer's conforming leaves it. For a raw scan
    (``conformed=False``) the 99th percentile becomes the top of the range, which comes near to that.
    """
    from safetensors.torch import load_file

    state = load_file(data / "brainchop-models" / "meshnet" / name / "model.pth")
    width, classes = state["model.0.weight"].shape[0], state["model.18.weight"].shape[0]
    activation = "ReLU" if name == "model5_gw_ae" else "ELU"
    layers: list[dict[str, Any]] = []
    for number, dilation in enumerate(MESHNET_DILATIONS):
        layers += [conv(width if number else 1, width, dilation=dilation), {"_target_": f"torch.nn.{activation}"}]
    layers.append({"_target_": "torch.nn.Conv3d", "in_channels": width, "out_channels": classes, "kernel_size": 1})
    _write(folder, {"layers": layers, "network_def": "$torch.nn.Sequential(*@layers)"}, [
        {"_target_": "Orientationd", "keys": "image", "axcodes": "LIA"},
        {"_target_": "Spacingd", "keys": "image", "pixdim": [1.0, 1.0, 1.0], "mode": "bilinear"},
        {"_target_": "ResizeWithPadOrCropd", "keys": "image", "spatial_size": [256, 256, 256]},
        MIN_TO_MAX if conformed else RAW], [
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}, _inverted(nearest=True)])
    save_weights(folder, {key.removeprefix("model."): value for key, value in state.items()})
    return _model(folder, f"meshnet_{name}", TISSUE if name == "model5_gw_ae" else SUBCORTICAL)


def hippodeep_head(folder: Path, data: Path) -> ModelFile:
    """Write hippodeep's head network, a small U-Net at 64³, as a bundle; return its model file."""
    import torch

    original = torch.load(data / "torchparams" / "params_head_00075_00000.pt", map_location="cpu", weights_only=True)
    _write(folder, {**_head_network(), "network_def": "$torch.nn.Sequential(*@level0)"}, [
        {"_target_": "Orientationd", "keys": "image", "axcodes": "LAS"},
        {"_target_": "NormalizeIntensityd", "keys": "image"},
        {"_target_": "Resized", "keys": "image", "spatial_size": [64, 64, 64], "mode": "trilinear",
         "align_corners": True}], [
        _inverted(nearest=False),
        {"_target_": "Lambdad", "keys": "pred",
         "func": "$lambda x: torch.where(x[2:3] > 0.5, 2, torch.where(x[0:1] > 0.5, 1, 0))"}])
    save_weights(folder, head_state(original, folder))
    return _model(folder, "hippodeep_head", HEAD)


def head_state(original: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Rename the published weights to the nested layers; joined pairs are (skip, below) here, (below, skip) there."""
    import torch
    from monai.bundle import ConfigParser

    config = json.loads((folder / "configs" / "inference.json").read_text(encoding="utf-8"))
    wanted = ConfigParser(config).get_parsed_content("network_def").state_dict()
    named = [(layer, key) for layer in HEAD_ORDER for key in original if key.split(".")[0] == layer]
    state = {}
    for (layer, key), name in zip(named, wanted, strict=True):
        value, below = original[key], JOINED.get(layer, 0)
        if below and key.endswith("weight"):
            value = torch.cat([value[:, below:], value[:, :below]], dim=1)
        state[name] = value
    return state


def conv(inputs: int, outputs: int, *, dilation: int = 1) -> dict[str, Any]:
    """Return a 3×3×3 convolution that keeps the size."""
    return {"_target_": "torch.nn.Conv3d", "in_channels": inputs, "out_channels": outputs, "kernel_size": 3,
            "padding": dilation, "dilation": dilation}


def _head_network() -> dict[str, Any]:
    elu, half = {"_target_": "torch.nn.ELU"}, {"_target_": "torch.nn.MaxPool3d", "kernel_size": 2}
    twice = {"_target_": "torch.nn.Upsample", "scale_factor": 2, "mode": "nearest"}

    def norm(channels: int) -> dict[str, Any]:
        return {"_target_": "torch.nn.BatchNorm3d", "num_features": channels}

    def below(level: int) -> dict[str, Any]:
        return {"_target_": "SkipConnection", "submodule": f"$torch.nn.Sequential(*@level{level})", "dim": 1,
                "mode": "cat"}

    last = {"_target_": "torch.nn.Conv3d", "in_channels": 8, "out_channels": 4, "kernel_size": 1}
    return {
        "level3": [half, conv(32, 48), elu, conv(48, 48), norm(48), elu, twice, conv(48, 24), elu],
        "level2": [half, conv(24, 24), elu, conv(24, 32), norm(32), elu, below(3), conv(56, 24), norm(24), elu, twice,
                   conv(24, 24), elu],
        "level1": [half, conv(8, 16), elu, conv(16, 24), norm(24), elu, below(2), conv(48, 24), norm(24), elu, twice,
                   conv(24, 16), elu],
        "level0": [conv(1, 8), elu, conv(8, 8), norm(8), elu, below(1), conv(24, 8), norm(8), elu, last,
                   {"_target_": "torch.nn.Sigmoid"}],
    }


def _inverted(*, nearest: bool) -> dict[str, Any]:
    return {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
            "nearest_interp": nearest, "to_tensor": True}


def _write(folder: Path, network: Mapping[str, Any], pre: Sequence[Mapping[str, Any]],
           post: Sequence[Mapping[str, Any]]) -> None:
    config = {
        "bundle_root": ".", "device": "$torch.device('cpu')", **network,
        "preprocessing": {"_target_": "Compose", "transforms": [
            {"_target_": "LoadImaged", "keys": "image"}, {"_target_": "EnsureChannelFirstd", "keys": "image"}, *pre]},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {"_target_": "Compose", "transforms": list(post)}}
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "inference.json").write_text(json.dumps(config, indent=1), encoding="utf-8")


def _model(folder: Path, name: str, structures: Sequence[tuple[str, str, str]]) -> ModelFile:
    labels = tuple(
        Label(value=value, name=label, category=ANATOMY, type=Code(value=code, scheme="SCT", meaning=meaning),
              colour_rgb=COLOURS[value - 1])
        for value, (label, code, meaning) in enumerate(structures, start=1))
    made = model_file(folder, name=name, modality="MR", runtime=Runtime(time_limit_s=900.0, memory_limit_mb=12000))
    return replace(made, labels=labels, intended_use="Research only: published weights, not validated here.")
