"""Parse a bundle from memory into the four pieces that are run: network, preprocessing, inferer, postprocessing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from monai.bundle.config_parser import ConfigParser
from monai.inferers.inferer import Inferer, SimpleInferer
from monai.transforms.compose import Compose
from monai.transforms.utility.dictionary import EnsureTyped

from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.audit import NotAllowed, at, evaluated_slice, references, short_name
from dicomnode.infer.job import Loading
from dicomnode.infer.padding import PaddedInferer
from dicomnode.infer.parse import Files, build, config_of, parser_of
from dicomnode.infer.shape import shaped
from dicomnode.infer.weights import load_weights, weights_of

PIECES: Final = ("network_def", "preprocessing", "inferer", "postprocessing")
DEFAULT_DIVISOR: Final = 32
COMMON_KEYS: Final = {f"$monai.utils.CommonKeys.{name}": name.lower() for name in ("IMAGE", "LABEL", "PRED")}
"""How the zoo's templates write their keys."""
MULTIPLE: Final = re.compile(r"\s*(\d+)\s*\*\s*[a-z]", re.IGNORECASE)
"""``"16*n"`` in a bundle's metadata: any multiple of 16."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle ready to run.

    Parameters
    ----------
    input_keys:
        Keys of the data dictionary that its loaders fill.
    image_key, pred_key:
        Keys of what goes into the network, and of what comes out of it.
    divisor:
        The input size of the network must be a multiple of this.
    own_postprocessing:
        Whether it has any; where not, the usual one is run (``standard.usual_postprocessing``).
    overlapping:
        Each output channel is a label of its own.
    """

    network: torch.nn.Module
    preprocessing: Compose
    inferer: Inferer
    postprocessing: Compose
    image_key: str
    pred_key: str
    divisor: int
    device: torch.device
    input_keys: tuple[str, ...] = ("image",)
    own_postprocessing: bool = True
    overlapping: bool = False


def load_pieces(loading: Loading) -> Bundle:
    """Audit the config, build the pieces, load the weights.

    Raises
    ------
    ModelRefused
        If the evaluated part of the config names anything that is not allowed.
    ModelFailed
        If the config is unreadable, a piece cannot be built, or the weights do not fit the network.
    """
    whole = config_of(loading)
    config = shaped(whole, roles=loading.model.get("roles", ()))
    parser = audited(config, PIECES)
    network = _network(parser)
    load_weights(network, weights_of(whole, loading.files))
    keys, divisor = image_keys(config), _divisor(config, loading.files)
    return Bundle(
        network=network.to(loading.device).eval(),
        preprocessing=_preprocessing(build(parser, "preprocessing"), keys),
        inferer=_inferer(build(parser, "inferer"), divisor),
        postprocessing=chain(build(parser, "postprocessing")),
        input_keys=keys, image_key=keys[0] if len(keys) == 1 else "image", pred_key="pred",
        divisor=divisor, device=loading.device,
        own_postprocessing="postprocessing" in config, overlapping=bool(loading.model.get("overlapping")),
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
            "A bundle that needs code of its own runs where its model file says trust = 'code'"
        )
        raise ModelRefused(msg) from error


def _network(parser: ConfigParser) -> torch.nn.Module:
    network = build(parser, "network_def")
    if not isinstance(network, torch.nn.Module):
        msg = f"network_def gives {type(network).__name__}; expected is a torch module"
        raise ModelFailed(msg)
    return network


def _preprocessing(transforms: object, keys: tuple[str, ...]) -> Compose:
    """Return the chain; one that held loaders only gets a step that changes nothing, since Invertd wants one."""
    steps = chain(transforms)
    if transforms is not None and not steps.transforms:
        steps.transforms = (EnsureTyped(list(keys)),)
    return steps


def _inferer(inferer: object, divisor: int) -> Inferer:
    if inferer is None or type(inferer) is SimpleInferer:
        return PaddedInferer(divisor)
    if not isinstance(inferer, Inferer):
        msg = f"inferer gives {type(inferer).__name__}; expected is an inferer of MONAI"
        raise ModelFailed(msg)
    return inferer


def chain(transforms: object) -> Compose:
    """Return transforms as one chain: an empty one for None."""
    if isinstance(transforms, Compose):
        return transforms
    if transforms is None:
        return Compose([])
    many: list[Any] = list(transforms) if isinstance(transforms, list | tuple) else [transforms]
    return Compose(many)


def image_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that the loaders of ``preprocessing`` would fill, ``image`` where it has none."""
    keys: list[str] = []
    for item in _reachable(config.get("preprocessing"), config, set()):
        if short_name(item["_target_"]) == "LoadImaged" and item.get("_disabled_") is not True:
            said = item.get("keys", "image")
            if isinstance(said, str) and said.startswith("@"):
                said = config.get(said[1:], "image")
            said = COMMON_KEYS.get(str(said), said)
            keys += [str(key) for key in said] if isinstance(said, list) else [str(said)]
    return tuple(dict.fromkeys(keys)) or ("image",)


def _reachable(value: object, config: Mapping[str, Any], seen: set[str]) -> Iterator[Mapping[str, Any]]:
    """Yield the components of a value and of the ids that it refers to, in the order in which they stand."""
    if isinstance(value, Mapping):
        if isinstance(value.get("_target_"), str):
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _reachable(item, config, seen)
    for name in sorted(references(value) - seen) if isinstance(value, str) else ():
        seen.add(name)
        yield from _reachable(at(config, name), config, seen)


def _divisor(config: Mapping[str, Any], files: Files) -> int:
    """Return what the input size must be a multiple of: from metadata (``"16*n"``), else from the strides."""
    marked = [int(found[1]) for size in _metadata_sizes(files) if (found := MULTIPLE.match(str(size)))]
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
