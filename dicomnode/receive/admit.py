"""Who and what may enter, and the status that says why not (PS3.8 Table 9-21, PS3.4 Table B.2-1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from dicomnode.domain.dicom import uid
from dicomnode.domain.node import Peer
from dicomnode.errors import CannotUnderstand, DicomNodeError, Mismatch, NotOurSopClass, OutOfResources, RefusedInstance
from dicomnode.receive.caller import Caller, peers_called, why_not
from dicomnode.receive.command import Command
from dicomnode.receive.negotiate import APPLICATION_CONTEXT, Context, Request
from dicomnode.receive.walk import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Walk

PERMANENT: Final = 1
TRANSIENT: Final = 2
SERVICE_USER: Final = 1
ACSE_PROVIDER: Final = 2
PRESENTATION_PROVIDER: Final = 3

NO_APPLICATION_CONTEXT: Final = (PERMANENT, SERVICE_USER, 2)
CALLING_NOT_RECOGNIZED: Final = (PERMANENT, SERVICE_USER, 3)
CALLED_NOT_RECOGNIZED: Final = (PERMANENT, SERVICE_USER, 7)
NO_PROTOCOL_VERSION: Final = (PERMANENT, ACSE_PROVIDER, 2)
LOCAL_LIMIT_EXCEEDED: Final = (TRANSIENT, PRESENTATION_PROVIDER, 2)


class RefusedAssociation(Exception):
    """The association is rejected; ``answer`` is result, source and reason of the A-ASSOCIATE-RJ."""

    def __init__(self, message: str, answer: tuple[int, int, int]) -> None:
        super().__init__(message)
        self.answer = answer


def admit_association(request: Request, caller: Caller, *, ae_title: str, peers: Mapping[str, Peer],
                      unknown_peers: str) -> Peer | None:
    """The peer that calls, or None for an unknown one where the configuration accepts those.

    Raises
    ------
    RefusedAssociation
        The calling AE title is unknown or calls from an address, over plain TCP or with a certificate that is not its
        own, or the called one is not ours.
    """
    if not request.protocol_version & 1:
        raise RefusedAssociation(f"protocol version {request.protocol_version:#x}", NO_PROTOCOL_VERSION)
    if request.application_context != APPLICATION_CONTEXT:
        raise RefusedAssociation(f"application context {request.application_context!r}", NO_APPLICATION_CONTEXT)
    if request.called != ae_title:
        raise RefusedAssociation(f"called AE title {request.called!r}, ours is {ae_title!r}", CALLED_NOT_RECOGNIZED)
    known = peers_called(request.calling, peers)
    if not known:
        if unknown_peers == "accept":
            return None
        raise RefusedAssociation(
            f"calling AE title {request.calling!r} is no peer of the configuration", CALLING_NOT_RECOGNIZED)
    reasons = []
    for peer in known:
        reason = why_not(peer, caller)
        if not reason:
            return peer
        reasons.append(reason)
    raise RefusedAssociation(f"{request.calling!r} {'; '.join(reasons)}", CALLING_NOT_RECOGNIZED)


def admit_command(command: Command, context: Context, *, sop_classes: Collection[str]) -> None:
    """A C-STORE request names a SOP Class of its context that this node stores, and a valid instance.

    Raises
    ------
    NotOurSopClass, CannotUnderstand
    """
    if command.sop_class_uid != context.abstract_syntax or command.sop_class_uid not in sop_classes:
        raise NotOurSopClass(f"SOP Class {command.sop_class_uid!r} in a context for {context.abstract_syntax}")
    if not command.has_data:
        raise CannotUnderstand("C-STORE request without data set")
    _check_uid("Affected SOP Instance UID (0000,1000)", command.sop_instance_uid)


def admit_instance(command: Command, walk: Walk) -> None:
    """The walked data set is the one that the command announced, and says where it belongs.

    Raises
    ------
    Mismatch
        SOP Class or SOP Instance UID differ (0xA900).
    CannotUnderstand
        Study or Series Instance UID is missing or no UID (0xC000).
    """
    for tag, name, announced in ((SOP_CLASS_UID, "SOP Class UID", command.sop_class_uid),
                                 (SOP_INSTANCE_UID, "SOP Instance UID", command.sop_instance_uid)):
        if walk.uids.get(tag) != announced:
            raise Mismatch(f"{name} is {walk.uids.get(tag)!r}, the command says {announced!r}")
    _check_uid("Study Instance UID (0020,000D)", walk.uids.get(STUDY_INSTANCE_UID, ""))
    _check_uid("Series Instance UID (0020,000E)", walk.uids.get(SERIES_INSTANCE_UID, ""))


def _check_uid(name: str, value: str) -> None:
    try:
        uid(value)
    except ValueError as error:
        raise CannotUnderstand(f"{name}: {error}") from error


def status_of(error: DicomNodeError) -> int:
    """The DIMSE status of a refusal; a spool that is full or away is Out of Resources (0xA700)."""
    return error.status if isinstance(error, RefusedInstance) else OutOfResources.status
