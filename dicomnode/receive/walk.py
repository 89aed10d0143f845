"""Element headers of a data set, walked while the bytes pass by; no value is read but four UIDs (PS3.5 Section 7)."""

from __future__ import annotations

import zlib
from struct import Struct
from typing import Final

from dicomnode.errors import CannotUnderstand
from dicomnode.receive.syntaxes import DEFLATED_LE, IMPLICIT_LE

SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
STUDY_INSTANCE_UID: Final = 0x0020000D
SERIES_INSTANCE_UID: Final = 0x0020000E
WANTED: Final = frozenset({SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, SERIES_INSTANCE_UID})

UNDEFINED: Final = 0xFFFFFFFF
ITEM: Final = 0xFFFEE000
ITEM_END: Final = 0xFFFEE00D
SEQUENCE_END: Final = 0xFFFEE0DD
DELIMITERS: Final = 0xFFFE
FIRST_DATA_SET_GROUP: Final = 0x0008
SHORTEST_HEADER_BYTES: Final = 8
MOST_UID_BYTES: Final = 64
MOST_DEPTH: Final = 64
"""Sequences within sequences: real objects stay below ten."""

SHORT_VRS: Final = frozenset(
    b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split(),
)
"""VRs with a 16-bit length; every other pair of capital letters, future VRs included, has 32 bits (PS3.5 7.1.2).

What is no pair of capital letters (some makers write two spaces) is read with 16 bits, as dcmtk and pydicom do.
"""
UNDEFINED_LENGTH_VRS: Final = frozenset({b"SQ", b"UN", b"OB", b"OW"})

_EXPLICIT: Final = Struct("<HH2sH")
_IMPLICIT: Final = Struct("<HHI")
_LONG: Final = Struct("<I")


class Walk:
    """Feed it the data set in pieces of any size, then ``finish``; ``uids`` holds the four UIDs met.

    Raises
    ------
    CannotUnderstand
        At the first byte that cannot be an element header, or in ``finish`` when the data end inside an element.
    """

    def __init__(self, *, implicit: bool) -> None:
        self.uids: dict[int, str] = {}
        self._implicit = implicit
        self._outer: list[tuple[bool, bool]] = []  # (in items, implicit) of the levels around this one
        self._in_items = False
        self._skip = 0
        self._tail = b""
        self._tag = 0

    def feed(self, piece: bytes | memoryview) -> None:
        """Walk over the next bytes."""
        size = len(piece)
        if self._skip >= size:
            self._skip -= size
            return
        data = self._tail + piece if self._tail else piece
        position = self._walk(data, self._skip)
        self._skip = max(0, position - len(data))
        self._tail = bytes(data[position:])

    def finish(self) -> None:
        """The data set ends here, and every length in it was true."""
        if self._skip or self._tail or self._outer:
            missing = f"{self._skip} bytes short" if self._skip else "header or delimiter missing"
            raise CannotUnderstand(f"data set ends inside element {_name(self._tag)}: {missing}")

    def _walk(self, data: bytes | memoryview, position: int) -> int:
        """Return where the next element begins, or where the first one that is not all here does."""
        end = len(data)
        while position + SHORTEST_HEADER_BYTES <= end:
            tag, vr, length, value = self._header(data, position)
            if value > end:
                break
            self._tag = tag
            if tag >> 16 == DELIMITERS or self._in_items:
                self._delimit(tag, length)
                position = value if length == UNDEFINED else value + length
            elif length == UNDEFINED:
                self._enter(vr)
                position = value
            elif tag not in WANTED or self._outer:
                position = value + length
            elif length <= MOST_UID_BYTES and value + length > end:
                break
            else:
                position = value + length
                self._take_uid(tag, data[value:position], length)
        return position

    def _header(self, data: bytes | memoryview, position: int) -> tuple[int, bytes, int, int]:
        """Tag, VR, length of the value, and where it begins; beyond the data where the header is not all here."""
        value = position + SHORTEST_HEADER_BYTES
        if self._in_items or self._implicit:
            group, element, length = _IMPLICIT.unpack_from(data, position)
            vr = b"UN"
        else:
            group, element, vr, length = _EXPLICIT.unpack_from(data, position)
            if group == DELIMITERS:
                length = _LONG.unpack_from(data, position + 4)[0]
            elif vr not in SHORT_VRS and vr.isalpha() and vr.isupper():
                value += _LONG.size
                length = _long_length(data, value, vr, group << 16 | element)
        if group < FIRST_DATA_SET_GROUP:
            raise CannotUnderstand(f"element ({group:04X},{element:04X}) may not stand in a data set (PS3.5 7.1)")
        return group << 16 | element, vr, length, value

    def _take_uid(self, tag: int, value: bytes | memoryview, length: int) -> None:
        if length > MOST_UID_BYTES:
            raise CannotUnderstand(f"UID {_name(tag)} has {length} bytes; allowed are {MOST_UID_BYTES}")
        self.uids[tag] = bytes(value).rstrip(b"\0 ").decode("ascii", "replace")

    def _enter(self, vr: bytes) -> None:
        """Go into a value of undefined length: a series of items; UN holds Implicit VR (PS3.5 Section 6.2.2)."""
        if len(self._outer) >= MOST_DEPTH:
            raise CannotUnderstand(f"element {_name(self._tag)} is nested deeper than {MOST_DEPTH}")
        self._outer.append((self._in_items, self._implicit))
        self._in_items, self._implicit = True, self._implicit or vr == b"UN"

    def _delimit(self, tag: int, length: int) -> None:
        """Apply an item tag or a delimiter (PS3.5 Section 7.5)."""
        if self._in_items:
            if tag == SEQUENCE_END and length == 0:
                self._in_items, self._implicit = self._outer.pop()
            elif tag != ITEM:
                raise CannotUnderstand(f"element {_name(tag)} stands where only items may")
            elif length == UNDEFINED:
                self._outer.append((True, self._implicit))
                self._in_items = False
        elif tag == ITEM_END and length == 0 and self._outer:
            self._in_items, self._implicit = self._outer.pop()
        elif self._outer or length or tag == ITEM:  # a stray empty delimiter between elements does no harm
            raise CannotUnderstand(f"delimiter {_name(tag)} of {length} bytes outside a sequence")


