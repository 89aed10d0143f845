"""Values of a raw data set, as text or numbers, without converting its elements."""

from __future__ import annotations

import struct
from functools import cache
from typing import Final, cast

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.tag import BaseTag, Tag

NUMBER_FORMATS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
"""Binary VRs and their struct letters (PS3.5 Table 6.2-1)."""
MOST_VALUE_BYTES: Final = 1 << 16
"""What an explicit VR with a 16-bit length can hold; some million values in one attribute are an attack, not a text."""


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return an ASCII or binary-number attribute as texts, one per value; () if absent or empty.

    For text that may hold other characters, use ``charset.text_values``.

    Raises
    ------
    ValueError
        If the value has more than ``MOST_VALUE_BYTES``: it is not taken apart.
    """
    element = as_read(dataset, keyword)
    if element is None:
        return ()
    if isinstance(element, DataElement):
        if element.is_empty:
            return ()
        value = element.value
        return tuple(str(v).strip() for v in value) if element.VM > 1 else (str(value).strip(),)
    vr = element.VR if element.VR not in {None, "UN"} else tag_and_vr(keyword)[1]
    raw = short(element, keyword)
    if vr in NUMBER_FORMATS:
        order = "<" if element.is_little_endian else ">"
        one = struct.Struct(order + NUMBER_FORMATS[vr])
        return tuple(str(v[0]) for v in one.iter_unpack(raw[:len(raw) // one.size * one.size]))
    text = raw.decode("latin-1").strip(" \0")
    return tuple(value.strip(" \0") for value in text.split("\\")) if text else ()


def short(element: RawDataElement, keyword: str) -> bytes:
    """Return the bytes of a value, b"" for an empty one; raises ValueError as ``texts``."""
    raw = element.value or b""
    if len(raw) > MOST_VALUE_BYTES:
        raise ValueError(f"{keyword} has {len(raw)} bytes: allowed are {MOST_VALUE_BYTES}")
    return raw


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return a numeric attribute's values; () if absent, empty, or not numbers."""
    try:
        return tuple(float(text) for text in texts(dataset, keyword))
    except ValueError:
        return ()


def whole(dataset: Dataset, keyword: str, default: int) -> int:
    """Return the first value of an integer attribute, ``default`` if absent or not a number."""
    values = numbers(dataset, keyword)
    return int(values[0]) if values else default


def as_read(dataset: Dataset, keyword: str) -> RawDataElement | DataElement | None:
    """Return an element as it lies in the data set, not converted if nobody has asked for it yet."""
    return cast("RawDataElement | DataElement | None", dataset.get_item(tag_and_vr(keyword)[0]))


@cache
def tag_and_vr(keyword: str) -> tuple[BaseTag, str]:
    """Return a keyword's tag and VR; of two possible VRs the first.

    Raises
    ------
    KeyError
        If it is no keyword of PS3.6.
    """
    tag = Tag(keyword)
    return tag, dictionary_VR(tag).split(" or ", maxsplit=1)[0]
