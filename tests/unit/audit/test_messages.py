"""Every message that the node can write is valid by the schema of PS3.15 A.5.1.1 and by the table of its clause."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from lxml import etree

from dicomnode.audit import Application, Node, events
from dicomnode.domain.audit import AuditedStudy

SCHEMA = etree.RelaxNG(etree.parse(Path(__file__).with_name("audit-message.rng")))
AT = datetime(2026, 3, 14, 9, 30, 47, 250000, UTC)
US = Application(ae_title="DICOMNODE", host="node1.hospital.example", pid=4711)
PEER = Node(ae_title="SCANNER", address="10.1.2.3")
UNNAMED = Node(ae_title="", address="fe80::1%eth0")
CT = "1.2.840.10008.5.1.4.1.1.2"
STUDY = AuditedStudy(
    study_uid="1.2.3.4", patient_id="0815", issuer="HOSPITAL", patient_name="Müller^Jörg=王^小明",
    accession_number="A-17", instances={CT: 320, "1.2.840.10008.5.1.4.1.1.4": 2})
NASTY = AuditedStudy(
    study_uid="1.2.3.4", patient_id='<&">]]>\x00\x1b(B', patient_name="two\nlines\x85\ud800 <script>", instances={})

MESSAGES = {
    "started": events.started(US, at=AT, role="serve"),
    "stopped": events.stopped(US, at=AT, role="serve"),
    "refused": events.refused(US, PEER, at=AT, reason="calling AE title 'SCANNER' is no peer of the configuration"),
    "refused before it said who": events.refused(US, UNNAMED, at=AT, reason="port scan"),
    "received": events.received(US, PEER, STUDY, at=AT, action="C"),
    "sending": events.sending(US, Node(ae_title="PACS", address="pacs.hospital.example"), STUDY, at=AT),
    "sent": events.sent(US, PEER, STUDY, at=AT),
    "not sent": events.sent(US, PEER, STUDY, at=AT, because="10.1.2.3:104 refuses the connection"),
    "accessed": events.accessed(US, STUDY, at=AT),
    "deleted": events.deleted(US, STUDY, at=AT, because="finished 14 days ago"),
    "of a patient without identity": events.received(US, PEER, AuditedStudy(study_uid="1.2"), at=AT, action="R"),
    "of hostile text": events.received(US, PEER, NASTY, at=AT, action="U"),
}
EXPECTED = {
    "started": ("110100", "E", "0", "110120"), "stopped": ("110100", "E", "0", "110121"),
    "refused": ("110113", "E", "8", "110126"), "refused before it said who": ("110113", "E", "8", "110126"),
    "received": ("110104", "C", "0", None), "sending": ("110102", "E", "0", None), "sent": ("110104", "R", "0", None),
    "not sent": ("110104", "R", "4", None), "accessed": ("110103", "R", "0", None),
    "deleted": ("110105", "D", "0", None),
}
every_message = pytest.mark.parametrize("name", MESSAGES)


def parsed(name: str) -> etree._Element:
    return etree.fromstring(MESSAGES[name])


def objects(root: etree._Element, code: str) -> list[etree._Element]:
    return [one for one in root.findall("ParticipantObjectIdentification")
            if one.find("ParticipantObjectIDTypeCode").get("csd-code") == code]


@every_message
def test_each_message_is_valid_by_the_schema(name):
    assert SCHEMA.validate(parsed(name)), SCHEMA.error_log


@every_message
def test_each_message_is_one_line(name):
    assert b"\n" not in MESSAGES[name]
    assert b"\r" not in MESSAGES[name]


def test_the_schema_refuses_what_is_no_audit_message():
    broken = parsed("received")
    del broken.find("EventIdentification").attrib["EventDateTime"]
    assert not SCHEMA.validate(broken)


@pytest.mark.parametrize("name", EXPECTED)
def test_event_action_outcome_and_type_are_those_of_the_clause(name):
    event = parsed(name).find("EventIdentification")
    kind = event.find("EventTypeCode")
    assert (event.find("EventID").get("csd-code"), event.get("EventActionCode"), event.get("EventOutcomeIndicator"),
            kind.get("csd-code") if kind is not None else None) == EXPECTED[name]
    assert event.get("EventDateTime") == "2026-03-14T09:30:47.250Z"


@pytest.mark.parametrize("name", ["received", "sending", "sent", "not sent"])
def test_a_transfer_names_both_ends_one_of_them_its_requestor(name):
    ends = parsed(name).findall("ActiveParticipant")
    assert sorted(end.find("RoleIDCode").get("csd-code") for end in ends) == ["110152", "110153"]
    assert [end.get("UserIsRequestor") for end in ends].count("true") == 1
    source = next(end for end in ends if end.find("RoleIDCode").get("csd-code") == "110153")
    assert source.get("AlternativeUserID") == ("AETITLES=SCANNER" if name == "received" else "AETITLES=DICOMNODE")


def test_an_address_and_a_name_are_told_apart():
    points = {one.get("NetworkAccessPointID"): one.get("NetworkAccessPointTypeCode")
              for name in ("received", "sending", "refused before it said who")
              for one in parsed(name).findall("ActiveParticipant")}
    assert points == {"10.1.2.3": "2", "node1.hospital.example": "1", "pacs.hospital.example": "1", "fe80::1%eth0": "2"}


@pytest.mark.parametrize("name", ["received", "sending", "sent", "accessed", "deleted"])
def test_study_and_patient_are_named_as_the_tables_want(name):
    root = parsed(name)
    (study,), (patient,) = objects(root, "110180"), objects(root, "2")
    assert study.get("ParticipantObjectID") == "1.2.3.4"
    assert (study.get("ParticipantObjectTypeCode"), study.get("ParticipantObjectTypeCodeRole")) == ("2", "3")
    counts = {one.get("UID"): one.get("NumberOfInstances") for one in study.iter("SOPClass")}
    assert counts == {CT: "320", "1.2.840.10008.5.1.4.1.1.4": "2"}
    assert study.find("ParticipantObjectDescription/Accession").get("Number") == "A-17"
    assert patient.get("ParticipantObjectID") == "0815^^^HOSPITAL"
    assert (patient.get("ParticipantObjectTypeCode"), patient.get("ParticipantObjectTypeCodeRole")) == ("1", "1")
    assert patient.findtext("ParticipantObjectName") == "Müller^Jörg=王^小明"


def test_an_alert_says_in_words_who_was_refused_and_why():
    (node,) = objects(parsed("refused"), "110182")
    assert node.get("ParticipantObjectID") == "10.1.2.3"
    detail = node.find("ParticipantObjectDetail")
    assert detail.get("type") == "Alert Description"
    assert b"no peer of the configuration" in base64.b64decode(detail.get("value"))


def test_time_is_universal_wherever_the_clock_stands():
    local = AT.astimezone(timezone(timedelta(hours=8)))
    assert events.started(US, at=local, role="serve") == MESSAGES["started"]


def test_text_from_outside_stays_text():
    patient = objects(parsed("of hostile text"), "2")[0]
    assert patient.get("ParticipantObjectID").startswith('<&">]]>')
    assert "\x1b" not in patient.get("ParticipantObjectID")
    assert patient.findtext("ParticipantObjectName").startswith("two lines")
