"""Protocol data units against an independent codec: pynetdicom's."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ, P_DATA_TF
from pynetdicom.pdu_primitives import A_ASSOCIATE, MaximumLengthNotification
from pynetdicom.presentation import build_context

from dicomnode.deliver import pdu
from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

CT = "1.2.840.10008.5.1.4.1.1.2"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def accepting(results: dict[int, int], max_pdu_bytes: int) -> bytes:
    accept = A_ASSOCIATE()
    accept.application_context_name = pdu.APPLICATION_CONTEXT
    accept.calling_ae_title, accept.called_ae_title = "NODE", "PACS"
    contexts = []
    for number, result in results.items():
        context = build_context(CT, EXPLICIT)
        context.context_id, context.result = number, result
        contexts.append(context)
    accept.presentation_context_definition_results_list = contexts
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    accept.user_information = [length]
    encoded = A_ASSOCIATE_AC()
    encoded.from_primitive(accept)
    return bytes(encoded.encode())


def test_another_codec_reads_our_request_as_we_meant_it():
    proposals = [(CT, EXPLICIT), (CT, IMPLICIT), (SEG, EXPLICIT)]
    request = A_ASSOCIATE_RQ()
    request.decode(pdu.associate_rq(calling="NODE", called="PACS", proposals=proposals))
    primitive = request.to_primitive()
    assert (primitive.calling_ae_title, primitive.called_ae_title) == ("NODE", "PACS")
    assert primitive.application_context_name == pdu.APPLICATION_CONTEXT
    contexts = primitive.presentation_context_definition_list
    assert [(c.context_id, c.abstract_syntax, c.transfer_syntax) for c in contexts] == \
        [(1, CT, [EXPLICIT]), (3, CT, [IMPLICIT]), (5, SEG, [EXPLICIT])]
    assert primitive.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert IMPLEMENTATION_VERSION_NAME in [getattr(item, "implementation_version_name", None)
                                           for item in primitive.user_information]
    assert primitive.maximum_length_received == pdu.OUR_MAX_PDU_BYTES


def test_we_read_another_codecs_acceptance_as_it_meant_it():
    acceptance = pdu.parse_associate_ac(accepting({1: 0, 3: 4, 5: 3, 7: 0}, 32768)[6:])
    assert acceptance.accepted_ids == {1, 7}
    assert acceptance.max_pdu_bytes == 32768


def test_a_largest_pdu_that_is_absurdly_small_is_refused():
    with pytest.raises(ValueError, match="Maximum Length Received = 7"):
        pdu.parse_associate_ac(accepting({1: 0}, 7)[6:])


@pytest.mark.parametrize("cut", range(70, 160, 7))
def test_a_cut_acceptance_is_refused_or_read_as_far_as_it_goes(cut):
    body = accepting({1: 0, 3: 0}, 16384)[6:cut]
    with suppress(ValueError):
        assert pdu.parse_associate_ac(body).accepted_ids <= {1, 3}


@given(parts=st.lists(st.binary(max_size=50), max_size=6), fragment_bytes=st.integers(1, 40),
       context=st.integers(1, 255), is_command=st.booleans())
def test_a_message_survives_any_cutting(parts, fragment_bytes, context, is_command):
    pdus = list(pdu.p_data_pdus(context, parts, is_command=is_command, fragment_bytes=fragment_bytes))
    fragments = [fragment for one in pdus for fragment in pdu.parse_p_data(one[6:])]
    assert b"".join(fragment.data for fragment in fragments) == b"".join(parts)
    assert [fragment.is_last for fragment in fragments] == [False] * (len(fragments) - 1) + [True]
    assert {(f.context_id, f.is_command) for f in fragments} == {(context, is_command)}
    assert all(len(one) <= fragment_bytes + 12 for one in pdus)
    assert all(struct.unpack(">BxI", one[:6]) == (pdu.P_DATA, len(one) - 6) for one in pdus)


def test_another_codec_reads_our_data():
    one = next(iter(pdu.p_data_pdus(5, [b"abc"], is_command=False, fragment_bytes=100)))
    decoded = P_DATA_TF()
    decoded.decode(one)
    assert decoded.to_primitive().presentation_data_value_list == [(5, b"\x02abc")]


@given(st.binary(max_size=60))
def test_any_bytes_in_p_data_are_read_or_refused(body):
    with suppress(ValueError):
        assert sum(len(fragment.data) + 6 for fragment in pdu.parse_p_data(body)) == len(body)


def test_more_than_128_contexts_cannot_be_numbered():
    with pytest.raises(ValueError, match="range"):
        pdu.associate_rq(calling="A", called="B", proposals=[(f"1.2.{n}", EXPLICIT) for n in range(129)])
