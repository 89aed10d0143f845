"""Text of a data set, decoded strictly: a name is read as its character set says, or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from pydicom import Dataset
from pydicom.charset import python_encoding
from pydicom.dataelem import RawDataElement

from dicomnode.domain.dicom import CHARACTER_SETS
from dicomnode.read.values import as_read, short, tag_and_vr, texts

ESCAPE: Final = b"\x1b"
SINGLE_VALUED: Final = frozenset({"LT", "ST", "UT", "UR"})
"""Text VRs in which a backslash is a character (PS3.5 Table 6.2-1)."""
TEXT_VRS: Final = frozenset({"LO", "SH", "PN", "UC"}) | SINGLE_VALUED
"""VRs that Specific Character Set (0008,0005) governs."""
PLAIN_TERMS: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
"""Terms that name the default repertoire: no byte above 0x7F is allowed (PS3.3 C.12.1.1.2)."""
ESCAPES: Final[Mapping[bytes, str]] = MappingProxyType({
    b"\x1b(B": "ascii", b"\x1b(J": "shift_jis", b"\x1b)I": "shift_jis",
    b"\x1b-A": "latin_1", b"\x1b-B": "iso8859_2", b"\x1b-C": "iso8859_3", b"\x1b-D": "iso8859_4",
    b"\x1b-F": "iso8859_7", b"\x1b-G": "iso8859_6", b"\x1b-H": "iso8859_8", b"\x1b-L": "iso8859_5",
    b"\x1b-M": "iso8859_9", b"\x1b-T": "tis_620",
    b"\x1b$B": "iso2022_jp", b"\x1b$(D": "iso2022_jp_2", b"\x1b$)C": "cp949", b"\x1b$)A": "gb18030",
})
"""Escape sequence → Python codec (PS3.3 Tables C.12-3 and C.12-4)."""
SEVEN_BIT_CODECS: Final = frozenset({"iso2022_jp", "iso2022_jp_2"})
"""Multi-byte sets whose bytes look like ASCII, delimiters included; their codecs read the escape themselves."""
EIGHT_BIT_TERMS: Final[Mapping[str, str]] = MappingProxyType({"ISO 2022 IR 58": "gb18030", "ISO 2022 IR 149": "cp949"})
"""Multi-byte sets above 0x7F, read by their supersets: senders label GBK names as GB 2312."""
FRAGMENT: Final = re.compile(rb"^[^\x1b]+|\x1b[^\x1b]*")
NO_LETTER: Final = re.compile("[^A-Z0-9]")
SPELLINGS: Final[Mapping[str, str]] = MappingProxyType({NO_LETTER.sub("", term): term for term in CHARACTER_SETS})
"""Letters and digits of a term → the term: ``ISO-IR 192`` and ``GB 18030`` can mean one set only."""
DELIMITER: Final = re.compile(rb"([\^=\\\r\n\t\f])")
"""After these the first character set holds again (PS3.5 Section 6.1.2.5.3)."""


def declared(dataset: Dataset) -> tuple[str, ...]:
    """Return the terms of Specific Character Set, in the standard's spelling where only that is wrong; () if absent."""
    return tuple(SPELLINGS.get(_letters(term), term) for term in texts(dataset, "SpecificCharacterSet"))


def speak_for_themselves(terms: tuple[str, ...]) -> bool:
    """Whether terms say how bytes above 0x7F are to be read, each of them known."""
    return not set(terms) <= PLAIN_TERMS and all(term in python_encoding for term in terms)


def decode(raw: bytes, terms: tuple[str, ...], *, fallback: str = "") -> str:
    """Decode text as its character set says; ``fallback`` is the set assumed where none that is known is declared.

    Raises
    ------
    UnicodeError
        If the bytes are none of that set, or lie above 0x7F and no known set is declared or assumed.
    """
    if raw.isascii() and ESCAPE not in raw:
        return raw.decode("ascii")
    if not speak_for_themselves(terms):
        terms = (fallback,)
    if not speak_for_themselves(terms):
        msg = f"no character set for bytes above 0x7F: Specific Character Set (0008,0005) is {list(terms)}"
        raise UnicodeError(msg)
    if len(terms) == 1 and terms[0] not in EIGHT_BIT_TERMS:
        return raw.decode(python_encoding[terms[0]])
    return _decode_extended(raw, _initial(terms))


def text_values(dataset: Dataset, keyword: str, *, fallback: str = "") -> tuple[str, ...]:
    """Return a text attribute's values, padding removed; () if absent or empty; see ``decode``."""
    element, vr = as_read(dataset, keyword), tag_and_vr(keyword)[1]
    if not isinstance(element, RawDataElement) or vr not in TEXT_VRS:
        return texts(dataset, keyword)
    text = decode(short(element, keyword).rstrip(b" \0"), declared(dataset), fallback=fallback)
    if vr in SINGLE_VALUED:
        return (text,) if text else ()
    end = " \0=" if vr == "PN" else " \0"
    return tuple(value.lstrip(" \0").rstrip(end) for value in text.split("\\")) if text else ()


def _letters(term: str) -> str:
    return NO_LETTER.sub("", term.upper())


def _initial(terms: tuple[str, ...]) -> str:
    """Return the codec that holds before any escape: the first term's.

    Where that is the default repertoire, which has no byte above 0x7F, such bytes can only mean the one
    eight-bit set that is declared: senders leave the escape out.
    """
    if terms[0] not in PLAIN_TERMS and terms[0] not in EIGHT_BIT_TERMS:
        return python_encoding[terms[0]]
    eight_bit = [EIGHT_BIT_TERMS[term] for term in terms if term in EIGHT_BIT_TERMS]
    return eight_bit[0] if len(eight_bit) == 1 else "ascii"


def _decode_extended(raw: bytes, initial: str) -> str:
    """Decode with code extensions (PS3.5 Section 6.1.2.5)."""
    text = []
    for fragment in FRAGMENT.findall(raw):
        escape = next((known for known in ESCAPES if fragment.startswith(known)), b"")
        if not escape and fragment.startswith(ESCAPE):
            msg = "an escape sequence that DICOM does not define"
            raise UnicodeError(msg)
        codec = ESCAPES[escape] if escape else initial
        if codec in SEVEN_BIT_CODECS:
            text.append(fragment.decode(codec))
            continue
        first, *others = DELIMITER.split(fragment[len(escape):])
        text.append(first.decode(codec))
        text.extend(other.decode(initial) for other in others)
    return "".join(text)
