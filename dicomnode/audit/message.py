"""One audit message as XML, in the shape of the schema of PS3.15 A.5.1.1: one line of UTF-8."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final
from xml.etree.ElementTree import Element, SubElement, tostring

from dicomnode.audit import codes
from dicomnode.audit.codes import Coded
from dicomnode.domain.audit import AuditedStudy

NOT_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 has no way to write."""
UNKNOWN: Final = "unknown"
"""Stands where the schema wants a value and the images have none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """The node itself: the process that acts (A.5.2.1), its AE title (A.5.2.2), and the host on which it runs."""

    ae_title: str
    host: str
    pid: int

    @property
    def source_id(self) -> str:
        """AuditSourceID: which system saw it."""
        return f"{self.ae_title}@{self.host}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """The other side of an association, as far as it is known."""

    ae_title: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happened: EventIdentification."""

    event: Coded
    action: str
    at: datetime
    outcome: str = codes.SUCCESS
    kind: Coded | None = None
    because: str = ""


class Message:
    """An audit message that is being written: participants first, then objects."""

    def __init__(self, happening: Happening, source: Application) -> None:
        self._root = Element("AuditMessage")
        self._source = source
        self._has_source = False
        event = SubElement(self._root, "EventIdentification", {
            "EventActionCode": happening.action,
            "EventDateTime": happening.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "EventOutcomeIndicator": happening.outcome,
        })
        _coded(event, "EventID", happening.event)
        if happening.kind is not None:
            _coded(event, "EventTypeCode", happening.kind)
        if happening.because:
            SubElement(event, "EventOutcomeDescription").text = _legal(happening.because)

    def this_node(self, *, role: Coded, requestor: bool) -> None:
        """Add the process of this node that takes part."""
        node = self._source
        self._participant(str(node.pid), node.ae_title, role, requestor=requestor, access_point=node.host)

    def other_node(self, node: Node, *, role: Coded | None, requestor: bool) -> None:
        """Add the other side; its process is known by its AE title alone."""
        self._participant(node.ae_title or node.address or UNKNOWN, node.ae_title, role, requestor=requestor,
                          access_point=node.address)

    def study(self, study: AuditedStudy) -> None:
        """Add a study and the number of its instances by SOP Class, then its patient (A.5.2)."""
        what = self._object(study.study_uid, "Study", codes.STUDY_INSTANCE_UID, codes.SYSTEM_OBJECT, codes.REPORT)
        description = SubElement(what, "ParticipantObjectDescription")
        if study.accession_number:
            SubElement(description, "Accession", Number=_legal(study.accession_number))
        for uid, count in study.instances.items():
            SubElement(description, "SOPClass", UID=_legal(uid), NumberOfInstances=str(count))
        whole_id = f"{study.patient_id}^^^{study.issuer}" if study.issuer else study.patient_id
        self._object(whole_id or UNKNOWN, study.patient_name or UNKNOWN, codes.PATIENT_NUMBER, codes.PERSON,
                     codes.PATIENT)

    def alert(self, subject: str, text: str) -> None:
        """Add the node that an alert is about, and the alert in words (A.5.3.11)."""
        what = self._object(subject or UNKNOWN, "calling node", codes.NODE_ID, codes.SYSTEM_OBJECT,
                            codes.SECURITY_RESOURCE)
        SubElement(what, "ParticipantObjectDetail", type="Alert Description",
                   value=base64.b64encode(text.encode()).decode("ascii"))

    def encoded(self) -> bytes:
        """The message, one line."""
        self._close_participants()
        body: bytes = tostring(self._root, encoding="utf-8", xml_declaration=False)
        return b'<?xml version="1.0" encoding="UTF-8"?>' + body

    def _participant(self, user_id: str, ae_title: str, role: Coded | None, *, requestor: bool,
                     access_point: str) -> None:
        attributes = {"UserID": _legal(user_id), "UserIsRequestor": str(requestor).lower()}
        if ae_title:
            attributes["AlternativeUserID"] = _legal(f"AETITLES={ae_title}")
        if access_point:
            attributes["NetworkAccessPointID"] = _legal(access_point)
            attributes["NetworkAccessPointTypeCode"] = _access_point_type(access_point)
        participant = SubElement(self._root, "ActiveParticipant", attributes)
        if role is not None:
            _coded(participant, "RoleIDCode", role)

    def _close_participants(self) -> None:
        """The source stands between participants and objects (A.5.1.1)."""
        if not self._has_source:
            self._has_source = True
            source = SubElement(self._root, "AuditSourceIdentification", AuditSourceID=_legal(self._source.source_id))
            SubElement(source, "AuditSourceTypeCode", {"csd-code": codes.APPLICATION_SERVER})

    def _object(self, object_id: str, name: str, id_type: Coded, kind: str, role: str) -> Element:
        self._close_participants()
        what = SubElement(self._root, "ParticipantObjectIdentification", {
            "ParticipantObjectID": _legal(object_id),
            "ParticipantObjectTypeCode": kind,
            "ParticipantObjectTypeCodeRole": role,
        })
        _coded(what, "ParticipantObjectIDTypeCode", id_type)
        SubElement(what, "ParticipantObjectName").text = _one_line(name)
        return what


def _coded(parent: Element, name: str, value: Coded) -> None:
    SubElement(parent, name, {"csd-code": value.code, "codeSystemName": value.system, "originalText": value.meaning})


def _legal(text: str) -> str:
    return NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _one_line(text: str) -> str:
    return " ".join(_legal(text).split("\n")).replace("\r", " ")


def _access_point_type(access_point: str) -> str:
    try:
        ip_address(access_point.partition("%")[0])
    except ValueError:
        return codes.MACHINE_NAME
    return codes.IP_ADDRESS
