"""DIMSE command sets as bytes: Implicit VR Little Endian, group 0000 only (PS3.7 Section 6.3, Annex E)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

C_STORE_RQ: Final = 0x0001
C_ECHO_RQ: Final = 0x0030
N_ACTION_RQ: Final = 0x0130
N_EVENT_REPORT_RQ: Final = 0x0100
RESPONSE: Final = 0x8000
"""A response's command field is the request's with this bit (PS3.7 Annex E)."""

DATA_SET: Final = 0x0000
NO_DATA_SET: Final = 0x0101
"""Command Data Set Type (0000,0800): this value and no other means that none follows."""

MEDIUM_PRIORITY: Final = 0x0000
SUCCESS: Final = 0x0000
PROCESSING_FAILURE: Final = 0x0110

GROUP_LENGTH: Final = 0x0000
AFFECTED_SOP_CLASS: Final = 0x0002
REQUESTED_SOP_CLASS: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
MESSAGE_ID_RESPONDED_TO: Final = 0x0120
PRIORITY: Final = 0x0700
DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
AFFECTED_SOP_INSTANCE: Final = 0x1000
REQUESTED_SOP_INSTANCE: Final = 0x1001
EVENT_TYPE_ID: Final = 0x1002
ACTION_TYPE_ID: Final = 0x1008


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A command set that a peer sent, as far as a sender needs it."""

    field: int
    message_id: int  # of the request: its own, or the one responded to
    status: int | None
    has_data: bool
    sop_class_uid: str
    sop_instance_uid: str
    event_type_id: int


def c_store_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Return a C-STORE-RQ (PS3.7 Table 9.3-1)."""
    return _command({
        AFFECTED_SOP_CLASS: sop_class_uid, COMMAND_FIELD: C_STORE_RQ, MESSAGE_ID: message_id,
        PRIORITY: MEDIUM_PRIORITY, DATA_SET_TYPE: DATA_SET, AFFECTED_SOP_INSTANCE: sop_instance_uid,
    })


def c_echo_rq(message_id: int, sop_class_uid: str) -> bytes:
    """Return a C-ECHO-RQ (PS3.7 Table 9.3-12)."""
    return _command({
        AFFECTED_SOP_CLASS: sop_class_uid, COMMAND_FIELD: C_ECHO_RQ, MESSAGE_ID: message_id,
        DATA_SET_TYPE: NO_DATA_SET,
    })


def n_action_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str, action_type_id: int) -> bytes:
    """Return an N-ACTION-RQ with a data set (PS3.7 Table 10.3-7)."""
    return _command({
        REQUESTED_SOP_CLASS: sop_class_uid, COMMAND_FIELD: N_ACTION_RQ, MESSAGE_ID: message_id,
        DATA_SET_TYPE: DATA_SET, REQUESTED_SOP_INSTANCE: sop_instance_uid, ACTION_TYPE_ID: action_type_id,
    })


def n_event_report_rq(message_id: int, sop_class_uid: str, sop_instance_uid: str, event_type_id: int) -> bytes:
    """Return an N-EVENT-REPORT-RQ with a data set (PS3.7 Table 10.3-1)."""
    return _command({
        AFFECTED_SOP_CLASS: sop_class_uid, COMMAND_FIELD: N_EVENT_REPORT_RQ, MESSAGE_ID: message_id,
        DATA_SET_TYPE: DATA_SET, AFFECTED_SOP_INSTANCE: sop_instance_uid, EVENT_TYPE_ID: event_type_id,
    })


def n_event_report_rsp(request: Command, status: int) -> bytes:
    """Return the N-EVENT-REPORT-RSP to a request (PS3.7 Table 10.3-2)."""
    return _command({
        AFFECTED_SOP_CLASS: request.sop_class_uid, COMMAND_FIELD: N_EVENT_REPORT_RQ | RESPONSE,
        MESSAGE_ID_RESPONDED_TO: request.message_id, DATA_SET_TYPE: NO_DATA_SET, STATUS: status,
        AFFECTED_SOP_INSTANCE: request.sop_instance_uid, EVENT_TYPE_ID: request.event_type_id,
    })


def parse(data: bytes) -> Command:
    """Read a command set.

    Raises
    ------
    ValueError
        If it is cut off, or lacks its Command Field or the ID of its message.
    """
    elements = _elements(data)
    field = _number(elements, COMMAND_FIELD)
    own = MESSAGE_ID_RESPONDED_TO if field & RESPONSE else MESSAGE_ID
    affected, requested = (AFFECTED_SOP_CLASS, AFFECTED_SOP_INSTANCE), (REQUESTED_SOP_CLASS, REQUESTED_SOP_INSTANCE)
    sop_class, sop_instance = affected if AFFECTED_SOP_CLASS in elements else requested
    return Command(
        field=field,
        message_id=_number(elements, own),
        status=_number(elements, STATUS) if STATUS in elements else None,
        has_data=_number(elements, DATA_SET_TYPE) != NO_DATA_SET if DATA_SET_TYPE in elements else False,
        sop_class_uid=_text(elements, sop_class),
        sop_instance_uid=_text(elements, sop_instance),
        event_type_id=_number(elements, EVENT_TYPE_ID) if EVENT_TYPE_ID in elements else 0,
    )


def _command(values: Mapping[int, int | str]) -> bytes:
    body = b"".join(_element(tag, value) for tag, value in sorted(values.items()))
    return struct.pack("<HHII", 0, GROUP_LENGTH, 4, len(body)) + body


def _element(tag: int, value: int | str) -> bytes:
    data = struct.pack("<H", value) if isinstance(value, int) else value.encode() + b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, tag, len(data)) + data


def _elements(data: bytes) -> dict[int, bytes]:
    elements: dict[int, bytes] = {}
    start = 0
    while start < len(data):
        if start + 8 > len(data):
            msg = "the command set is cut off"
            raise ValueError(msg)
        group, element, length = struct.unpack_from("<HHI", data, start)
        end = start + 8 + length
        if group != 0 or end > len(data):
            msg = f"the command set holds ({group:04X},{element:04X}) of {length} bytes, which is no command element"
            raise ValueError(msg)
        elements[element] = data[start + 8:end]
        start = end
    return elements


def _number(elements: Mapping[int, bytes], tag: int) -> int:
    if len(elements.get(tag, b"")) != 2:  # noqa: PLR2004 - VR US
        msg = f"the command set lacks (0000,{tag:04X})"
        raise ValueError(msg)
    return int.from_bytes(elements[tag], "little")


def _text(elements: Mapping[int, bytes], tag: int) -> str:
    return elements.get(tag, b"").rstrip(b"\0 ").decode("ascii", "replace")
