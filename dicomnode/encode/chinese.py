"""English sentences of the node in Chinese: read by their words, said anew with their numbers.

What is said of images is written in English where it is found, and kept so in events and logs. A report in Chinese
says it by the tables of ``notes_zh``, ``refusals_zh`` and ``choices_zh``; what none of them has is quoted as English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from types import MappingProxyType
from typing import Final

from dicomnode.encode.choices_zh import CHOICES_ZH
from dicomnode.encode.notes_zh import NOTES_ZH
from dicomnode.encode.refusals_zh import REFUSALS_ZH
from dicomnode.encode.words import sentence

FIELD: Final = re.compile(r"\{(\w+)([+~*=]?)\}")
"""``{name}`` is a word, ``{name=}`` any text: both stay as they are. ``{name~}`` holds numbers and ranges, ``{name+}``
words of the tables, and ``{name*}`` either, or the value of an attribute."""
HOLDS: Final[Mapping[str, str]] = MappingProxyType({"": r"[^\s;]+?", "*": r"(?:(?!; |, wanted).)+?"})
LISTS: Final[Mapping[str, str]] = MappingProxyType({"; ": "；", " and ": "且", ", ": "，"})
"""What separates the parts of a list, the widest first."""
RANGE: Final = re.compile(r"(-?[\d.]+) to (-?[\d.]+)")
NUMBERS: Final = re.compile(r"[-\d.、 至等另外处]+")
MORE: Final = re.compile(r" and (\d+) more places")


def in_chinese(text: str) -> str:
    """Return what an English sentence of the node says, in Chinese; quoted where no table has it."""
    found = known(text)
    return sentence("in_english", "zh", text=text) if found is None else found


@lru_cache(maxsize=4096)
def known(text: str) -> str | None:
    """Return a sentence, or a list of parts of one, in Chinese; None where the tables do not have all of it."""
    listed = _listed(text)
    if listed is not None:
        return listed
    for pattern, chinese, marks in _patterns():
        match = pattern.fullmatch(text)
        if match is None:
            continue
        values = {name: _said(value, marks[name]) for name, value in match.groupdict().items()}
        if None not in values.values():
            return chinese.format(**values)
    return None


def _listed(text: str) -> str | None:
    """Return a list in Chinese, cut where both sides are known."""
    for english, chinese in LISTS.items():
        for place in (found.start() for found in re.finditer(re.escape(english), text)):
            parts = known(text[:place]), known(text[place + len(english):])
            if None not in parts:
                return chinese.join(part for part in parts if part)
    return None


def _said(value: str, mark: str) -> str | None:
    if mark == "~":
        return _numbers(value)
    if mark == "*":
        return known(value) or _numbers(value) or value.replace(" or ", " 或 ")
    return known(value) if mark == "+" else value


def _numbers(text: str) -> str | None:
    """Return single numbers and ranges, such as ``3, 7 to 9 and 2 more places``."""
    plain = RANGE.sub(r"\1 至 \2", MORE.sub(r" 等另外 \1 处", text)).replace(", ", "、")
    return plain if NUMBERS.fullmatch(plain) else None


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str, Mapping[str, str]], ...]:
    """Return each sentence as a pattern, its Chinese, and how each of its fields is said."""
    tables = (NOTES_ZH, REFUSALS_ZH, CHOICES_ZH)
    return tuple(_compiled(english, chinese) for table in tables for english, chinese in table.items())


def _compiled(english: str, chinese: str) -> tuple[re.Pattern[str], str, Mapping[str, str]]:
    marks = dict(FIELD.findall(english))
    return re.compile("".join(_pieces(english)), re.DOTALL), chinese, marks


def _pieces(english: str) -> Iterator[str]:
    start = 0
    for field in FIELD.finditer(english):
        yield re.escape(english[start: field.start()])
        yield f"(?P<{field.group(1)}>{HOLDS.get(field.group(2), '.+?')})"
        start = field.end()
    yield re.escape(english[start:])


def said_in(language: str, text: str) -> str:
    """Return a sentence of the node in the language of a report."""
    return in_chinese(text) if language.startswith("zh") else text


def quoted_in(language: str, text: str) -> str:
    """Return a sentence of a model file: in Chinese where it is one that the tables have, else in its own words."""
    return (known(text) if language.startswith("zh") else None) or text
