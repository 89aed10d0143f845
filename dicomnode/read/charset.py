"""Text of a data set, decoded strictly: a name is read as its character set says, or not at all."""

from __future__ import annotations

import warnings
from typing import Final

from pydicom import Dataset
from pydicom.charset import decode_bytes, python_encoding
from pydicom.dataelem import RawDataElement
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from dicomnode.read.part10 import as_read, tag_and_vr, texts

ESCAPE: Final = b"\x1b"
SINGLE_VALUED: Final = frozenset({"LT", "ST", "UT", "UR"})
"""Text VRs in which a backslash is a character (PS3.5 Table 6.2-1)."""
TEXT_VRS: Final = frozenset({"LO", "SH", "PN", "UC"}) | SINGLE_VALUED
"""VRs that Specific Character Set (0008,0005) governs."""
PLAIN_TERMS: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
"""Terms that name the default repertoire: no byte above 0x7F is allowed (PS3.3 C.12.1.1.2)."""


def declared(dataset: Dataset) -> tuple[str, ...]:
    """Return the terms of Specific Character Set, as written; () if absent."""
    return texts(dataset, "SpecificCharacterSet")


def decode(raw: bytes, terms: tuple[str, ...], *, fallback: str = "", vr: str = "LO") -> str:
    """Decode text as its character set says; ``fallback`` is the set assumed where none is declared.

    Raises
    ------
    UnicodeError
        If the bytes are none of that set, or lie above 0x7F and no set is declared or assumed.
    """
    if raw.isascii() and ESCAPE not in raw:
        return raw.decode("ascii")
    if set(terms) <= PLAIN_TERMS:
        terms = (fallback,)
    unknown = [term for term in terms if term not in python_encoding]
    if unknown or set(terms) <= PLAIN_TERMS:
        msg = f"no character set for bytes above 0x7F: Specific Character Set (0008,0005) is {list(terms)}"
        raise UnicodeError(msg)
    encodings = [python_encoding[term] for term in terms]
    if ESCAPE not in raw:
        return raw.decode(encodings[0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            return decode_bytes(raw, encodings, PN_DELIMS if vr == "PN" else TEXT_VR_DELIMS)
        except (UserWarning, LookupError) as error:
            msg = f"bytes do not follow {list(terms)}"
            raise UnicodeError(msg) from error


def text_values(dataset: Dataset, keyword: str, *, fallback: str = "") -> tuple[str, ...]:
    """Return a text attribute's values, padding removed; () if absent or empty; see ``decode``."""
    element, vr = as_read(dataset, keyword), tag_and_vr(keyword)[1]
    if not isinstance(element, RawDataElement) or vr not in TEXT_VRS:
        return texts(dataset, keyword)
    text = decode((element.value or b"").rstrip(b" \0"), declared(dataset), fallback=fallback, vr=vr)
    if vr in SINGLE_VALUED:
        return (text,) if text else ()
    return tuple(value.strip(" \0") for value in text.split("\\")) if text else ()

