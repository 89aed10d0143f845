"""Command sets against an independent codec: pynetdicom's."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.dimse_messages import C_ECHO_RQ, C_STORE_RQ, N_ACTION_RQ
from pynetdicom.dsutils import decode, encode

from dicomnode.deliver import dimse


def read(data: bytes):
    return decode(BytesIO(data), is_implicit_vr=True, is_little_endian=True)


def test_another_codec_reads_our_c_store():
    command = read(dimse.c_store_rq(7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3"))
    assert (command.CommandField, command.MessageID, command.Priority) == (1, 7, 0)
    assert (command.AffectedSOPClassUID, command.AffectedSOPInstanceUID) == ("1.2.840.10008.5.1.4.1.1.2", "1.2.3")
    assert command.CommandDataSetType != dimse.NO_DATA_SET
    assert command.CommandGroupLength == len(dimse.c_store_rq(7, "1.2.840.10008.5.1.4.1.1.2", "1.2.3")) - 12


def test_another_codec_reads_our_c_echo():
    command = read(dimse.c_echo_rq(65535, "1.2.840.10008.1.1"))
    assert (command.CommandField, command.MessageID, command.CommandDataSetType) == (0x30, 65535, 0x0101)


def test_another_codec_reads_our_n_action():
    command = read(dimse.n_action_rq(2, "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1", 1))
    assert (command.CommandField, command.ActionTypeID) == (0x0130, 1)
    assert command.RequestedSOPClassUID == "1.2.840.10008.1.20.1"
    assert command.RequestedSOPInstanceUID == "1.2.840.10008.1.20.1.1"


@pytest.mark.parametrize("message", [C_STORE_RQ, C_ECHO_RQ, N_ACTION_RQ])
def test_our_commands_have_the_elements_that_another_codec_demands(message):
    ours = {
        C_STORE_RQ: dimse.c_store_rq(1, "1.2", "1.2.3"),
        C_ECHO_RQ: dimse.c_echo_rq(1, "1.2"),
        N_ACTION_RQ: dimse.n_action_rq(1, "1.2", "1.2.3", 1),
    }[message]
    optional = {"MoveOriginatorApplicationEntityTitle", "MoveOriginatorMessageID"}
    demanded = {element.keyword for element in message().command_set} - optional
    assert {element.keyword for element in read(ours)} == demanded


def test_we_read_another_codecs_response():
    response = read(dimse.c_echo_rq(9, "1.2.840.10008.1.1"))
    del response.MessageID
    response.CommandField, response.MessageIDBeingRespondedTo, response.Status = 0x8030, 9, 0xB007
    response.ErrorComment = "a comment"
    command = dimse.parse(encode(response, is_implicit_vr=True, is_little_endian=True))
    assert (command.field, command.message_id, command.status, command.has_data) == (0x8030, 9, 0xB007, False)


def test_a_report_is_answered_with_its_own_identity():
    report = read(dimse.c_echo_rq(3, "1.2.840.10008.1.20.1"))
    report.CommandField, report.EventTypeID, report.AffectedSOPInstanceUID = 0x0100, 2, "1.2.840.10008.1.20.1.1"
    request = dimse.parse(encode(report, is_implicit_vr=True, is_little_endian=True))
    answer = read(dimse.n_event_report_rsp(request, dimse.PROCESSING_FAILURE))
    assert (answer.CommandField, answer.MessageIDBeingRespondedTo, answer.Status) == (0x8100, 3, 0x0110)
    assert (answer.EventTypeID, answer.AffectedSOPInstanceUID) == (2, "1.2.840.10008.1.20.1.1")


@given(st.binary(max_size=80))
def test_any_bytes_are_read_or_refused(data):
    with suppress(ValueError):
        assert dimse.parse(data).field <= 0xFFFF
