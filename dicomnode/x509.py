"""What a person wants to know of a certificate: whose it is, until when, and what it may be used for (RFC 5280 4.1).

Notes
-----
Only this much is read here: whether a certificate is to be trusted is OpenSSL's to judge. Python's standard library
decodes the certificates of connections, not those of files.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

VERSION: Final = 0xA0
EXTENSIONS: Final = 0xA3
EXTENDED_KEY_USAGE: Final = b"\x55\x1d\x25"
PURPOSES: Final = {b"\x2b\x06\x01\x05\x05\x07\x03\x01": "server", b"\x2b\x06\x01\x05\x05\x07\x03\x02": "client"}
"""serverAuth and clientAuth (RFC 5280 4.2.1.12)."""
ANY_PURPOSE: Final = b"\x55\x1d\x25\x00"
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
    """A certificate in words; times are aware, UTC; ``purposes`` are those of a side of TLS that it may have."""

    subject: str
    not_before: datetime
    not_after: datetime
    purposes: frozenset[str] = frozenset(PURPOSES.values())


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
        return Certificate(subject=_name(subject), not_before=before, not_after=after, purposes=_purposes(fields))
    except (IndexError, StopIteration, ValueError) as error:
        msg = "holds a certificate that cannot be read"
        raise ValueError(msg) from error


def _purposes(fields: Sequence[tuple[int, bytes]]) -> frozenset[str]:
    """Server, client or both: without the extension, or with its word for any, both."""
    for wrapped in (value for kind, value in fields if kind == EXTENSIONS):
        for _, extension in _values(next(_values(wrapped))[1]):
            (_, name), *_, (_, content) = _values(extension)
            if name == EXTENDED_KEY_USAGE:
                named = {value for _, value in _values(next(_values(content))[1])}
                return frozenset(word for value, word in PURPOSES.items() if named & {value, ANY_PURPOSE})
    return frozenset(PURPOSES.values())


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
