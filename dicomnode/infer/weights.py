"""Weights of a bundle: found by its config, read from memory, never unpickled freely."""

from __future__ import annotations

import io
import pickle
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import torch

from dicomnode.errors import ModelFailed
from dicomnode.infer.audit import NotAllowed, evaluated_slice, short_name
from dicomnode.infer.parse import BUNDLE_ROOT, Files, build, components, parser_of

USUAL_PLACE: Final = "models/model.pt"
OVERRIDE: Final = "checkpointloader"
"""The id under which a model file may name weights; it is looked at before others."""
SUFFIXES: Final = (".pt", ".pth", ".ckpt")
WEIGHTS: Final = re.compile(r"[\w./-]+\.(?:pt|pth|ckpt)\b")


def weights_of(config: Mapping[str, Any], files: Files) -> bytes:
    """Return the bytes of the checkpoint that the config names, wherever it names it.

    Looked at in this order: the ``load_path`` of a CheckpointLoader; a file of weights named in any expression, where
    only one is; ``models/model.pt``; the only file of weights that there is.

    Raises
    ------
    ModelFailed
        If the bundle does not hold them, or it is not clear which they are.
    """
    held = sorted(name for name in files if name.endswith(SUFFIXES))
    named = _loaded(config) or _mentioned(config, held)
    if named is None:
        named = USUAL_PLACE if USUAL_PLACE in held or len(held) != 1 else held[0]
    if named not in files:
        msg = (f"weights {named!r} are not in the bundle; it holds {', '.join(held) or 'no weights'}. Put them there, "
               "or name those to load in the model file: [runtime] overrides = "
               '{ checkpointloader = { _target_ = "CheckpointLoader", load_path = "models/..." } }')
        raise ModelFailed(msg)
    return files[named]


def _loaded(config: Mapping[str, Any]) -> str | None:
    loaders = [item for key in sorted(config, key=lambda key: key != OVERRIDE) for item in components(config[key])
               if short_name(item["_target_"]) == "CheckpointLoader" and item.get("_disabled_") is not True]
    paths = (_value(item["load_path"], config) for item in loaders if "load_path" in item)
    return next((_inside(path) for path in paths if path is not None), None)


def _value(expression: object, config: Mapping[str, Any]) -> str | None:
    """Evaluate a path such as ``$@bundle_root + '/models/model.pt'`` under the same audit as everything else."""
    if not isinstance(expression, str) or not expression.startswith(("$", "@")):
        return str(expression)
    name = "dicomnode_value"
    try:
        part = evaluated_slice({**config, name: expression}, (name,))
    except NotAllowed:
        return None
    return str(build(parser_of(part), name))


def _mentioned(config: Mapping[str, Any], held: Sequence[str]) -> str | None:
    """Return the file of weights that the config's texts name, if they name exactly one that is there."""
    texts = [text for value in config.values() for text in _texts(value)]
    met = {name for name in held for text in texts for said in WEIGHTS.findall(text)
           if f"/{name}".endswith(f"/{_inside(said)}")}
    return met.pop() if len(met) == 1 else None


def _inside(path: str) -> str:
    return posixpath.normpath(path).removeprefix(f"{BUNDLE_ROOT}/").lstrip("/")


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for part in value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ():
        yield from _texts(part)


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
