"""Codes of audit messages with the clause that asks for them (PS3.15 A.5.3, PS3.16 CID 400 to 405)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Coded:
    """A coded value as the audit schema writes it: csd-code, codeSystemName, originalText (A.5.1.1)."""

    code: str
    system: str
    meaning: str


def _dcm(code: str, meaning: str) -> Coded:
    return Coded(code, "DCM", meaning)


APPLICATION_ACTIVITY: Final = _dcm("110100", "Application Activity")  # A.5.3.1
BEGIN_TRANSFERRING: Final = _dcm("110102", "Begin Transferring DICOM Instances")  # A.5.3.3
INSTANCES_ACCESSED: Final = _dcm("110103", "DICOM Instances Accessed")  # A.5.3.6
INSTANCES_TRANSFERRED: Final = _dcm("110104", "DICOM Instances Transferred")  # A.5.3.7
STUDY_DELETED: Final = _dcm("110105", "DICOM Study Deleted")  # A.5.3.8
SECURITY_ALERT: Final = _dcm("110113", "Security Alert")  # A.5.3.11

APPLICATION_START: Final = _dcm("110120", "Application Start")
APPLICATION_STOP: Final = _dcm("110121", "Application Stop")
NODE_AUTHENTICATION: Final = _dcm("110126", "Node Authentication")

APPLICATION: Final = _dcm("110150", "Application")
DESTINATION: Final = _dcm("110152", "Destination Role ID")
SOURCE: Final = _dcm("110153", "Source Role ID")

STUDY_INSTANCE_UID: Final = _dcm("110180", "Study Instance UID")
NODE_ID: Final = _dcm("110182", "Node ID")
PATIENT_NUMBER: Final = Coded("2", "RFC-3881", "Patient Number")

CREATE, READ, DELETE, EXECUTE, UPDATE = "C", "R", "D", "E", "U"
"""EventActionCode."""
SUCCESS, MINOR_FAILURE, SERIOUS_FAILURE = "0", "4", "8"
"""EventOutcomeIndicator: done; not done and tried again; not done."""
PERSON, SYSTEM_OBJECT = "1", "2"
"""ParticipantObjectTypeCode."""
PATIENT, REPORT, SECURITY_RESOURCE = "1", "3", "13"
"""ParticipantObjectTypeCodeRole; a study is a report."""
MACHINE_NAME, IP_ADDRESS = "1", "2"
"""NetworkAccessPointTypeCode."""
APPLICATION_SERVER: Final = "4"
"""AuditSourceTypeCode (A.5.1.2.1)."""
