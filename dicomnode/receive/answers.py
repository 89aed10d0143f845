"""What the receiver answers, and when: the tables of the conformance statement, each row with its clause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from dicomnode.errors import (
    CannotUnderstand,
    Mismatch,
    NoSuchAction,
    NoSuchInstance,
    NotAuthorized,
    NotOurSopClass,
    OutOfResources,
    ProcessingFailure,
    ResourceLimitation,
)
from dicomnode.receive import admit, reasons
from dicomnode.receive.association import SUCCESS, UNRECOGNIZED_OPERATION


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One DIMSE status that the receiver gives."""

    status: int
    meaning: str
    when: str
    clause: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """One A-ASSOCIATE-RJ that the receiver sends (PS3.8 Table 9-21): result, source and reason."""

    answer: tuple[int, int, int]
    meaning: str
    when: str


STORE_ANSWERS: Final = (
    Answer(status=SUCCESS, meaning="Success", clause="PS3.4 Table B.2-1",
           when="The data set is stored durably: file and folder are synchronised to the disk before the answer."),
    Answer(status=OutOfResources.status, meaning="Refused: Out of Resources", clause="PS3.4 Table B.2-1",
           when="Less than min_free_gb is free, the spool cannot be written, the instance is larger than "
                "max_instance_mb, or the association has brought max_objects_per_association. Nothing is kept; the "
                "sender may try again."),
    Answer(status=NotOurSopClass.status, meaning="Refused: SOP Class not supported", clause="PS3.7 C.5",
           when="The command names another SOP Class than its presentation context."),
    Answer(status=Mismatch.status, meaning="Error: Data Set does not match SOP Class", clause="PS3.4 Table B.2-1",
           when="SOP Class UID or SOP Instance UID of the data set differ from the command's."),
    Answer(status=CannotUnderstand.status, meaning="Error: Cannot understand", clause="PS3.4 Table B.2-1",
           when="There is no data set, lengths point outside it, or SOP Instance, Study Instance or Series Instance "
                "UID is absent or no UID."),
)
"""C-STORE-RSP."""
EVENT_ANSWERS: Final = (
    Answer(status=SUCCESS, meaning="Success", clause="PS3.7 C.1",
           when="The report is stored durably, and then applied."),
    Answer(status=NotAuthorized.status, meaning="Refused: Not authorized", clause="PS3.7 C.5",
           when="The calling AE title is no peer of the configuration."),
    Answer(status=CannotUnderstand.status, meaning="Error: Cannot understand", clause="PS3.7 Annex C",
           when="The Event Type ID is unknown, or the report cannot be read or has no Transaction UID."),
    Answer(status=ProcessingFailure.status, meaning="Error: Processing failure", clause="PS3.7 C.5",
           when="The report is longer than 16 MB."),
    Answer(status=OutOfResources.status, meaning="Refused: Out of Resources", clause="PS3.7 Annex C",
           when="The spool cannot be written."),
)
"""N-EVENT-REPORT-RSP of the Storage Commitment Push Model."""
ACTION_ANSWERS: Final = (
    Answer(status=SUCCESS, meaning="Success", clause="PS3.7 C.1",
           when="The request is stored durably; its outcome follows as N-EVENT-REPORT on an association to the peer."),
    Answer(status=NotOurSopClass.status, meaning="Refused: SOP Class not supported", clause="PS3.7 C.5",
           when="[receive] storage_commitment is false."),
    Answer(status=NotAuthorized.status, meaning="Refused: Not authorized", clause="PS3.7 C.5",
           when="The calling AE title is no peer of the configuration, or its entry has no host and port."),
    Answer(status=NoSuchInstance.status, meaning="Error: No such SOP Instance", clause="PS3.7 C.5",
           when="The request names another instance than 1.2.840.10008.1.20.1.1."),
    Answer(status=NoSuchAction.status, meaning="Error: No such action", clause="PS3.7 C.5",
           when="The Action Type ID is not 1."),
    Answer(status=ProcessingFailure.status, meaning="Error: Processing failure", clause="PS3.7 C.5",
           when="The request cannot be read, has no Transaction UID or names no instance."),
    Answer(status=ResourceLimitation.status, meaning="Error: Resource limitation", clause="PS3.7 C.5",
           when="The spool cannot be written; the peer may ask again."),
)
"""N-ACTION-RSP of the Storage Commitment Push Model."""
OTHER_ANSWERS: Final = (
    Answer(status=SUCCESS, meaning="Success", clause="PS3.4 A.4", when="C-ECHO."),
    Answer(status=UNRECOGNIZED_OPERATION, meaning="Failure: Unrecognized operation", clause="PS3.7 C.5",
           when="Any other DIMSE service than C-ECHO, C-STORE, and N-ACTION and N-EVENT-REPORT of the Storage "
                "Commitment Push Model."),
)

REJECTIONS: Final = (
    Rejection(answer=admit.NO_APPLICATION_CONTEXT, meaning="application context name not supported",
              when="The application context is not the DICOM one."),
    Rejection(answer=admit.CALLING_NOT_RECOGNIZED, meaning="calling AE title not recognized",
              when='The calling AE title is no peer of the configuration (unless unknown_peers = "accept"), or '
                   "its table does not hold the address, the certificate or the plain TCP that it calls with."),
    Rejection(answer=admit.CALLED_NOT_RECOGNIZED, meaning="called AE title not recognized",
              when="The called AE title is not the node's."),
    Rejection(answer=admit.NO_PROTOCOL_VERSION, meaning="protocol version not supported",
              when="Protocol version 1 is not among those proposed."),
    Rejection(answer=admit.LOCAL_LIMIT_EXCEEDED, meaning="local limit exceeded",
              when="max_associations are open, or as many of this peer as it may have, or the spool cannot be "
                   "written."),
)
ABORTS: Final = (
    (reasons.NOT_SPECIFIED, "reason not specified",
     "The node stops, the peer was silent or crawled for idle_timeout_s, a refused data set exceeds max_instance_mb."),
    (reasons.UNRECOGNIZED_PDU, "unrecognized PDU", "A PDU of an unknown type."),
    (reasons.UNEXPECTED_PDU, "unexpected PDU", "A PDU that is not due, such as one that comes before A-ASSOCIATE-RQ."),
    (reasons.INVALID_PARAMETER, "invalid PDU parameter value",
     "A PDU or command set that cannot be read, fragments out of turn, a PDU longer than the announced maximum."),
)
"""A-ABORT by the service provider (PS3.8 Table 9-26): reason, meaning, when."""
