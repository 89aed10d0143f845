"""Weights of a bundle: found by its config, read from memory, never unpickled freely."""

from __future__ import annotations

import io
import pickle
import posixpath
from collections.abc import Mapping
from typing import Any, Final

import torch

from dicomnode.errors import ModelFailed
from dicomnode.infer.audit import NotAllowed, evaluated_slice, short_name
from dicomnode.infer.parse import BUNDLE_ROOT, Files, build, components, parser_of

USUAL_PLACE: Final = "models/model.pt"


def weights_of(config: Mapping[str, Any], files: Files) -> bytes:
    """Return the bytes of the checkpoint that the config names, else of ``models/model.pt``.

    Raises
    ------
    ModelFailed
        If the bundle does not hold them.
    """
    loaders = [item for key in config for item in components(config[key])
               if short_name(item["_target_"]) == "CheckpointLoader"]
    named = next((item["load_path"] for item in loaders if "load_path" in item), USUAL_PLACE)
    path = posixpath.normpath(str(_value(named, config))).removeprefix(f"{BUNDLE_ROOT}/")
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
        return USUAL_PLACE
    return build(parser_of(part), name)


def load_weights(network: torch.nn.Module, weights: bytes) -> None:
    """Load every weight, strictly; half-precision ones are widened to the network's own.

    Raises
    ------
    ModelFailed
        If the file holds anything but tensors, or does not fit the network.
    """
    try:
        state = torch.load(io.BytesIO(weights), map_location="cpu", weights_only=True)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, EOFError, OSError,
            pickle.UnpicklingError) as error:
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
