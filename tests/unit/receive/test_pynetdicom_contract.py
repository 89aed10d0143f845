"""What negotiation takes from pynetdicom; a release that changes one of these fails here, not in a hospital."""

from __future__ import annotations

import logging
import struct

import pynetdicom
import pytest
from pynetdicom import build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    MaximumLengthNotification,
    UserIdentityNegotiation,
)
from pynetdicom.presentation import build_context

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.receive.negotiate import (
    STORAGE_COMMITMENT_PUSH_MODEL,
    VERIFICATION,
    accept,
    offered_contexts,
    read_request,
)

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT, IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"


def associate_rq(*contexts: tuple[int, str, list[str]], items: list[object] | None = None) -> bytes:
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "SCANNER", "DICOMNODE"
    proposed = []
    for context_id, abstract, syntaxes in contexts:
        context = build_context(abstract, syntaxes)
        context.context_id = context_id
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    length = MaximumLengthNotification()
    length.maximum_length_received = 16382
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, class_uid, *(items or [])]
    return A_ASSOCIATE_RQ(primitive).encode()


def answered(pdu: bytes) -> tuple[A_ASSOCIATE_AC, dict[int, object]]:
    answer, contexts = accept(read_request(pdu), offered_contexts((CT,), (EXPLICIT, IMPLICIT)), max_pdu_bytes=131072)
    decoded = A_ASSOCIATE_AC()
    decoded.decode(answer)
    return decoded, dict(contexts)


def test_the_release_is_one_that_this_contract_was_read_against():
    assert pynetdicom.__version__.startswith("3.0.")


def test_a_request_gives_titles_version_context_and_maximum_length():
    request = read_request(associate_rq((1, VERIFICATION, [IMPLICIT])))
    assert (request.calling, request.called) == ("SCANNER", "DICOMNODE")
    assert request.application_context == "1.2.840.10008.3.1.1.1"
    assert request.protocol_version == 1
    assert request.max_pdu_bytes == 16382


def test_each_context_gets_its_result_of_table_9_18():
    decoded, contexts = answered(associate_rq(
        (1, CT, [IMPLICIT, EXPLICIT]), (3, CT, [BIG_ENDIAN]), (5, MR, [EXPLICIT]), (7, VERIFICATION, [IMPLICIT])))
    results = {item.presentation_context_id: item.result_reason for item in decoded.presentation_context}
    assert results == {1: 0, 3: 4, 5: 3, 7: 0}
    assert {key: (c.abstract_syntax, c.transfer_syntax) for key, c in contexts.items()} == {
        1: (CT, EXPLICIT), 7: (VERIFICATION, IMPLICIT)}


def test_our_answer_says_who_we_are_and_how_long_a_pdu_may_be():
    decoded, _ = answered(associate_rq((1, VERIFICATION, [IMPLICIT])))
    user = decoded.user_information
    assert user is not None
    assert user.maximum_length == 131072
    assert user.implementation_class_uid == IMPLEMENTATION_CLASS_UID
    assert user.implementation_version_name == IMPLEMENTATION_VERSION_NAME


def test_a_peer_that_reports_commitment_gets_the_scp_role_it_asks_for():
    role = build_role(STORAGE_COMMITMENT_PUSH_MODEL, scu_role=False, scp_role=True)
    decoded, contexts = answered(associate_rq((1, STORAGE_COMMITMENT_PUSH_MODEL, [IMPLICIT]), items=[role]))
    user = decoded.user_information
    assert user is not None
    (item,) = user.role_selection.values()
    assert (item.scu_role, item.scp_role) == (0, 1)
    assert set(contexts) == {1}


def test_user_identity_is_read_over_without_an_answer():
    identity = UserIdentityNegotiation()
    identity.user_identity_type = 1
    identity.primary_field = b"somebody"
    _, contexts = answered(associate_rq((1, VERIFICATION, [IMPLICIT]), items=[identity]))
    assert set(contexts) == {1}


@pytest.mark.parametrize("cut", [10, 74, 80, 120])
def test_malformed_requests_raise_something_and_do_not_hang(cut: int):
    pdu = associate_rq((1, VERIFICATION, [IMPLICIT]))[:cut]
    with pytest.raises((ValueError, IndexError, struct.error, KeyError, TypeError, AttributeError, AssertionError)):
        read_request(pdu[:2] + struct.pack(">I", cut - 6) + pdu[6:] + b"\xff\xff\xff\xff")


def test_no_patient_or_peer_data_is_logged_by_the_codec(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        answered(associate_rq((1, CT, [EXPLICIT])))
    assert caplog.records == []