class DeflatedWalk(Walk):
    """As Walk, over a deflated data set (PS3.5 Section A.5); inflates at most ``most_bytes``, keeps nothing."""

    PIECE_BYTES: Final = 1 << 20

    def __init__(self, *, most_bytes: int) -> None:
        super().__init__(implicit=False)
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._left_bytes = most_bytes

    def feed(self, piece: bytes | memoryview) -> None:
        """Inflate and walk over the next bytes."""
        rest, plain = bytes(piece), b""
        while (rest or len(plain) == self.PIECE_BYTES) and not self._inflate.eof:
            try:
                plain = self._inflate.decompress(rest, self.PIECE_BYTES)
            except zlib.error as error:
                raise CannotUnderstand(f"deflated data set is damaged: {error}") from error
            self._left_bytes -= len(plain)
            if self._left_bytes < 0:
                raise CannotUnderstand("deflated data set grows beyond max_instance_mb")
            super().feed(plain)
            rest = self._inflate.unconsumed_tail

    def finish(self) -> None:
        """The deflated stream and the data set in it both end here."""
        if not self._inflate.eof:
            raise CannotUnderstand("deflated data set ends before its last block")
        super().finish()


def walk_for(transfer_syntax_uid: str, *, most_bytes: int) -> Walk:
    """The walk that reads ``transfer_syntax_uid``; encapsulated syntaxes are Explicit VR (PS3.5 Section A.4)."""
    if transfer_syntax_uid == DEFLATED_LE:
        return DeflatedWalk(most_bytes=most_bytes)
    return Walk(implicit=transfer_syntax_uid == IMPLICIT_LE)


def _long_length(data: bytes | memoryview, value: int, vr: bytes, tag: int) -> int:
    if value > len(data):
        return 0
    length: int = _LONG.unpack_from(data, value - _LONG.size)[0]
    if length == UNDEFINED and vr not in UNDEFINED_LENGTH_VRS:
        raise CannotUnderstand(f"element {_name(tag)} of VR {vr.decode()} has no length")
    return length


def _name(tag: int) -> str:
    return f"({tag >> 16:04X},{tag & 0xFFFF:04X})"
