"""Storage commitment: asking a peer to take responsibility for what it stored (PS3.4 Annex J)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.deliver import dimse
from dicomnode.deliver.association import Association
from dicomnode.deliver.part10 import EXPLICIT_LE, IMPLICIT_LE
from dicomnode.deliver.status import status_error
from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.node import Peer
from dicomnode.errors import PeerRefused

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
PROPOSALS: Final = ((PUSH_MODEL, EXPLICIT_LE), (PUSH_MODEL, IMPLICIT_LE))
REQUEST_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3-1)."""


def request_commitment(
    *, node_ae_title: str, peer: Peer, transaction_uid: str, refs: Sequence[InstanceRef], timeout_s: float,
) -> None:
    """Ask a peer to commit to these instances; its answer comes later, to the receiver, as N-EVENT-REPORT.

    Raises
    ------
    PeerRefused
        If the peer offers no storage commitment, or answers with a failure.
    PeerBusy, PeerUnreachable, AssociationRejectedTransient, AssociationRejectedPermanent
        As ``Association``.
    """
    with Association(node_ae_title=node_ae_title, peer=peer, proposals=PROPOSALS, timeout_s=timeout_s) as association:
        accepted = next((proposal for proposal in PROPOSALS if association.accepts(proposal)), None)
        if accepted is None:
            msg = (f"{association.place}: offers no storage commitment ({PUSH_MODEL}); "
                   f"set storage_commitment = false in [peers.{peer.name}]")
            raise PeerRefused(msg)
        command = dimse.n_action_rq(
            association.next_message_id(), PUSH_MODEL, PUSH_MODEL_INSTANCE, REQUEST_COMMITMENT)
        data = encoded_request(transaction_uid, refs, implicit_vr=accepted[1] == IMPLICIT_LE)
        error = status_error(association.place, f"storage commitment {transaction_uid}",
                             association.ask(accepted, command, [data]))
        if error:
            raise error


def encoded_request(transaction_uid: str, refs: Sequence[InstanceRef], *, implicit_vr: bool) -> bytes:
    """Return the action information of a request, little endian (PS3.4 Table J.3-2)."""
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = [_reference(ref) for ref in refs]
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit_vr, True
    write_dataset(buffer, request)
    return bytes(buffer.getvalue())


def _reference(ref: InstanceRef) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = ref.sop_class_uid
    item.ReferencedSOPInstanceUID = ref.sop_instance_uid
    return item
