"""From what pydantic found to what a person reads: place, value met, what is allowed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails
from typing_extensions import is_typeddict

from dicomnode.config.kinds import near

Place = tuple[int | str, ...]

LONGEST_VALUE_CHARS: Final = 80

PATTERNS: Final[Mapping[str, str]] = {
    r"^[A-Za-z0-9][A-Za-z0-9_.-]*$": "allowed are letters, digits, and _ . - after the first",
    r"^(auto|cpu|cuda|cuda:[0-9]+)$": 'allowed are "auto", "cpu", "cuda" and "cuda:N"',
    r"^sha256:[0-9a-f]{64}$": 'allowed is "sha256:" and 64 hexadecimal digits, as `dicomnode models verify` prints it',
}

ALLOWED: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "greater_than": lambda c: f"allowed are values above {c['gt']:g}",
    "greater_than_equal": lambda c: f"allowed are {c['ge']:g} and above",
    "less_than_equal": lambda c: f"allowed are values up to {c['le']:g}",
    "finite_number": lambda _: "allowed are finite numbers",
    "int_type": lambda _: "allowed are whole numbers",
    "float_type": lambda _: "allowed are numbers",
    "bool_type": lambda _: "allowed are true and false",
    "string_type": lambda _: 'allowed is text in quotes, such as "abc"',
    "string_too_short": lambda _: "must not be empty",
    "string_too_long": lambda c: f"allowed are at most {c['max_length']} characters",
    "dict_type": lambda _: "allowed is a table",
    "too_short": lambda c: f"at least {c['min_length']} needed, {c['actual_length']} given",
    "too_long": lambda c: f"at most {c['max_length']} allowed, {c['actual_length']} given",
    "literal_error": lambda c: f"allowed are {c['expected']}",
    "string_pattern_mismatch": lambda c: PATTERNS.get(c["pattern"], f"allowed is what matches {c['pattern']}"),
    "value_error": lambda c: _after_value(str(c["error"])),
}
"""pydantic's error type → what is allowed, in our words."""


def problems_of(error: ValidationError, raw: Mapping[str, Any], schema: TypeAdapter[Any], file: str) -> Iterator[str]:
    """Yield one line per mistake: ``node.toml: [receive] max_associations = -3: allowed are values above 0``."""
    hints = schema._type  # noqa: SLF001 - the adapter has no public way back to its type
    for detail in error.errors(include_url=False):
        yield f"{file}: {_sentence(detail, raw, hints)}"


def place_text(place: Place, raw: Mapping[str, Any]) -> str:
    """Name a place as the file writes it: ``[peers.pacs] port``, ``[[routes]] "chest-ct": when.Modality``."""
    head, *rest = place
    table = raw.get(str(head))
    if isinstance(table, list) and rest:
        number, *rest = rest
        return f"[[{head}]] {_entry(table, int(number))}" + (f": {_dotted(rest)}" if rest else "")
    if not isinstance(table, dict) or not rest:
        return f"[{head}]" if isinstance(table, dict) else str(head)
    if head == "peers":
        name, *rest = rest
        return f"[peers.{name}] {_dotted(rest)}".rstrip()
    return f"[{head}] {_dotted(rest)}"


def shown(value: object) -> str:
    """Write a value as TOML would, cut to a line's length."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_VALUE_CHARS else f"{text[:LONGEST_VALUE_CHARS]}…"


def _sentence(detail: ErrorDetails, raw: Mapping[str, Any], root: object) -> str:
    place = _written_place(detail["loc"])
    where = place_text(place, raw)
    if detail["type"] == "extra_forbidden":
        return _unknown(place, raw, _keys_at(root, detail["loc"][:-1]))
    if detail["type"] == "missing":
        return f"{where}: this key is missing and has no default"
    if detail["loc"] and detail["loc"][-1] == "[key]":
        return f"{where}: {_allowed(detail)}"
    return f"{where} = {shown(detail['input'])}: {_allowed(detail)}"


def _unknown(place: Place, raw: Mapping[str, Any], known: tuple[str, ...]) -> str:
    word = str(place[-1])
    kind = "table" if isinstance(raw.get(word), dict | list) and len(place) == 1 else "key"
    hint = near(word, known) or f"; known are {', '.join(known)}"
    return f"{place_text(place, raw)}: unknown {kind}{hint}"


def _allowed(detail: ErrorDetails) -> str:
    if detail["type"] == "list_type":
        return f"allowed is a list{_such_as(detail['input'])}"
    rule = ALLOWED.get(detail["type"])
    return rule(detail.get("ctx", {})) if rule else detail["msg"]


def _such_as(value: object) -> str:
    """Write a value alone as the list that was perhaps meant."""
    return f", such as {shown([value])}" if isinstance(value, str | int | float) else ""


def _after_value(message: str) -> str:
    """Leave out a domain message's own repetition of the value."""
    return re.sub(r"^not an? (UID|AE title): .*?; ", "", message)


def _written_place(loc: Sequence[int | str]) -> Place:
    """The place as written: keywords of ``[limits]`` stand beside ``age_years``, not below a ``when``."""
    place = tuple(part for part in loc if part != "[key]")
    return (place[0], *place[2:]) if place[:2] == ("limits", "when") else place


def _entry(table: Sequence[object], number: int) -> str:
    entry = table[number]
    name = entry.get("name", entry.get("role")) if isinstance(entry, dict) else None
    return f'"{name}"' if isinstance(name, str) else f"number {number + 1}"


def _dotted(parts: Sequence[int | str]) -> str:
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _keys_at(kind: object, loc: Sequence[int | str]) -> tuple[str, ...]:
    """Return the keys of the table at ``loc``, by walking the schema's types."""
    for part in loc:
        kind = get_type_hints(kind)[str(part)] if is_typeddict(kind) else get_args(kind)[-1]
    return tuple(get_type_hints(kind)) if is_typeddict(kind) else ()
