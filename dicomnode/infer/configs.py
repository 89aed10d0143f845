"""A bundle's config files as plain data: read, bounded in size, macros and relative ids written out.

Nothing here imports, builds or evaluates anything: it works without torch and MONAI.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import yaml

from dicomnode.errors import ModelFailed, ModelRefused

CONFIGS: Final = ("configs/inference.json", "configs/inference.yaml", "configs/inference.yml")
Files = Mapping[str, bytes]
"""Path inside the bundle → its bytes."""
MOST_VALUES: Final = 200_000
"""Values that a config may hold once aliases and macros are written out; the largest of the zoo has some 3,000."""
MOST_LEVELS: Final = 60
MOST_MERGED: Final = 50
"""Tables that one YAML merge (``<<``) may name."""
FILE_MACRO: Final = re.compile(r"%(?P<path>.*\.(?:json|ya?ml))(?:::(?P<id>.*))?", re.IGNORECASE)
RELATIVE: Final = re.compile(r"([@%])(::+)")
SEPARATOR: Final = "::"


def read_config(files: Files) -> dict[str, Any]:
    """Return the inference config as plain data.

    Raises
    ------
    ModelFailed
        If there is none, or it is not readable.
    ModelRefused
        If it holds more than any honest config.
    """
    name = next((name for name in CONFIGS if name in files), None)
    if name is None:
        msg = f"no inference config in the bundle: expected one of {', '.join(CONFIGS)}"
        raise ModelFailed(msg)
    return parsed(name, files[name])


def parsed(name: str, text: bytes) -> dict[str, Any]:
    """Return one config file, JSON or YAML, as a table in which no part is shared; raises as ``read_config``."""
    try:
        config = json.loads(text) if name.lower().endswith(".json") else yaml.load(text, _Yaml)  # noqa: S506 - a SafeLoader
    except (ValueError, yaml.YAMLError) as error:
        msg = f"{name} is not readable: {error}"
        raise ModelFailed(msg) from error
    except (RecursionError, _EndlessError):
        raise ModelRefused(_too_much(name)) from None
    if not isinstance(config, dict):
        msg = f"{name} holds a {type(config).__name__}; expected is a table of ids"
        raise ModelFailed(msg)
    table: dict[str, Any] = _Budget(name).copy(config)
    return table


def changed(config: dict[str, Any], overrides: Mapping[str, object], remove: Sequence[str]) -> None:
    """Put the model file's ids into a config, and take out those that it removes.

    Raises
    ------
    ModelFailed
        If an id has no place in the config, or one to remove is not there.
    """
    for key, value in overrides.items():
        place, last = _place(config, key, "overrides")
        if isinstance(place, list):
            place[int(last)] = value
        else:
            place[last] = value
    for key in remove:
        place, last = _place(config, key, "remove")
        if isinstance(place, list):
            del place[int(last)]
        elif last in place:
            del place[last]
        else:
            raise ModelFailed(_no_place("remove", key, last))


def _place(config: dict[str, Any], key: str, table: str) -> tuple[dict[str, Any] | list[Any], str]:
    """Return the table or list that holds an id, and the last part of the id; a list's place is checked."""
    *above, last = key.replace("#", SEPARATOR).split(SEPARATOR)
    place: Any = config
    for part in above:
        try:
            place = place[int(part)] if isinstance(place, list) else place[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ModelFailed(_no_place(table, key, part)) from None
    fits = isinstance(place, dict) or (isinstance(place, list) and last.isdigit() and int(last) < len(place))
    if not fits:
        raise ModelFailed(_no_place(table, key, last))
    return place, last


def _no_place(table: str, key: str, part: str) -> str:
    return f"[runtime] {table}: {key!r} has no place in the bundle's config: there is no {part!r}"


def expanded(config: dict[str, Any], files: Files) -> dict[str, Any]:
    """Return the config with ids absolute and separated by ``::``, and every macro (``%id``) replaced by its target.

    A macro may name another config file of the bundle (``%configs/other.json::id``), and none elsewhere.

    Raises
    ------
    ModelRefused
        If a macro names a file outside the bundle, or macros write out more than ``MOST_VALUES``.
    ModelFailed
        If a macro leads nowhere.
    """
    table: dict[str, Any] = _Expansion(config, files, _Budget("the config")).of(config, "")
    return table


class _EndlessError(Exception):
    """YAML that writes out to more than any honest config."""


class _Yaml(yaml.SafeLoader):
    """Reads plain data; merges (``<<``) of merges are counted while they are written out, before they fill memory."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Put merged keys into a table; raises _EndlessError where that gives more than any honest config."""
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge" and isinstance(value, yaml.SequenceNode) \
                    and len(value.value) > MOST_MERGED:
                raise _EndlessError
        super().flatten_mapping(node)
        if len(node.value) > MOST_VALUES:
            raise _EndlessError


class _Budget:
    """Counts values; one budget for all that one config may write out."""

    def __init__(self, name: str) -> None:
        self._name, self._left = name, MOST_VALUES

    def copy(self, value: object, level: int = 0) -> Any:  # noqa: ANN401 - plain data
        self.spend(level)
        if isinstance(value, Mapping):
            return {str(key): self.copy(item, level + 1) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.copy(item, level + 1) for item in value]
        return value

    def spend(self, level: int) -> None:
        self._left -= 1
        if self._left < 0 or level > MOST_LEVELS:
            raise ModelRefused(_too_much(self._name))


class _Expansion:
    """Writes out the macros of one file; another file has an expansion of its own, from the same budget."""

    def __init__(self, config: Mapping[str, Any], files: Files, budget: _Budget) -> None:
        self._config, self._files, self._budget = config, files, budget

    def of(self, value: object, where: str, level: int = 0) -> Any:  # noqa: ANN401 - plain data
        self._budget.spend(level)
        if isinstance(value, Mapping):
            return {key: self.of(item, _joined(where, key), level + 1) for key, item in value.items()}
        if isinstance(value, list):
            return [self.of(item, _joined(where, str(n)), level + 1) for n, item in enumerate(value)]
        if not isinstance(value, str):
            return value
        text = _absolute(value, where)
        return self._target(text, where, level) if text.startswith("%") else text

    def _target(self, macro: str, where: str, level: int) -> Any:  # noqa: ANN401 - plain data
        match = FILE_MACRO.fullmatch(macro)
        if match is None:
            return self.of(_looked_up(self._config, macro[1:], where), macro[1:], level + 1)
        path = find(self._files, match["path"])
        if path is None:
            msg = f"{where}: macro {macro!r} reads a file; allowed are config files of the bundle itself"
            raise ModelRefused(msg)
        other = parsed(path, self._files[path])
        name = match["id"] or ""
        return _Expansion(other, self._files, self._budget).of(_looked_up(other, name, where), name, level + 1)


def find(files: Files, path: str) -> str | None:
    """Return the bundle's file that a path means, seen from the bundle's root or from ``configs``; None for none."""
    plain = posixpath.normpath(path)
    if plain.startswith(("/", "..")):
        return None
    return next((name for name in (plain, f"configs/{plain}") if name in files), None)


def _absolute(value: str, where: str) -> str:
    """Write ``@#id`` and ``%##id`` (relative to the place of the value) as absolute ids.

    Every ``#`` becomes ``::``, as MONAI does it, in every text.
    """
    text = value.replace("#", SEPARATOR)
    parts = where.split(SEPARATOR)

    def put(match: re.Match[str]) -> str:
        up = len(match[2]) // len(SEPARATOR)
        if up > len(parts):
            msg = f"{where}: the relative id in {value!r} leads out of the config"
            raise ModelFailed(msg)
        above = SEPARATOR.join(parts[:-up])
        return f"{match[1]}{above}{SEPARATOR}" if above else match[1]

    return RELATIVE.sub(put, text)


def _looked_up(config: Mapping[str, Any], name: str, where: str) -> object:
    place: Any = config
    for key in name.split(SEPARATOR) if name else ():
        try:
            place = place[int(key)] if isinstance(place, list) else place[key]
        except (KeyError, IndexError, ValueError, TypeError):
            msg = f"{where}: macro %{name} leads nowhere: there is no {key!r}"
            raise ModelFailed(msg) from None
    return place


def _joined(where: str, key: str) -> str:
    return f"{where}{SEPARATOR}{key}" if where else key


def _too_much(name: str) -> str:
    return (f"{name} writes out to more than {MOST_VALUES} values or {MOST_LEVELS} levels: no config of a model needs "
            "that; it is not read further")
