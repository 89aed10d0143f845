"""Networks run outside the node, on volumes that highdicom read: torch and MONAI alone, nothing of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import dcmread

LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
MESHNET_DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)


def image_volume(paths: Sequence[Path]) -> hd.Volume:
    """Read a series as a volume, sorted and placed by highdicom."""
    return hd.get_volume_from_series([dcmread(path) for path in paths])


def seg_on(path: Path, image: hd.Volume) -> np.ndarray[Any, Any]:
    """Return a segmentation's segment numbers on the grid of ``image``, by where its frames lie in the patient."""
    found = hd.seg.segread(path).get_volume(combine_segments=True)
    return np.asarray(found.match_geometry(image).array)


def as_nifti(image: hd.Volume, path: Path) -> hd.Volume:
    """Save a volume as converters do, columns first and slices along their normal; return it so turned."""
    import nibabel

    turned = image.flip_spatial(0).permute_spatial_axes((2, 1, 0))
    nibabel.save(nibabel.Nifti1Image(turned.array.astype(np.int16), LPS_RAS @ turned.affine), path)
    return turned


def bundle_labels(bundle: Path, image: hd.Volume, nifti: Path) -> np.ndarray[Any, Any]:
    """Run a bundle of the Model Zoo's form as its own configuration says, on a NIfTI file of the volume."""
    import torch
    from monai.bundle import ConfigParser

    turned = as_nifti(image, nifti)
    config = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
    after = config["postprocessing"]["transforms"]
    config["postprocessing"]["transforms"] = [one for one in after if one["_target_"] != "SaveImaged"]
    parser = ConfigParser({**config, "device": "$torch.device('cpu')"})
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", map_location="cpu", weights_only=True))
    data = parser.get_parsed_content("preprocessing")({"image": str(nifti)})
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network.eval())[0]
    labels = parser.get_parsed_content("postprocessing")(data)["pred"]
    return np.asarray(turned.with_array(np.asarray(labels[0]).astype(np.uint8)).match_geometry(image).array)


def meshnet_labels(weights: Path, image: hd.Volume, nifti: Path) -> np.ndarray[Any, Any]:
    """Run brainchop's MeshNet with torch convolutions; the conformed grid and the way back are MONAI's.

    MONAI starts a resampled grid at a corner of the image or at its middle, as the last bits of the affine have it:
    0.1 mm apart here. A file like those that its own commands read leaves it no choice.
    """
    import torch
    from monai import transforms
    from monai.data import MetaTensor
    from monai.transforms.utils import convert_applied_interp_mode
    from safetensors.torch import load_file

    state = load_file(weights)
    turned = as_nifti(image, nifti)
    conform = transforms.Compose([
        transforms.Orientation(axcodes="LIA"), transforms.Spacing(pixdim=(1.0, 1.0, 1.0), mode="bilinear"),
        transforms.ResizeWithPadOrCrop((256, 256, 256))])
    conformed = conform(transforms.LoadImage(ensure_channel_first=True)(nifti))
    brightest = float(np.percentile(conformed.numpy(), 99.9))
    x = torch.as_tensor(conformed.numpy()).clamp(0, brightest)[None] / brightest
    with torch.no_grad():
        for number, dilation in enumerate(MESHNET_DILATIONS):
            x = torch.relu(torch.nn.functional.conv3d(
                x, state[f"model.{2 * number}.weight"], state[f"model.{2 * number}.bias"], padding=dilation,
                dilation=dilation))
        x = torch.nn.functional.conv3d(x, state["model.18.weight"], state["model.18.bias"])
    labels = MetaTensor(x[0].argmax(dim=0)[None].float(), affine=conformed.affine, meta=conformed.meta)
    labels.applied_operations = convert_applied_interp_mode(
        conformed.applied_operations, mode="nearest", align_corners=None)
    back = conform.inverse(labels)[0].numpy().round().astype(np.uint8)
    return np.asarray(turned.with_array(back).match_geometry(image).array)


def head_labels(weights: Path, image: hd.Volume) -> np.ndarray[Any, Any]:
    """Run hippodeep's head network with torch functions alone; 1 is brain outside the cerebrum, 2 the cerebrum."""
    import torch
    import torch.nn.functional as f

    turned = image.to_patient_orientation("LAH")
    values = turned.array.astype(np.float32)
    x = torch.from_numpy((values - values.mean()) / values.std())[None, None]
    state = torch.load(weights, map_location="cpu", weights_only=True)
    with torch.no_grad():
        x = f.interpolate(x, size=(64, 64, 64), mode="trilinear", align_corners=True)
        scores = f.interpolate(_head(state, x), size=values.shape, mode="trilinear", align_corners=True)[0].numpy()
    labels = np.where(scores[2] > 0.5, 2, np.where(scores[0] > 0.5, 1, 0)).astype(np.uint8)
    return np.asarray(turned.with_array(labels).match_geometry(image).array)


def _head(state: dict[str, Any], x: Any) -> Any:
    import torch
    import torch.nn.functional as f

    def conv(x: Any, name: str) -> Any:
        weight = state[f"{name}.weight"]
        return f.conv3d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def pair(x: Any, level: str, below: Any = None) -> Any:
        first, second, norm = (f"conv{level}a", f"conv{level}b", f"bn{level}a") if below is None else (
            f"conv{level}u", f"conv{level}v", f"bn{level}u")
        x = f.elu(conv(x, first))
        x = conv(x if below is None else torch.cat([x, below], 1), second)
        statistics = (state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias"))
        return f.elu(f.batch_norm(x, *statistics))

    kept = [pair(x, "0")]
    for level in "123":
        kept.append(pair(f.max_pool3d(kept[-1], 2), level))
    x = kept.pop()
    for level in "210":
        x = pair(f.interpolate(x, scale_factor=2, mode="nearest"), level, kept.pop())
    return torch.sigmoid(conv(x, "conv1x"))
