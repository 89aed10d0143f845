"""Writes TOML: tables of plain values, as model files hold them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(table: Mapping[str, object]) -> str:
    """A table as TOML; plain keys first, then tables, then lists of tables; an inner table of a list stands inline."""
    lines = [f"{_key(key)} = {_value(value)}" for key, value in table.items() if not _is_section(value)]
    for key, value in table.items():
        if isinstance(value, Mapping) and _is_section(value):
            lines += ["", f"[{_key(key)}]", *(f"{_key(one)} = {_value(inner)}" for one, inner in value.items())]
        elif isinstance(value, list) and _is_section(value):
            for entry in value:
                lines += ["", f"[[{_key(key)}]]", *(f"{_key(one)} = {_value(inner)}" for one, inner in entry.items())]
    return "\n".join(lines) + "\n"


def _is_section(value: object) -> bool:
    """Whether a value stands under a heading of its own: codes and ranges do not."""
    if isinstance(value, Mapping):
        return not {"scheme", "meaning"} <= set(value)
    return isinstance(value, list) and bool(value) and all(isinstance(entry, Mapping) for entry in value)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key)


def _value(value: object) -> str:
    """One value in one line.

    Raises
    ------
    TypeError
        For what TOML has no word for: None among them.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        inner = ", ".join(f"{_key(key)} = {_value(entry)}" for key, entry in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(entry) for entry in value)}]"
    raise TypeError(f"{value!r} is a {type(value).__name__}; TOML has text, numbers, truth values, lists and tables")
