"""Protocol data units of the upper layer as bytes (PS3.8 Section 9.3), seen from the side that asks.

Pure functions: no socket, no state. What a peer sends wrongly is a ``ValueError`` here;
``association`` gives it its verdict.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

ASSOCIATE_RQ: Final = 0x01
ASSOCIATE_AC: Final = 0x02
ASSOCIATE_RJ: Final = 0x03
P_DATA: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
OUR_MAX_PDU_BYTES: Final = 16384
"""What we ask the peer to keep to: it only sends responses."""
LARGEST_SENT_PDU_BYTES: Final = 131072
"""What we send at most, where the peer allows more or any."""
SMALLEST_PEER_PDU_BYTES: Final = 128
"""A peer that allows less than this cannot be meant seriously."""
MOST_CONTEXTS: Final = 128
"""Presentation context IDs are the odd numbers 1 to 255 (PS3.8 Table 9-13)."""

RELEASE_RQ_PDU: Final = bytes((RELEASE_RQ, 0, 0, 0, 0, 4, 0, 0, 0, 0))
RELEASE_RP_PDU: Final = bytes((RELEASE_RP, 0, 0, 0, 0, 4, 0, 0, 0, 0))
ABORT_PDU: Final = bytes((ABORT, 0, 0, 0, 0, 4, 0, 0, 0, 0))

Proposal = tuple[str, str]
"""Abstract syntax (SOP Class UID) and one transfer syntax: each pair is a context of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """What an A-ASSOCIATE-AC grants: the accepted context IDs, and the largest PDU to send (0: any)."""

    accepted_ids: frozenset[int]
    max_pdu_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Fragment:
    """One presentation data value (PS3.8 Section 9.3.5.1)."""

    context_id: int
    is_command: bool
    is_last: bool
    data: bytes


def context_ids(proposals: Sequence[Proposal]) -> Mapping[Proposal, int]:
    """Return the context ID of each proposal: odd numbers in order (PS3.8 Table 9-13)."""
    return {proposal: 2 * place + 1 for place, proposal in enumerate(proposals)}


def associate_rq(*, calling: str, called: str, proposals: Sequence[Proposal], scp_of: Sequence[str] = ()) -> bytes:
    """Return an A-ASSOCIATE-RQ (PS3.8 Table 9-11) that proposes each pair in a context of its own.

    Parameters
    ----------
    scp_of:
        SOP classes of which we propose ourselves as the SCP, though we ask (PS3.7 D.3.3.4).
    """
    contexts = b"".join(
        _item(0x20, bytes((number, 0, 0, 0)) + _item(0x30, abstract.encode()) + _item(0x40, transfer.encode()))
        for (abstract, transfer), number in context_ids(proposals).items()
    )
    roles = b"".join(_item(0x54, struct.pack(">H", len(uid)) + uid.encode() + b"\0\1") for uid in scp_of)
    user = (_item(0x51, struct.pack(">I", OUR_MAX_PDU_BYTES)) + _item(0x52, IMPLEMENTATION_CLASS_UID.encode())
            + roles + _item(0x55, IMPLEMENTATION_VERSION_NAME.encode()))
    titles = called.ljust(16).encode() + calling.ljust(16).encode()
    body = (struct.pack(">HH", 1, 0) + titles + bytes(32) + _item(0x10, APPLICATION_CONTEXT.encode())
            + contexts + _item(0x50, user))
    return struct.pack(">BBI", ASSOCIATE_RQ, 0, len(body)) + body


def parse_associate_ac(body: bytes) -> Acceptance:
    """Read an A-ASSOCIATE-AC (PS3.8 Table 9-17), its six-byte head left out.

    Raises
    ------
    ValueError
        If items run past the end, or the largest PDU is absurdly small.
    """
    accepted: set[int] = set()
    max_pdu_bytes = 0
    for kind, value in _items(body, 68):
        if kind == 0x21 and len(value) >= 4 and value[2] == 0:  # noqa: PLR2004 - PS3.8 Table 9-18
            accepted.add(value[0])
        elif kind == 0x50:  # noqa: PLR2004 - user information, PS3.8 Table 9-16
            lengths = [struct.unpack(">I", part)[0] for sub, part in _items(value, 0) if sub == 0x51 and len(part) == 4]  # noqa: PLR2004
            max_pdu_bytes = lengths[0] if lengths else 0
    if 0 < max_pdu_bytes < SMALLEST_PEER_PDU_BYTES:
        msg = f"Maximum Length Received = {max_pdu_bytes}: allowed are 0 and {SMALLEST_PEER_PDU_BYTES} or more"
        raise ValueError(msg)
    return Acceptance(accepted_ids=frozenset(accepted), max_pdu_bytes=max_pdu_bytes)


def p_data_pdus(context_id: int, parts: Iterable[bytes], *, is_command: bool, fragment_bytes: int) -> Iterator[bytes]:
    """Yield P-DATA-TF PDUs of one fragment each (PS3.8 Section 9.3.5); the last is marked as such.

    Parameters
    ----------
    parts:
        The message's bytes in pieces of any size.
    fragment_bytes:
        The most bytes of one fragment: the peer's largest PDU less six.
    """
    kind = 1 if is_command else 0
    waiting: bytes | None = None
    for part in parts:
        for start in range(0, len(part), fragment_bytes):
            if waiting is not None:
                yield _p_data(context_id, kind, waiting)
            waiting = part[start:start + fragment_bytes]
    yield _p_data(context_id, kind | 2, waiting or b"")


def parse_p_data(body: bytes) -> Iterator[Fragment]:
    """Yield the fragments of a P-DATA-TF (PS3.8 Table 9-22), its six-byte head left out.

    Raises
    ------
    ValueError
        If a length runs past the end.
    """
    start = 0
    while start < len(body):
        if start + 6 > len(body):
            msg = "a presentation data value is cut off"
            raise ValueError(msg)
        length, context_id, control = struct.unpack_from(">IBB", body, start)
        end = start + 4 + length
        if length < 2 or end > len(body):  # noqa: PLR2004 - context ID and control are part of the length
            msg = f"a presentation data value of {length} bytes does not fit its PDU"
            raise ValueError(msg)
        yield Fragment(context_id=context_id, is_command=bool(control & 1), is_last=bool(control & 2),
                       data=body[start + 6:end])
        start = end


def _p_data(context_id: int, control: int, data: bytes) -> bytes:
    return struct.pack(">BBIIBB", P_DATA, 0, len(data) + 6, len(data) + 2, context_id, control) + data


def _item(kind: int, value: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(value)) + value


def _items(data: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    while start < len(data):
        if start + 4 > len(data):
            msg = "an item of the A-ASSOCIATE-AC is cut off"
            raise ValueError(msg)
        kind, _, length = struct.unpack_from(">BBH", data, start)
        end = start + 4 + length
        if end > len(data):
            msg = f"item 0x{kind:02X} of the A-ASSOCIATE-AC says {length} bytes, {len(data) - start - 4} are there"
            raise ValueError(msg)
        yield kind, data[start + 4:end]
        start = end
