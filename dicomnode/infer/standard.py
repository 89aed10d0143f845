"""The bundle's own path: its preprocessing, its inferer, its postprocessing, on a volume from memory.

Voxel for voxel what ``python -m monai.bundle run`` gives for the same volume saved as NIfTI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from numpy.typing import NDArray

from dicomnode.errors import ModelFailed
from dicomnode.infer.bundle import Bundle

AnyArray = NDArray[Any]


def loaded_image(channels_zyx: Sequence[AnyArray], affine_ras_mm: NDArray[np.float64]) -> MetaTensor:
    """Return what ``LoadImaged`` and ``EnsureChannelFirstd`` give for the equivalent NIfTI file.

    Shape (channel, column, row, slice), float32; the affine maps (column, row, slice) to RAS millimetres.
    """
    values = np.stack([np.ascontiguousarray(channel.transpose(2, 1, 0), dtype=np.float32) for channel in channels_zyx])
    return as_meta(torch.from_numpy(values), affine_ras_mm, values.shape[1:])


def as_meta(values: torch.Tensor, affine_ras_mm: NDArray[np.float64], spatial_shape: Sequence[int]) -> MetaTensor:
    """Attach the meta data that MONAI's readers give."""
    affine = torch.as_tensor(affine_ras_mm, dtype=torch.float64)
    meta = {
        "affine": affine, "original_affine": affine_ras_mm.copy(), "space": "RAS",
        "spatial_shape": np.asarray(spatial_shape), "original_channel_dim": float("nan"),
        "filename_or_obj": "memory",
    }
    return MetaTensor(values, affine=affine, meta=meta)


def preprocess(bundle: Bundle, image: MetaTensor) -> dict[str, Any]:
    """Run the bundle's preprocessing, loaders removed."""
    data: dict[str, Any] = bundle.preprocessing({bundle.image_key: image})
    return data


def postprocess(bundle: Bundle, data: dict[str, Any], output: torch.Tensor) -> torch.Tensor:
    """Run the bundle's postprocessing, savers removed; return the prediction, channel first."""
    data[bundle.pred_key] = output[0]
    result: torch.Tensor = bundle.postprocessing(data)[bundle.pred_key]
    return result


def labels_zyx(prediction: torch.Tensor, shape_zyx: Sequence[int]) -> AnyArray:
    """Turn a prediction (1, column, row, slice) into labels in slice, row, column order.

    Raises
    ------
    ModelFailed
        If the prediction is not one label map on the source grid.
    """
    values = prediction.detach().cpu()
    values = values.as_tensor() if isinstance(values, MetaTensor) else values
    expected = tuple(reversed(shape_zyx))
    if values.ndim != len(expected) + 1 or values.shape[0] != 1 or tuple(values.shape[1:]) != expected:
        msg = (
            f"the bundle gives an array of shape {tuple(values.shape)}; expected is one label map, (1, "
            f"{', '.join(map(str, expected))}): its postprocessing must end with argmax on the grid of its input"
        )
        raise ModelFailed(msg)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= np.iinfo(np.uint16).max):
        msg = f"the bundle gives values from {low:g} to {high:g}; allowed are labels from 0 to 65535"
        raise ModelFailed(msg)
    kind = np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16
    whole = values[0].numpy().astype(kind)
    if values.is_floating_point() and not bool((values[0] == values[0].round()).all()):
        msg = "the bundle gives fractions where labels are expected: its postprocessing lacks AsDiscreted"
        raise ModelFailed(msg)
    return whole.transpose(2, 1, 0)
