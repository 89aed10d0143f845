"""Parse a bundle from memory into the four pieces that are run: network, preprocessing, inferer, postprocessing."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer, SimpleInferer
from monai.transforms import Compose

from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.audit import NotAllowed, evaluated_slice, refuse_file_macros, short_name

BUNDLE_ROOT: Final = "/bundle"
"""What ``bundle_root`` means inside the child: no such folder exists, files come from memory."""
PIECES: Final = ("network_def", "preprocessing", "inferer", "postprocessing")
CONFIGS: Final = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
Files = Mapping[str, bytes]


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


class _FullNames:
    """Every ``_target_`` is a full name already: MONAI need not search all of its modules."""

    def get_component_module_name(self, _name: str) -> None:
        return None


def load(files: Files, *, overrides: Mapping[str, object], device: torch.device) -> Bundle:
    """Audit the config, build the pieces, load the weights.

    Raises
    ------
    ModelRefused
        If the evaluated part of the config names anything that is not allowed.
    ModelFailed
        If the config is unreadable, a piece cannot be built, or the weights do not fit the network.
    """
    config = _resolved(_read_config(files), overrides)
    config.update({"bundle_root": BUNDLE_ROOT, "device": str(device)})
    try:
        parser = _parser(evaluated_slice(config, PIECES))
    except NotAllowed as error:
        msg = f"the bundle asks for what \"pieces\" mode does not run: {error}. " \
            "Remove it from the bundle, or run the bundle elsewhere"
        raise ModelRefused(msg) from error
    network = _network(parser)
    _load_weights(network, _weights(config, files))
    keys = _image_keys(config)
    return Bundle(
        network=network.to(device).eval(),
        preprocessing=_chain(_build(parser, "preprocessing")),
        inferer=_build(parser, "inferer") or SimpleInferer(),
        postprocessing=_chain(_build(parser, "postprocessing")),
        image_key=keys[0], pred_key="pred", divisor=_divisor(config, files), device=device,
    )


def _read_config(files: Files) -> dict[str, Any]:
    name = next((name for name in CONFIGS if name in files), None)
    if name is None:
        msg = f"no inference config in the bundle: expected one of {', '.join(CONFIGS)}"
        raise ModelFailed(msg)
    try:
        config = json.loads(files[name]) if name.endswith(".json") else _yaml(files[name])
    except ValueError as error:
        msg = f"{name} is not readable: {error}"
        raise ModelFailed(msg) from error
    if not isinstance(config, dict):
        msg = f"{name} holds a {type(config).__name__}; expected is a table of ids"
        raise ModelFailed(msg)
    return config


def _yaml(text: bytes) -> object:
    try:
        import yaml  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        msg = "the bundle's config is YAML and PyYAML is not installed: install pyyaml, or convert the config to JSON"
        raise ModelFailed(msg) from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _resolved(config: dict[str, Any], overrides: Mapping[str, object]) -> dict[str, Any]:
    """Apply the model file's overrides, then macros and relative ids; nothing is evaluated."""
    config.pop("imports", None)
    try:
        refuse_file_macros(config)
        parser = ConfigParser(config=config)
        for key, value in overrides.items():
            parser[key] = value
        parser.resolve_macro_and_relative_ids()
    except NotAllowed as error:
        raise ModelRefused(str(error)) from error
    except (KeyError, ValueError, IndexError, TypeError) as error:
        msg = f"the bundle's config cannot be resolved: {error}"
        raise ModelFailed(msg) from error
    resolved: dict[str, Any] = parser.get()
    return resolved


def _parser(config: dict[str, Any]) -> ConfigParser:
    parser = ConfigParser(config=config)
    parser.locator = _FullNames()
    return parser


def _build(parser: ConfigParser, name: str) -> Any:
    if name not in parser:
        return None
    try:
        return parser.get_parsed_content(name)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = error.__cause__ or error
        msg = f"{name} of the bundle cannot be built: {error}: {cause}" if cause is not error \
            else f"{name} of the bundle cannot be built: {error}"
        raise ModelFailed(msg) from error


def _network(parser: ConfigParser) -> torch.nn.Module:
    network = _build(parser, "network_def")
    if not isinstance(network, torch.nn.Module):
        msg = f"network_def gives {type(network).__name__}; expected is a torch module"
        raise ModelFailed(msg)
    return network


def _chain(transforms: object) -> Compose:
    if isinstance(transforms, Compose):
        return transforms
    if transforms is None:
        return Compose([])
    return Compose(list(transforms) if isinstance(transforms, list | tuple) else [transforms])


def _image_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys that the bundle's loader would fill, ``image`` where it has none."""
    for item in _components(config.get("preprocessing")):
        if short_name(item["_target_"]) == "LoadImaged":
            keys = item.get("keys", "image")
            if isinstance(keys, str) and keys.startswith("@"):
                keys = config.get(keys[1:], "image")
            return tuple(keys) if isinstance(keys, list) else (str(keys),)
    return ("image",)


def _components(value: object) -> list[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []
    if isinstance(value, Mapping):
        found += [value] if isinstance(value.get("_target_"), str) else []
        value = list(value.values())
    if isinstance(value, list):
        found += [item for part in value for item in _components(part)]
    return found


def _weights(config: Mapping[str, Any], files: Files) -> bytes:
    """Return the bytes of the checkpoint that the config names, else of ``models/model.pt``."""
    loaders = [item for key in config for item in _components(config[key])
               if short_name(item["_target_"]) == "CheckpointLoader"]
    named = next((item["load_path"] for item in loaders if "load_path" in item), "models/model.pt")
    path = str(_value(named, config)).removeprefix(f"{BUNDLE_ROOT}/")
    if path not in files:
        held = [name for name in files if name.startswith("models/")]
        msg = f"weights {path!r} are not in the bundle; it holds {', '.join(held) or 'no weights'}"
        raise ModelFailed(msg)
    return files[path]


def _value(expression: object, config: Mapping[str, Any]) -> object:
    """Evaluate a path such as ``$@bundle_root + '/models/model.pt'`` under the same audit as everything else."""
    if not isinstance(expression, str) or not expression.startswith(("$", "@")):
        return expression
    name = "dicomnode_value"
    try:
        part = evaluated_slice({**config, name: expression}, (name,))
    except NotAllowed:
        return "models/model.pt"
    return _build(_parser(part), name)


def _load_weights(network: torch.nn.Module, weights: bytes) -> None:
    try:
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - whatever a damaged or hostile file makes torch raise
        msg = f"the weights cannot be read with weights_only: {type(error).__name__}: {str(error)[:300]}"
        raise ModelFailed(msg) from error
    for key in ("state_dict", "model", "network"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    try:
        network.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        msg = f"the weights do not fit the network: {str(error)[:500]}"
        raise ModelFailed(msg) from error


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
    return factor if factor > 1 else 32


def _metadata_sizes(files: Files) -> list[object]:
    try:
        metadata = json.loads(files["configs/metadata.json"])
        inputs = metadata["network_data_format"]["inputs"]
        return list(next(iter(inputs.values()))["spatial_shape"])
    except (KeyError, ValueError, TypeError, StopIteration, AttributeError):
        return []


def audit_only(files: Files) -> list[str]:
    """Return what of a bundle's config is refused, without building anything."""
    config = _resolved(_read_config(files), {})
    config.update({"bundle_root": BUNDLE_ROOT, "device": "cpu"})
    try:
        evaluated_slice(config, PIECES)
    except NotAllowed as error:
        return str(error).split("; ")
    return []


