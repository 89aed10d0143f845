from __future__ import annotations

from io import BytesIO

import pytest
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP, N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import C_STORE, N_EVENT_REPORT
from pynetdicom.dsutils import decode, encode

from dicomnode.receive import command as dimse
from dicomnode.receive.command import BadCommand, Command, parse, response


def store_request() -> bytes:
    """A C-STORE command set as pynetdicom writes it."""
    primitive = C_STORE()
    primitive.MessageID = 7
    primitive.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    primitive.AffectedSOPInstanceUID = "1.2.3.4"
    primitive.Priority = 2
    primitive.MoveOriginatorApplicationEntityTitle = "MOVER"
    primitive.MoveOriginatorMessageID = 3
    primitive.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    encoded = encode(message.command_set, is_implicit_vr=True, is_little_endian=True)
    assert encoded is not None
    return encoded


def test_a_request_of_another_implementation_is_read():
    assert parse(store_request()) == Command(
        field=dimse.C_STORE, message_id=7, has_data=True, sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
        sop_instance_uid="1.2.3.4", event_type=0)


def test_the_response_is_what_another_implementation_reads():
    answer = decode(BytesIO(response(parse(store_request()), 0xA900, comment="UIDs differ")), is_implicit_vr=True,
                    is_little_endian=True)
    assert answer.CommandField == 0x8001
    assert answer.MessageIDBeingRespondedTo == 7
    assert answer.CommandDataSetType == 0x0101
    assert answer.Status == 0xA900
    assert answer.ErrorComment == "UIDs differ"
    assert answer.AffectedSOPClassUID == "1.2.840.10008.5.1.4.1.1.2"
    assert answer.AffectedSOPInstanceUID == "1.2.3.4"


def test_success_is_byte_for_byte_what_pynetdicom_would_say():
    primitive = C_STORE()
    primitive.MessageIDBeingRespondedTo = 7
    primitive.AffectedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    primitive.AffectedSOPInstanceUID = "1.2.3.4"
    primitive.Status = 0x0000
    message = C_STORE_RSP()
    message.primitive_to_message(primitive)
    expected = encode(message.command_set, is_implicit_vr=True, is_little_endian=True)
    assert response(parse(store_request()), 0x0000) == expected


def test_an_event_report_response_names_the_event_type():
    request = Command(field=dimse.N_EVENT_REPORT, message_id=2, has_data=True, event_type=1,
                      sop_class_uid="1.2.840.10008.1.20.1", sop_instance_uid="1.2.840.10008.1.20.1.1")
    primitive = N_EVENT_REPORT()
    primitive.MessageIDBeingRespondedTo = 2
    primitive.AffectedSOPClassUID = request.sop_class_uid
    primitive.AffectedSOPInstanceUID = request.sop_instance_uid
    primitive.EventTypeID = 1
    primitive.Status = 0x0000
    message = N_EVENT_REPORT_RSP()
    message.primitive_to_message(primitive)
    ours = decode(BytesIO(response(request, 0)), is_implicit_vr=True, is_little_endian=True)
    assert ours.to_json_dict().items() >= {
        tag: value for tag, value in message.command_set.to_json_dict().items() if tag != "00000000"}.items()


def test_a_long_comment_is_cut_to_what_the_vr_allows():
    answer = decode(BytesIO(response(parse(store_request()), 0xC000, comment="é" * 100)), is_implicit_vr=True,
                    is_little_endian=True)
    assert answer.ErrorComment == "?" * 64


@pytest.mark.parametrize(("data", "why"), [
    (b"", "no Command Field"),
    (b"\x00\x00\x00\x01\x02\x00\x00\x00", "does not fit"),
    (b"\x08\x00\x00\x01\x02\x00\x00\x00\x01\x00", "does not fit"),
    (store_request() + b"\0\0\0", "3 bytes after"),
])
def test_bytes_that_are_no_command_set_are_refused(data: bytes, why: str):
    with pytest.raises(BadCommand, match=why):
        parse(data)
