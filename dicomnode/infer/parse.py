"""Read a bundle's config: macros, relative ids, and the building of what passed the audit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from monai.bundle.config_item import ComponentLocator
from monai.bundle.config_parser import ConfigParser

from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.audit import NotAllowed, refuse_file_macros

BUNDLE_ROOT: Final = "/bundle"
"""What ``bundle_root`` means inside the child: no such folder exists, files come from memory."""
CONFIGS: Final = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
Files = Mapping[str, bytes]
"""Path inside the bundle → its bytes."""


class _FullNames:
    """Every ``_target_`` is a full name already: MONAI need not search all of its modules."""

    def get_component_module_name(self, _name: str) -> None:
        return None


def read_config(files: Files) -> dict[str, Any]:
    """Return the inference config as plain data.

    Raises
    ------
    ModelFailed
        If there is none, or it is not readable.
    """
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


def resolved(config: dict[str, Any], overrides: Mapping[str, object], remove: Sequence[str] = ()) -> dict[str, Any]:
    """Apply the model file's overrides and removals, then macros and relative ids; nothing is evaluated."""
    config.pop("imports", None)
    try:
        refuse_file_macros(config)
        parser = ConfigParser(config=config)
        for key, value in overrides.items():
            parser[key] = value
        for key in remove:
            _take_out(config, key)
        parser.resolve_macro_and_relative_ids()  # type: ignore[no-untyped-call]
    except NotAllowed as error:
        raise ModelRefused(str(error)) from error
    except (KeyError, ValueError, IndexError, TypeError) as error:
        msg = f"the bundle's config cannot be resolved: {error}"
        raise ModelFailed(msg) from error
    resolved: dict[str, Any] = parser.get()
    return resolved


def _take_out(config: dict[str, Any], key: str) -> None:
    """Delete one id; KeyError where the config has none of that name."""
    *above, last = key.replace("::", "#").split("#")
    place: Any = config
    for part in above:
        place = place[int(part)] if isinstance(place, list) else place[part]
    if isinstance(place, list):
        del place[int(last)]
    elif isinstance(place, dict) and last in place:
        del place[last]
    else:
        msg = f"the model file removes {key!r}, which the bundle's config does not have"
        raise KeyError(msg)


def parser_of(config: dict[str, Any]) -> ConfigParser:
    """Return MONAI's parser over a config that has passed the audit."""
    parser = ConfigParser(config=config)
    parser.locator = cast("ComponentLocator", _FullNames())
    return parser


def build(parser: ConfigParser, name: str) -> Any:  # noqa: ANN401 - a bundle may build anything
    """Build one id of the config; None where it is absent.

    Raises
    ------
    ModelFailed
        If it cannot be built: the message carries MONAI's own.
    """
    if name not in parser:
        return None
    try:
        return parser.get_parsed_content(name)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        cause = error.__cause__ or error
        msg = f"{name} of the bundle cannot be built: {error}: {cause}" if cause is not error \
            else f"{name} of the bundle cannot be built: {error}"
        raise ModelFailed(msg) from error


def components(value: object) -> list[Mapping[str, Any]]:
    """Return every component (a table with ``_target_``) inside a config value."""
    found: list[Mapping[str, Any]] = []
    if isinstance(value, Mapping):
        found += [value] if isinstance(value.get("_target_"), str) else []
        value = list(value.values())
    if isinstance(value, list):
        found += [item for part in value for item in components(part)]
    return found
