"""The head of an arrival: preamble and File Meta Information, which also says who sent it, and from where."""

from __future__ import annotations

from struct import Struct
from typing import Final

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

PREAMBLE: Final = bytes(128) + b"DICM"

SCHEME: Final = "dicom://"
"""Of Source Presentation Address (0002,0026), a URI (PS3.10 Table 7.1-1)."""

_SHORT: Final = Struct("<HH2sH")
_VERSION: Final = Struct("<HH2sHI2s").pack(2, 0x0001, b"OB", 0, 2, b"\0\1")
_GROUP_LENGTH: Final = Struct("<HH2sHI")
_LONG: Final = Struct("<HH2sHI")


def head(*, sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str, calling: str, called: str,
         address: str = "") -> bytes:
    """The bytes before the data set; (0002,0016) and (0002,0017) name the sender, (0002,0018) this node.

    Parameters
    ----------
    address:
        From where it came, for (0002,0026), which the audit trail reads; left out where empty.
    """
    body = b"".join((
        _VERSION,
        _uid(0x0002, sop_class_uid),
        _uid(0x0003, sop_instance_uid),
        _uid(0x0010, transfer_syntax_uid),
        _uid(0x0012, IMPLEMENTATION_CLASS_UID),
        _text(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME),
        _text(0x0016, b"AE", calling),
        _text(0x0017, b"AE", calling),
        _text(0x0018, b"AE", called),
        _address(address) if address else b"",
    ))
    return PREAMBLE + _GROUP_LENGTH.pack(2, 0x0000, b"UL", 4, len(body)) + body


def _uid(element: int, uid: str) -> bytes:
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return _SHORT.pack(2, element, b"UI", len(value)) + value


def _text(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    value += b" " * (len(value) % 2)
    return _SHORT.pack(2, element, vr, len(value)) + value


def _address(address: str) -> bytes:
    host = f"[{address.partition('%')[0]}]" if ":" in address else address
    value = (SCHEME + host).encode("ascii")
    value += b" " * (len(value) % 2)
    return _LONG.pack(2, 0x0026, b"UR", 0, len(value)) + value
