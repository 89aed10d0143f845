"""Read a bundle's config: macros, relative ids, and the building of what passed the audit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from monai.bundle.config_item import ComponentLocator
from monai.bundle.config_parser import ConfigParser

from dicomnode.errors import ModelFailed
from dicomnode.infer.configs import Files, changed, expanded, read_config
from dicomnode.infer.job import Loading

__all__ = ["BUNDLE_ROOT", "Files", "build", "components", "config_of", "parser_of"]
BUNDLE_ROOT: Final = "/bundle"
"""What ``bundle_root`` means inside the child: no such folder exists, files come from memory."""


class _FullNames:
    """Every ``_target_`` is a full name already: MONAI need not search all of its modules."""

    def get_component_module_name(self, _name: str) -> None:
        return None


def config_of(loading: Loading) -> dict[str, Any]:
    """Return the bundle's config with the model file's changes and the child's device; nothing is evaluated.

    Raises
    ------
    ModelFailed, ModelRefused
        As ``configs.read_config``, ``configs.changed`` and ``configs.expanded``.
    """
    config = read_config(loading.files)
    config.pop("imports", None)
    changed(config, loading.overrides, loading.model.get("remove", ()))
    return expanded(config, loading.files) | {"bundle_root": BUNDLE_ROOT, "device": str(loading.device)}


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
