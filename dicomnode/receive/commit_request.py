"""Requests for storage commitment as they are kept: one JSON object per N-ACTION (PS3.4 Section J.3.2)."""

from __future__ import annotations

import json
from typing import Final

from pydicom.dataset import Dataset

from dicomnode.domain.dicom import uid
from dicomnode.domain.node import Peer
from dicomnode.errors import NoSuchAction, NoSuchInstance, NotAuthorized, NotOurSopClass, ProcessingFailure
from dicomnode.receive.command import Command
from dicomnode.receive.messages import UNREADABLE, read_message

REQUEST: Final = "request"
"""How the spool calls such a message."""
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
"""The one instance of the SOP Class (PS3.4 J.3.5)."""
REQUEST_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3-1)."""


def admit_commit_request(command: Command, peer: Peer | None, calling: str, *, offered: bool) -> Peer:
    """Return the peer that asks: of the configuration, one that can be told the outcome, where the node offers it.

    Raises
    ------
    NotOurSopClass
        ``[receive] storage_commitment`` is false (0x0122).
    NotAuthorized
        The caller is no peer, or has no host and port to report to (0x0124).
    NoSuchInstance, NoSuchAction
        The request is not the one of the Push Model (0x0112, 0x0123).
    """
    if not offered:
        raise NotOurSopClass("storage commitment is off: see [receive] storage_commitment")
    if peer is None:
        raise NotAuthorized(f"no peer of the configuration: {calling!r} asks for commitment")
    if not peer.can_receive:
        raise NotAuthorized(f"no host and port in [peers.{peer.name}] to report commitment to")
    if command.sop_instance_uid != PUSH_MODEL_INSTANCE:
        raise NoSuchInstance(f"Requested SOP Instance UID {command.sop_instance_uid!r}, not {PUSH_MODEL_INSTANCE}")
    if command.action_type != REQUEST_COMMITMENT:
        raise NoSuchAction(f"Action Type ID {command.action_type}; allowed is {REQUEST_COMMITMENT}")
    return peer


def commit_request(data: bytes, *, transfer_syntax_uid: str, peer: str) -> bytes:
    """The JSON that ``Spool.put_event("request", …)`` keeps.

    Keys: ``transaction_uid``, ``peer`` (its name), ``refs`` (list of [SOP Class UID, SOP Instance UID]).

    Raises
    ------
    ProcessingFailure
        The data set cannot be read, or names no valid Transaction UID or no instance (0x0110).
    """
    try:
        asked = read_message(data, transfer_syntax_uid=transfer_syntax_uid)
        request = _request(asked)
    except UNREADABLE as error:
        raise ProcessingFailure(f"storage commitment request cannot be read: {error}") from error
    if not request["refs"]:
        raise ProcessingFailure("storage commitment request names no instance: Referenced SOP Sequence (0008,1199)")
    return json.dumps({**request, "peer": peer}).encode()


def _request(asked: Dataset) -> dict[str, object]:
    return {
        "transaction_uid": uid(str(asked.TransactionUID)),
        "refs": [[uid(str(item.ReferencedSOPClassUID)), uid(str(item.ReferencedSOPInstanceUID))]
                 for item in asked.get("ReferencedSOPSequence") or []],
    }
