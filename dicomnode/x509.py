"""What a person wants to know of a certificate: whose it is, and until when it is valid (RFC 5280 4.1).

Notes
-----
Only this much is read here: whether a certificate is to be trusted is OpenSSL's to judge. Python's standard library
decodes the certificates of connections, not those of files.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

VERSION: Final = 0xA0
UTC_TIME: Final = 0x17
HIGHEST_2_DIGIT_YEAR: Final = 49
"""A UTCTime of 50 to 99 is of the last century (RFC 5280 4.1.2.5.1)."""
LONG_FORM: Final = 0x80
NAMES: Final = {
    b"\x55\x04\x03": "CN", b"\x55\x04\x06": "C", b"\x55\x04\x07": "L", b"\x55\x04\x08": "ST", b"\x55\x04\x0a": "O",
    b"\x55\x04\x0b": "OU",
}
"""Object identifiers 2.5.4.x of a name's parts; others are left out."""
TEXTS: Final = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A certificate in words; times are aware, UTC."""

    subject: str
    not_before: datetime
    not_after: datetime


def certificates(pem: str) -> list[Certificate]:
    """Return every certificate of a PEM text, in its order.

    Raises
    ------
    ValueError
        If there is none, or one cannot be read.
    """
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    found = [begin + part.partition(end)[0] + end for part in pem.split(begin)[1:]]
    if not found:
        msg = f"holds no certificate: no line says {begin}"
        raise ValueError(msg)
    return [_certificate(ssl.PEM_cert_to_DER_cert(one)) for one in found]


def _certificate(der: bytes) -> Certificate:
    try:
        (_, whole), = _values(der)
        fields = [(kind, value) for kind, value in _values(next(_values(whole))[1]) if kind != VERSION]
        (_, validity), (_, subject) = fields[3], fields[4]
        before, after = (_time(kind, value) for kind, value in _values(validity))
        return Certificate(subject=_name(subject), not_before=before, not_after=after)
    except (IndexError, StopIteration, ValueError) as error:
        msg = "holds a certificate that cannot be read"
        raise ValueError(msg) from error


def _values(der: bytes) -> Iterator[tuple[int, bytes]]:
    """Tag and content of each DER value in a row."""
    place = 0
    while place < len(der):
        kind, size = der[place], der[place + 1]
        place += 2
        if size & LONG_FORM:
            count = size & ~LONG_FORM
            size = int.from_bytes(der[place:place + count], "big")
            place += count
        if place + size > len(der):
            raise IndexError(place)
        yield kind, der[place:place + size]
        place += size


def _time(kind: int, value: bytes) -> datetime:
    text = value.decode("ascii")
    if kind == UTC_TIME:
        text = ("20" if int(text[:2]) <= HIGHEST_2_DIGIT_YEAR else "19") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _name(der: bytes) -> str:
    """The name's parts, most particular last: 'O=Hospital, CN=node'."""
    parts = []
    for _, one in _values(der):
        for _, pair in _values(one):
            (_, identifier), (kind, value) = _values(pair)
            if identifier in NAMES and kind in TEXTS:
                parts.append(f"{NAMES[identifier]}={value.decode(TEXTS[kind])}")
    return ", ".join(parts) or "no name"
