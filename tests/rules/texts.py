"""Texts: one character set, no character lost, every value as its representation allows."""

from __future__ import annotations

from collections.abc import Iterator

from pydicom import Dataset, config
from pydicom.valuerep import validate_value

from tests.rules.scene import Scene, content, elements

TEXTS = {"PN", "LO", "SH", "ST", "LT", "UT", "UC"}
LOST = "\ufffd"


def is_written_as_unicode(one: Dataset, _scene: Scene) -> Iterator[str]:
    if one.get("SpecificCharacterSet") != "ISO_IR 192":
        yield f"is written as {one.get('SpecificCharacterSet')}, not as ISO_IR 192"
    if any("SpecificCharacterSet" in item for item, _ in elements(one) if item is not one):
        yield "an item has a character set of its own"


def no_character_is_lost(one: Dataset, scene: Scene) -> Iterator[str]:
    source = scene.source_of(one)
    for item, element in elements(one):
        if element.VR not in TEXTS or element.value is None:
            continue
        text = str(element.value)
        if LOST in text or "\x1b" in text:
            yield f"{element.keyword} lost characters"
        if item is one and "?" in text and "?" not in str(source.get(element.keyword, "")):
            yield f"{element.keyword} holds question marks that the source does not"


def values_are_as_their_representation_allows(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.5 Table 6.2-1, as pydicom reads it."""
    for _, element in elements(one):
        values = element.value if element.VM > 1 else [element.value]
        for value in values if element.VR not in {"SQ", "OW", "OB", "OF", "OD", "OV", "UN", "AT", "UT"} else ():
            try:
                validate_value(element.VR, getattr(value, "original_string", value), config.RAISE)
            except (ValueError, TypeError) as error:
                yield f"{element.keyword}: {str(error)[:80]}"


def sentences_say_something(one: Dataset, _scene: Scene) -> Iterator[str]:
    for item in content(one):
        if item.get("ValueType") == "TEXT" and not str(item.get("TextValue", "")).strip():
            yield "a text of the report is empty"
        elif item.get("ValueType") == "TEXT" and ("{" in item.TextValue or "}" in item.TextValue):
            yield f"a text of the report has an unfilled place: {item.TextValue[:60]!r}"


RULES = (
    is_written_as_unicode, no_character_is_lost, values_are_as_their_representation_allows, sentences_say_something,
)
