from __future__ import annotations

import pytest
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicomnode.domain.node import Peer
from dicomnode.errors import CannotUnderstand, Mismatch, NotOurSopClass, SpoolFull, SpoolUnavailable
from dicomnode.receive.admit import RefusedAssociation, admit_association, admit_command, admit_instance, status_of
from dicomnode.receive.caller import Caller
from dicomnode.receive.command import C_STORE, Command
from dicomnode.receive.negotiate import APPLICATION_CONTEXT, Context, Request
from dicomnode.receive.walk import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Walk

CT = "1.2.840.10008.5.1.4.1.1.2"
PEERS = {"ct": Peer(name="ct", ae_title="SCANNER", addresses=("10.1.0.0/16", "fd00::/8")),
         "pacs": Peer(name="pacs", ae_title="PACS")}


def request(**changes: object) -> Request:
    values: dict[str, object] = {
        "calling": "SCANNER", "called": "DICOMNODE", "application_context": APPLICATION_CONTEXT,
        "protocol_version": 1, "max_pdu_bytes": 0, "primitive": A_ASSOCIATE()}
    return Request(**{**values, **changes})


def admitted(address: str = "10.1.2.3", unknown_peers: str = "refuse", **changes: object) -> Peer | None:
    return admit_association(request(**changes), Caller(address), ae_title="DICOMNODE", peers=PEERS,
                             unknown_peers=unknown_peers)


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "fd00::1"])
def test_a_known_peer_at_its_own_address_is_admitted(address: str):
    assert admitted(address) == PEERS["ct"]


def test_a_peer_without_addresses_may_call_from_anywhere():
    assert admitted("192.0.2.1", calling="PACS") == PEERS["pacs"]


@pytest.mark.parametrize(("changes", "answer"), [
    ({"calling": "STRANGER"}, (1, 1, 3)),
    ({"address": "10.2.0.1"}, (1, 1, 3)),
    ({"called": "OTHER"}, (1, 1, 7)),
    ({"application_context": "1.2.3"}, (1, 1, 2)),
    ({"protocol_version": 2}, (1, 2, 2)),
    ({"called": "OTHER", "unknown_peers": "accept"}, (1, 1, 7)),
])
def test_an_association_is_refused_with_the_reason_of_table_9_21(changes: dict[str, str], answer: tuple[int, int, int]):
    with pytest.raises(RefusedAssociation) as refused:
        admitted(**changes)
    assert refused.value.answer == answer


def test_a_refusal_of_several_peers_of_one_title_says_why_each_was_not_meant():
    peers = {"a": Peer(name="a", ae_title="SCANNER", tls_only=True),
             "b": Peer(name="b", ae_title="SCANNER", addresses=("10.2.0.0/16",))}
    with pytest.raises(RefusedAssociation) as refused:
        admit_association(request(), Caller("10.1.0.5"), ae_title="DICOMNODE", peers=peers, unknown_peers="accept")
    assert str(refused.value) == ("'SCANNER' calls from 10.1.0.5, which [peers.b] addresses does not hold; "
                                  "calls over plain TCP, which [peers.a] tls_only forbids")


def test_an_unknown_peer_is_admitted_as_nobody_where_the_configuration_accepts_it():
    assert admitted(calling="STRANGER", unknown_peers="accept") is None


def command(**changes: object) -> Command:
    values: dict[str, object] = {"field": C_STORE, "message_id": 1, "has_data": True, "sop_class_uid": CT,
                                 "sop_instance_uid": "1.2.3", "event_type": 0}
    return Command(**{**values, **changes})


@pytest.mark.parametrize(("changes", "error"), [
    ({"sop_class_uid": "1.2.840.10008.5.1.4.1.1.4"}, NotOurSopClass),
    ({"sop_instance_uid": "../../etc"}, CannotUnderstand),
    ({"sop_instance_uid": ""}, CannotUnderstand),
    ({"has_data": False}, CannotUnderstand),
])
def test_a_store_request_that_its_context_does_not_cover_is_refused(changes: dict[str, object], error: type):
    with pytest.raises(error):
        admit_command(command(**changes), Context(abstract_syntax=CT, transfer_syntax="1.2.840.10008.1.2"),
                      sop_classes=(CT,))


def walk(**changes: str) -> Walk:
    made = Walk(implicit=False)
    uids = {"sop_class": CT, "sop_instance": "1.2.3", "study": "1.2.4", "series": "1.2.5", **changes}
    tags = {"sop_class": SOP_CLASS_UID, "sop_instance": SOP_INSTANCE_UID, "study": STUDY_INSTANCE_UID,
            "series": SERIES_INSTANCE_UID}
    made.uids.update({tags[name]: value for name, value in uids.items()})
    return made


@pytest.mark.parametrize(("changes", "error", "status"), [
    ({"sop_class": "1.2.840.10008.5.1.4.1.1.4"}, Mismatch, 0xA900),
    ({"sop_instance": "1.2.9"}, Mismatch, 0xA900),
    ({"study": ""}, CannotUnderstand, 0xC000),
    ({"series": "1.02.3"}, CannotUnderstand, 0xC000),
    ({"study": "1.2/../3"}, CannotUnderstand, 0xC000),
])
def test_a_data_set_that_is_not_what_was_announced_is_refused(changes: dict[str, str], error: type, status: int):
    with pytest.raises(error) as refused:
        admit_instance(command(), walk(**changes))
    assert status_of(refused.value) == status


def test_a_data_set_that_is_what_was_announced_is_admitted():
    assert admit_instance(command(), walk()) is None


@pytest.mark.parametrize("error", [SpoolFull("full"), SpoolUnavailable("gone")])
def test_a_spool_that_takes_nothing_is_out_of_resources(error: SpoolFull | SpoolUnavailable):
    assert status_of(error) == 0xA700
