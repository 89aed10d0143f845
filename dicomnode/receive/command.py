"""DIMSE command sets: Implicit VR Little Endian, group 0000 only (PS3.7 Section 6.3.1 and Annex E)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Final

C_STORE: Final = 0x0001
C_ECHO: Final = 0x0030
N_EVENT_REPORT: Final = 0x0100
N_ACTION: Final = 0x0130
C_CANCEL: Final = 0x0FFF
RESPONSE: Final = 0x8000
NO_DATA_SET: Final = 0x0101
MOST_COMMENT_CHARS: Final = 64

GROUP_LENGTH: Final = 0x0000
AFFECTED_CLASS: Final = 0x0002
REQUESTED_CLASS: Final = 0x0003
COMMAND_FIELD: Final = 0x0100
MESSAGE_ID: Final = 0x0110
RESPONDED_ID: Final = 0x0120
DATA_SET_TYPE: Final = 0x0800
STATUS: Final = 0x0900
ERROR_COMMENT: Final = 0x0902
AFFECTED_INSTANCE: Final = 0x1000
REQUESTED_INSTANCE: Final = 0x1001
EVENT_TYPE: Final = 0x1002
ACTION_TYPE: Final = 0x1008

_HEADER: Final = Struct("<HHI")
_US: Final = Struct("<H")
_US_ELEMENT: Final = Struct("<HHIH")
_LENGTH_ELEMENT: Final = Struct("<HHII")


class BadCommand(Exception):
    """The bytes are no command set: the association cannot go on."""


@dataclass(slots=True)
class Command:
    """One request. Not frozen: it is made once per image, and a frozen one costs twice the time."""

    field: int
    message_id: int
    has_data: bool
    sop_class_uid: str
    sop_instance_uid: str
    event_type: int
    action_type: int = 0


def parse(data: bytes) -> Command:
    """The request that ``data`` states.

    Raises
    ------
    BadCommand
        Lengths that do not add up, a group other than 0000, or no command field.
    """
    values = dict(_elements(data))
    field = values.get(COMMAND_FIELD, b"")
    if len(field) != _US.size:
        raise BadCommand("no Command Field (0000,0100)")
    return Command(
        field=_US.unpack(field)[0],
        message_id=_number(values, MESSAGE_ID, 0),
        has_data=_number(values, DATA_SET_TYPE, NO_DATA_SET) != NO_DATA_SET,
        sop_class_uid=_uid(values, AFFECTED_CLASS) or _uid(values, REQUESTED_CLASS),
        sop_instance_uid=_uid(values, AFFECTED_INSTANCE) or _uid(values, REQUESTED_INSTANCE),
        event_type=_number(values, EVENT_TYPE, 0),
        action_type=_number(values, ACTION_TYPE, 0),
    )


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    position, end = 0, len(data)
    while position + _HEADER.size <= end:
        group, element, length = _HEADER.unpack_from(data, position)
        position += _HEADER.size
        if group or position + length > end:
            raise BadCommand(f"element ({group:04X},{element:04X}) of {length} bytes does not fit a command set")
        yield element, data[position:position + length]
        position += length
    if position != end:
        raise BadCommand(f"{end - position} bytes after the last element")


def _number(values: dict[int, bytes], element: int, absent: int) -> int:
    value = values.get(element, b"")
    return int(_US.unpack(value)[0]) if len(value) == _US.size else absent


def _uid(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").rstrip(b"\0 ").decode("ascii", "replace")


def response(request: Command, status: int, *, comment: str = "") -> bytes:
    """The command set that answers ``request`` with ``status`` (PS3.7 Section 9.3 and 10.3)."""
    body = b"".join((
        _text(AFFECTED_CLASS, request.sop_class_uid, b"\0"),
        _short(COMMAND_FIELD, request.field | RESPONSE),
        _short(RESPONDED_ID, request.message_id),
        _short(DATA_SET_TYPE, NO_DATA_SET),
        _short(STATUS, status),
        _text(ERROR_COMMENT, comment[:MOST_COMMENT_CHARS], b" "),
        _text(AFFECTED_INSTANCE, request.sop_instance_uid, b"\0"),
        _short(EVENT_TYPE, request.event_type) if request.field == N_EVENT_REPORT else b"",
        _short(ACTION_TYPE, request.action_type) if request.field == N_ACTION else b"",
    ))
    return _LENGTH_ELEMENT.pack(0, GROUP_LENGTH, 4, len(body)) + body


def _short(element: int, value: int) -> bytes:
    return _US_ELEMENT.pack(0, element, 2, value)


def _text(element: int, text: str, pad: bytes) -> bytes:
    if not text:
        return b""
    value = text.encode("ascii", "replace")
    value += pad * (len(value) % 2)
    return _HEADER.pack(0, element, len(value)) + value
