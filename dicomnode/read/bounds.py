"""What a header may claim before anything is made of the claim: elements, nesting, frames, bytes of one value.

Every limit lies far above what scanners write and far below what stops a process.
"""

from __future__ import annotations

from math import inf
from struct import Struct
from typing import Final, cast

from pydicom import Dataset
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement

from dicomnode.errors import TooLarge
from dicomnode.read.elements import (
    ITEM,
    LONG_VRS,
    MOST_ELEMENTS,
    MOST_NESTED,
    SEQUENCE_END,
    UNDEFINED_LENGTH,
    TooMuch,
)
from dicomnode.read.values import MOST_VALUE_BYTES, whole

MOST_FRAMES: Final = 100_000
"""Frames of one image; Enhanced MR perfusion series have some 10,000."""
SEQUENCE_VRS: Final = frozenset({"SQ", "UN", None})
SHORT_VRS: Final = frozenset({"AE", "AS", "CS", "DA", "IS", "LO", "PN", "SH", "TM", "UI"})
"""Names, codes, dates: VRs of at most 64 characters or a few values, whatever an implicit or unknown VR makes of it."""
INSIDE_VRS: Final = frozenset({b"", b"SQ", b"UN"})
SHORTEST_BYTES: Final = 8
DELIMITERS: Final = 0xFFFE


def refuse_excess(header: Dataset) -> None:
    """Refuse a header that cannot be an image's: pydicom would build an object of each of its elements.

    Raises
    ------
    TooMuch
        Too many elements or frames, sequences nested too deeply, or a short value that is none; the message says which.
    """
    count = len(header)
    for tag in header.keys():  # noqa: SIM118  iterating the data set itself would convert every element
        element = cast("RawDataElement | DataElement | None", header.get_item(tag))
        if not isinstance(element, RawDataElement) or not element.value:
            continue
        if len(element.value) > MOST_VALUE_BYTES and _is_short(element):
            raise TooMuch(f"element {tag} has {len(element.value)} bytes: allowed are {MOST_VALUE_BYTES}")
        if element.VR in SEQUENCE_VRS:
            count += _Count(element).elements(most=MOST_ELEMENTS - count)
    frames = whole(header, "NumberOfFrames", 1)
    if frames > MOST_FRAMES:
        raise TooMuch(f"NumberOfFrames = {frames}: allowed are {MOST_FRAMES}")


def refuse_claim(what: str, claimed_bytes: int, most_bytes: int) -> None:
    """Refuse to decode what claims more than the limit.

    Raises
    ------
    TooLarge
    """
    if claimed_bytes > most_bytes:
        raise TooLarge(f"{what} would take {claimed_bytes / 1e6:.0f} MB decoded; [worker] max_decoded_mb allows "
                       f"{most_bytes / 1e6:.0f}: nothing was decoded")


def _is_short(element: RawDataElement) -> bool:
    known = dictionary_has_tag(element.tag) and not element.tag.is_private
    return (dictionary_VR(element.tag) if known else element.VR) in SHORT_VRS


class _Count:
    """Counts what lies within one sequence, of defined or undefined length, in a single pass over its bytes."""

    def __init__(self, element: RawDataElement) -> None:
        order = "<" if element.is_little_endian else ">"
        self._bytes = element.value or b""
        self._implicit = element.is_implicit_VR
        self._item = Struct(f"{order}HH").pack(ITEM >> 16, ITEM & 0xFFFF)
        self._tag_length = Struct(f"{order}HHL").unpack_from
        self._tag_vr_length = Struct(f"{order}HH2sH").unpack_from
        self._long = Struct(f"{order}L").unpack_from

    def elements(self, *, most: int) -> int:
        """Return how many items and elements there are; 0 where the value is no sequence."""
        if not self._bytes.startswith(self._item):
            return 0
        position, count, size = 0, 0, len(self._bytes)
        around: list[float] = []  # where the sequences around this place end; undefined length: at their delimiter
        while position + SHORTEST_BYTES <= size:
            while around and position >= around[-1]:
                around.pop()
            tag, value, length, opens = self._head(position, size)
            count += 1
            if count > most:
                raise TooMuch(f"more than {MOST_ELEMENTS} elements in one header")
            if tag == SEQUENCE_END and around:
                around.pop()
            elif opens and tag >> 16 != DELIMITERS:
                around.append(inf if length == UNDEFINED_LENGTH else value + length)
                if len(around) >= MOST_NESTED:  # the one that is counted lies around them
                    raise TooMuch(f"more than {MOST_NESTED} sequences within one another")
            position = value if opens or length == UNDEFINED_LENGTH else value + length
        return count

    def _head(self, position: int, size: int) -> tuple[int, int, int, bool]:
        """Tag, where the value begins, its length, and whether more elements lie in it."""
        group, number, length = self._tag_length(self._bytes, position)
        tag, value = group << 16 | number, position + SHORTEST_BYTES
        if group == DELIMITERS:
            return tag, value, length, True
        vr = b""
        if not self._implicit:
            _, _, vr, short = self._tag_vr_length(self._bytes, position)
            if vr in LONG_VRS:
                length = self._long(self._bytes, value)[0] if value + 4 <= size else 0
                value += 4
            elif vr.isalpha() and vr.isupper():
                return tag, value, short, False
        opens = vr in INSIDE_VRS and (length == UNDEFINED_LENGTH or self._bytes.startswith(self._item, value))
        return tag, value, length, opens

