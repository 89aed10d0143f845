"""A walk over the top-level elements of a data set: nothing is converted, sequences are stepped over (PS3.5 Section 7).

Notes
-----
pydicom's own reader builds a data set for every item of every sequence. The index needs none of them: this walk keeps
a sequence as the bytes of its items, which pydicom parses when somebody asks. It takes a third of the time.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, NamedTuple, cast

from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.tag import BaseTag

UNDEFINED_LENGTH: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
MOST_NESTED: Final = 64
"""Sequences within sequences beyond this are an attack, not an image."""
MOST_ELEMENTS: Final = 2_000_000
"""Elements and items of one header, those within sequences counted: an Enhanced MR of 10,000 frames has 1.5 million."""
MOST_AT_THE_TOP: Final = 100_000
"""Elements outside sequences; an image has some hundreds."""
LONG_VRS: Final = frozenset({b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"})
"""VRs with a four-byte length (PS3.5 Section 7.1.2)."""


Elements = dict[BaseTag, DataElement | RawDataElement]


class CutOff(EOFError):
    """The buffer ends inside an element: read more of the file, or it is truncated."""


class TooMuch(ValueError):
    """A header claims more than an image can have; the message says of what, and never a value."""


class Head(NamedTuple):
    """Tag, VR, length of one element, and where its value begins."""

    tag: int
    vr: str | None
    length: int
    value: int


class Walk:
    """Steps through a buffer in one encoding.

    Parameters
    ----------
    buffer:
        The data set from its first byte on, or as much of it as has been read.
    implicit, little:
        VR encoding and byte order of the transfer syntax.
    """

    def __init__(self, buffer: bytes, *, implicit: bool, little: bool) -> None:
        order = "<" if little else ">"
        self._buffer, self._implicit, self._little = buffer, implicit, little
        self._seen = 0
        self._tag_length = struct.Struct(f"{order}HHL").unpack_from
        self._tag_vr_length = struct.Struct(f"{order}HH2sH").unpack_from
        self._long = struct.Struct(f"{order}L").unpack_from

    def elements(
        self, start: int, ends: Callable[[int], bool],
    ) -> tuple[Elements, int, Head | None]:
        """Return the raw elements from ``start`` up to the first tag for which ``ends``, where that is, and its head.

        Raises
        ------
        CutOff
            If the buffer ends inside an element.
        TooMuch
            If sequences nest too deeply, or there are too many elements.
        ValueError
            If a sequence holds what is no item.
        """
        found: Elements = {}
        position, size = start, len(self._buffer)
        while position + 8 <= size:
            head = self._head(position, implicit=self._implicit)
            if ends(head.tag):
                return found, position, head
            position = self._value_end(head, 0, implicit=self._implicit)
            value_end = position - 8 if head.length == UNDEFINED_LENGTH else position
            tag, vr = BaseTag(head.tag), head.vr
            if head.length == UNDEFINED_LENGTH and vr in {None, "UN"}:
                vr = "SQ"
            value = self._buffer[head.value:value_end] or cast("bytes | None", empty_value_for_VR(vr, raw=True))
            found[tag] = RawDataElement(tag, vr, value_end - head.value, value, head.value,
                                        self._implicit or head.vr in {None, "UN"}, self._little)
            if len(found) > MOST_AT_THE_TOP:
                raise TooMuch(f"more than {MOST_AT_THE_TOP} elements outside sequences")
        return found, position, None

    def _head(self, position: int, *, implicit: bool) -> Head:
        self._seen += 1
        if self._seen > MOST_ELEMENTS:
            raise TooMuch(f"more than {MOST_ELEMENTS} elements in one header")
        try:
            if implicit:
                group, element, length = self._tag_length(self._buffer, position)
                return Head(tag=group << 16 | element, vr=None, length=length, value=position + 8)
            group, element, vr, length = self._tag_vr_length(self._buffer, position)
            if vr in LONG_VRS:
                (length,) = self._long(self._buffer, position + 8)
                return Head(tag=group << 16 | element, vr=vr.decode(), length=length, value=position + 12)
            if not (vr.isalpha() and vr.isupper()):  # delimiters, and writers that leave the VR out in mid-file
                return self._head(position, implicit=True)
            return Head(tag=group << 16 | element, vr=vr.decode(), length=length, value=position + 8)
        except struct.error as error:
            raise CutOff from error

    def _value_end(self, head: Head, depth: int, *, implicit: bool) -> int:
        if head.length != UNDEFINED_LENGTH:
            end = head.value + head.length
            if end > len(self._buffer):
                there = max(0, len(self._buffer) - head.value)
                msg = f"element {BaseTag(head.tag)} says {head.length} bytes, the file ends after {there}"
                raise CutOff(msg)
            return end
        return self._sequence_end(head.value, depth + 1, implicit=implicit or head.vr == "UN")

    def _sequence_end(self, position: int, depth: int, *, implicit: bool) -> int:
        """Return where a sequence of undefined length ends, its delimiter included."""
        if depth > MOST_NESTED:
            raise TooMuch(f"more than {MOST_NESTED} sequences within one another")
        while True:
            head = self._head(position, implicit=True)
            if head.tag == SEQUENCE_END:
                return head.value
            if head.tag != ITEM:
                msg = f"{BaseTag(head.tag)} where an item should be"
                raise ValueError(msg)
            position = self._item_end(head.value, depth, implicit=implicit) if head.length == UNDEFINED_LENGTH \
                else self._value_end(head, depth, implicit=implicit)

    def _item_end(self, position: int, depth: int, *, implicit: bool) -> int:
        while True:
            head = self._head(position, implicit=implicit)
            if head.tag == ITEM_END:
                return head.value
            position = self._value_end(head, depth, implicit=implicit)
