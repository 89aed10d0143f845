"""The bundle's own path: its preprocessing, its inferer, its postprocessing, on a volume from memory.

Voxel for voxel what ``python -m monai.bundle run`` gives for the same volume saved as NIfTI.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.post.dictionary import Activationsd, AsDiscreted, Invertd
from numpy.typing import NDArray

from dicomnode.domain.model import MOST_OVERLAPPING
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
    """Run the bundle's preprocessing, loaders removed.

    Parameters
    ----------
    image:
        One channel per input of the model file. A bundle that loads each under a key of its own gets them so, in order.

    Raises
    ------
    ModelFailed
        If the bundle loads another number of images than the model file has inputs.
    """
    data: dict[str, Any] = bundle.preprocessing(by_key(image, bundle.input_keys))
    if bundle.image_key not in data:
        msg = f"the bundle's preprocessing leaves {', '.join(map(str, data))}; expected is {bundle.image_key!r}"
        raise ModelFailed(msg)
    return data


def by_key(image: MetaTensor, keys: Sequence[str]) -> dict[str, Any]:
    """Return the channels under the keys that a bundle's loaders fill: all under one, or each under its own.

    Raises
    ------
    ModelFailed
        If there are several keys, and another number of channels.
    """
    if len(keys) == 1:
        return {keys[0]: image}
    if len(keys) != image.shape[0]:
        msg = (f"the bundle loads {len(keys)} images ({', '.join(keys)}); the model file has {image.shape[0]} "
               "[[inputs]]: one is needed for each, in that order")
        raise ModelFailed(msg)
    return {key: image[number:number + 1] for number, key in enumerate(keys)}


def postprocess(bundle: Bundle, data: dict[str, Any], output: torch.Tensor) -> torch.Tensor:
    """Run the bundle's postprocessing, savers removed, the usual one where it has none; return labels, channel first.

    Where labels overlap, channel k of the prediction is bit k of the labels.
    """
    data[bundle.pred_key] = output[0]
    steps = bundle.postprocessing if bundle.own_postprocessing else usual_postprocessing(bundle, output.shape[1])
    result: torch.Tensor = steps(data)[bundle.pred_key]
    return bits_of(result) if bundle.overlapping else result


def usual_postprocessing(bundle: Bundle, channels: int) -> Compose:
    """Return softmax, inverse of the preprocessing, argmax; sigmoid and 0.5 for one channel, or overlapping labels."""
    key, exclusive = bundle.pred_key, channels > 1 and not bundle.overlapping
    inverse = [Invertd(key, bundle.preprocessing, orig_keys=bundle.image_key, nearest_interp=False, to_tensor=True)] \
        if bundle.preprocessing.transforms else []
    return Compose([Activationsd(key, softmax=exclusive, sigmoid=not exclusive), *inverse,
                    AsDiscreted(key, argmax=True) if exclusive else AsDiscreted(key, threshold=0.5)])


def bits_of(prediction: torch.Tensor) -> torch.Tensor:
    """Return channels of 0 and 1 as one channel whose bit k is channel k.

    Raises
    ------
    ModelFailed
        If a channel holds anything else, or there are too many.
    """
    values = prediction.detach().cpu()
    values = values.as_tensor() if isinstance(values, MetaTensor) else values
    if values.shape[0] > MOST_OVERLAPPING:
        msg = f"the bundle gives {values.shape[0]} channels; overlapping labels may have {MOST_OVERLAPPING}"
        raise ModelFailed(msg)
    bits = torch.zeros((1, *values.shape[1:]), dtype=torch.int32)
    for number, channel in enumerate(values):
        marked = channel > 0
        if not bool((channel == marked).all()):
            msg = (f"channel {number} of the bundle's output holds more than 0 and 1: for overlapping labels its "
                   "postprocessing must end with AsDiscreted(threshold=...)")
            raise ModelFailed(msg)
        bits[0] |= marked.int() << number
    return bits


def write_labels(labels_zyx: AnyArray, out_zyx: AnyArray) -> int:
    """Copy labels to where the parent reads them; return the highest.

    Raises
    ------
    ModelFailed
        If one is higher than any that the model file names.
    """
    highest = int(labels_zyx.max())
    if highest > np.iinfo(out_zyx.dtype).max:
        msg = f"the bundle gives the label {highest}, which no [[labels]] of the model file names"
        raise ModelFailed(msg)
    np.copyto(out_zyx, labels_zyx, casting="unsafe")
    return highest


def on_labels(steps: Sequence[Any], key: str, labels_zyx: AnyArray) -> None:
    """Run transforms of a whole label map in place, on no more than the box that holds every label."""
    if not steps or not labels_zyx.any():
        return
    marked = [np.flatnonzero(labels_zyx.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    box = tuple(slice(int(places[0]), int(places[-1]) + 1) for places in marked)
    part = torch.from_numpy(np.ascontiguousarray(labels_zyx[box].transpose(2, 1, 0)).astype(np.int32))
    data: dict[str, Any] = {key: part[None]}
    for step in steps:
        data = step(data)
    labels_zyx[box] = data[key][0].numpy().transpose(2, 1, 0)


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
        msg = ("the bundle gives fractions where labels are expected: its postprocessing lacks AsDiscreted, or Invertd "
               "interpolates labels; the model file can mend the latter: [runtime] overrides = "
               '{ "postprocessing#transforms#N#nearest_interp" = true }')
        raise ModelFailed(msg)
    return whole.transpose(2, 1, 0)
