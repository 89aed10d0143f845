"""Bring a bundle's config into the shape that pieces mode runs: each piece at its usual id, no leftovers of evaluation.

Works on plain data, before the audit: what it adds is audited like the bundle's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from dicomnode.infer.audit import at

ELSEWHERE: Final[Mapping[str, tuple[str, ...]]] = {
    "network_def": ("network", "net", "evaluator::network"),
    "preprocessing": ("dataset::transform", "validate::preprocessing", "val_transforms"),
    "inferer": ("evaluator::inferer", "validate::inferer"),
    "postprocessing": ("evaluator::postprocessing", "validate::postprocessing", "post_transforms"),
}
"""Usual id of a piece → where bundles that lack it keep it, in the order in which they are looked at."""
GROUND_TRUTH: Final = "label"
"""MONAI's name for the truth (``CommonKeys.LABEL``): there is none where a model is used."""
PER_KEY: Final = frozenset({
    "align_corners", "argmax", "data_type", "device", "dtype", "keep_size", "meta_key_postfix", "meta_keys", "mode",
    "nearest_interp", "orig_keys", "orig_meta_keys", "other", "padding_mode", "post_func", "rounding", "sigmoid",
    "softmax", "threshold", "to_onehot", "to_tensor", "track_meta", "names", "times",
})
"""Arguments of dictionary transforms that may have one value for each key."""


def shaped(config: dict[str, Any], *, roles: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config with every piece at its usual id and without transforms of the ground truth.

    Parameters
    ----------
    roles:
        The model file's inputs: one that is called ``label`` is an input, and is kept.
    """
    for piece, places in ELSEWHERE.items():
        place = next((place for place in places if piece not in config and _is_piece(config, place)), None)
        if place is not None:
            config = _moved(config, place, piece)
    return config if GROUND_TRUTH in roles else without_key(config, GROUND_TRUTH)


def without_key(value: Any, key: str) -> Any:  # noqa: ANN401 - plain data
    """Return a config value in which no dictionary transform works on ``key``; those that did nothing else are gone."""
    if isinstance(value, list):
        kept = [item for item in value if not (isinstance(item, Mapping) and _keys(item) == [key])]
        return [without_key(item, key) for item in kept]
    if not isinstance(value, Mapping):
        return value
    item = {name: without_key(part, key) for name, part in value.items()} | _trimmed(value, key)
    return {**item, "_disabled_": True} if "_target_" in item and _keys(value) == [key] else item


def _trimmed(item: Mapping[str, Any], key: str) -> dict[str, Any]:
    keys = _keys(item)
    if key not in keys or len(keys) == 1:
        return {}
    kept = [place for place, name in enumerate(keys) if name != key]
    parallel = {name for name in PER_KEY & item.keys() if isinstance(item[name], list) and len(item[name]) == len(keys)}
    return {"keys": [keys[place] for place in kept]} | {name: [item[name][place] for place in kept]
                                                        for name in parallel}


def _keys(item: Mapping[str, Any]) -> list[Any]:
    keys = item.get("keys") if "_target_" in item else None
    return [keys] if isinstance(keys, str) else keys if isinstance(keys, list) else []


def _is_piece(config: Mapping[str, Any], place: str) -> bool:
    value = at(config, place)
    if isinstance(value, str) and value.startswith("@"):
        value = at(config, value[1:])
    return isinstance(value, list) or (isinstance(value, Mapping) and "_target_" in value)


def _moved(config: dict[str, Any], place: str, piece: str) -> dict[str, Any]:
    """Return the config with a piece at its usual id; whoever refers to its old place refers to the new one."""
    config = {**config, piece: at(config, place)}
    return {name: config[name] if name == piece and isinstance(config[name], str)
            else _renamed(config[name], f"@{place}", f"@{piece}") for name in config}


def _renamed(value: Any, old: str, new: str) -> Any:  # noqa: ANN401 - plain data
    if isinstance(value, Mapping):
        return {key: _renamed(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_renamed(item, old, new) for item in value]
    return new if value == old else value
