"""Parse a bundle from memory into the four pieces that are run: network, preprocessing, inferer, postprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from monai.bundle.config_parser import ConfigParser
from monai.inferers.inferer import Inferer, SimpleInferer
from monai.transforms.compose import Compose

from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.audit import NotAllowed, evaluated_slice, short_name
from dicomnode.infer.job import Loading
from dicomnode.infer.parse import BUNDLE_ROOT, Files, build, components, parser_of, read_config, resolved
from dicomnode.infer.weights import load_weights, weights_of

PIECES: Final = ("network_def", "preprocessing", "inferer", "postprocessing")
DEFAULT_DIVISOR: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle ready to run.

    Parameters
    ----------
    image_key, pred_key:
        Keys of the data dictionary: the loaded volume, the network's output.
    divisor:
        The input size of the network must be a multiple of this.
    """

    network: torch.nn.Module
    preprocessing: Compose
    inferer: Inferer
    postprocessing: Compose
    image_key: str
    pred_key: str
    divisor: int
    device: torch.device


def load_pieces(loading: Loading) -> Bundle:
    """Audit the config, build the pieces, load the weights.

    Raises
    ------
    ModelRefused
        If the evaluated part of the config names anything that is not allowed.
    ModelFailed
        If the config is unreadable, a piece cannot be built, or the weights do not fit the network.
    """
    files, device = loading.files, loading.device
    config = resolved(read_config(files), loading.overrides, loading.model.get("remove", ()))
    config.update({"bundle_root": BUNDLE_ROOT, "device": str(device)})
    parser = audited(config, PIECES)
    network = _network(parser)
    load_weights(network, weights_of(config, files))
    keys = image_keys(config)
    return Bundle(
        network=network.to(device).eval(),
        preprocessing=chain(build(parser, "preprocessing")),
        inferer=build(parser, "inferer") or SimpleInferer(),
        postprocessing=chain(build(parser, "postprocessing")),
        image_key=keys[0], pred_key="pred", divisor=_divisor(config, files), device=device,
    )


def audited(config: Mapping[str, Any], roots: tuple[str, ...]) -> ConfigParser:
    """Return a parser over what ``roots`` evaluate, loaders and savers removed.

    Raises
    ------
    ModelRefused
        If that names anything that is not allowed.
    """
    try:
        return parser_of(evaluated_slice(config, roots))
    except NotAllowed as error:
        msg = (
            f"the bundle asks for what 'pieces' mode does not run: {error}. "
            "Remove it from the bundle, or run the bundle elsewhere"
        )
        raise ModelRefused(msg) from error


def _network(parser: ConfigParser) -> torch.nn.Module:
    network = build(parser, "network_def")
    if not isinstance(network, torch.nn.Module):
        msg = f"network_def gives {type(network).__name__}; expected is a torch module"
        raise ModelFailed(msg)
    return network


def chain(transforms: object) -> Compose:
    """Return transforms as one chain: an empty one for None."""
    if isinstance(transforms, Compose):
        return transforms
    if transforms is None:
        return Compose([])
    many: list[Any] = list(transforms) if isinstance(transforms, list | tuple) else [transforms]
    return Compose(many)


def image_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that the bundle's loader would fill, ``image`` where it has none."""
    for item in components(config.get("preprocessing")):
        if short_name(item["_target_"]) == "LoadImaged":
            keys = item.get("keys", "image")
            if isinstance(keys, str) and keys.startswith("@"):
                keys = config.get(keys[1:], "image")
            return tuple(keys) if isinstance(keys, list) else (str(keys),)
    return ("image",)


def _divisor(config: Mapping[str, Any], files: Files) -> int:
    """Return what the input size must be a multiple of: from metadata (``"16*n"``), else from the strides."""
    sizes = _metadata_sizes(files)
    marked = [int(size.split("*")[0]) for size in sizes if isinstance(size, str) and size.split("*")[0].isdigit()]
    if marked:
        return max(marked)
    network = config.get("network_def")
    strides = network.get("strides") if isinstance(network, Mapping) else None
    factor = 1
    for stride in strides if isinstance(strides, list) else []:
        step = max(stride) if isinstance(stride, list) else stride
        factor *= step if isinstance(step, int) else 1
    return factor if factor > 1 else DEFAULT_DIVISOR


def _metadata_sizes(files: Files) -> list[object]:
    try:
        metadata = json.loads(files["configs/metadata.json"])
        inputs = metadata["network_data_format"]["inputs"]
        return list(next(iter(inputs.values()))["spatial_shape"])
    except (KeyError, ValueError, TypeError, StopIteration, AttributeError):
        return []
