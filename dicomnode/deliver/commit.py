"""Storage commitment: asking a peer to take responsibility, and telling one for what we take it (PS3.4 Annex J)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.deliver import dimse
from dicomnode.deliver.association import Association, Reported
from dicomnode.deliver.part10 import EXPLICIT_LE, IMPLICIT_LE
from dicomnode.deliver.pdu import Proposal
from dicomnode.deliver.status import status_error
from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.node import Peer
from dicomnode.errors import DeliveryError, PeerRefused
from dicomnode.tls import Contexts

PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
PUSH_MODEL_INSTANCE: Final = "1.2.840.10008.1.20.1.1"
PROPOSALS: Final = ((PUSH_MODEL, EXPLICIT_LE), (PUSH_MODEL, IMPLICIT_LE))
REQUEST_COMMITMENT: Final = 1
"""Action Type ID (PS3.4 Table J.3-1)."""
ALL_COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs (PS3.4 Table J.3-3)."""


def request_commitment(
    *, node_ae_title: str, peer: Peer, transaction_uid: str, refs: Sequence[InstanceRef], timeout_s: float,
    reported: Reported | None = None, listen_s: float = 0.0, tls: Contexts | None = None,
) -> None:
    """Ask a peer to commit to these instances; its answer comes later as N-EVENT-REPORT (PS3.4 J.3.3).

    Parameters
    ----------
    reported:
        Takes an answer that comes on this very association: event type, transfer syntax and data set; returns the
        status to answer.
    listen_s:
        How long to keep the association open for it; most peers answer on one of their own, to the receiver.

    Raises
    ------
    PeerRefused
        If the peer offers no storage commitment, or answers with a failure.
    PeerBusy, PeerUnreachable, AssociationRejectedTransient, AssociationRejectedPermanent
        As ``Association``.
    """
    with Association(node_ae_title=node_ae_title, peer=peer, proposals=PROPOSALS, timeout_s=timeout_s,
                     reported=reported, tls=tls) as association:
        accepted = _accepted(association)
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
        with suppress(DeliveryError):  # it is asked; what the peer does with this association now proves nothing
            association.listen(listen_s)


def report_commitment(
    *, node_ae_title: str, peer: Peer, transaction_uid: str, committed: Sequence[InstanceRef],
    failed: Sequence[tuple[InstanceRef, int]], timeout_s: float, tls: Contexts | None = None,
) -> None:
    """Tell a peer that asked us what we commit to, on an association of our own, as its SCP (PS3.4 J.3.3).

    Parameters
    ----------
    failed:
        Each instance with its Failure Reason (0008,1197).

    Raises
    ------
    PeerRefused
        If the peer takes no such report, or answers with a failure.
    PeerBusy, PeerUnreachable, AssociationRejectedTransient, AssociationRejectedPermanent
        As ``Association``.

    Notes
    -----
    A peer that accepts the context and says nothing of roles gets the report all the same: older scanners take it so.
    """
    with Association(node_ae_title=node_ae_title, peer=peer, proposals=PROPOSALS, timeout_s=timeout_s,
                     scp_of=(PUSH_MODEL,), tls=tls) as association:
        accepted = _accepted(association)
        if accepted is None:
            msg = (f"{association.place}: takes no report on storage commitment ({PUSH_MODEL}), for which it asked; "
                   "see that it accepts this node there, in the role of SCP")
            raise PeerRefused(msg)
        event = FAILURES_EXIST if failed else ALL_COMMITTED
        command = dimse.n_event_report_rq(association.next_message_id(), PUSH_MODEL, PUSH_MODEL_INSTANCE, event)
        data = encoded_report(transaction_uid, committed, failed, implicit_vr=accepted[1] == IMPLICIT_LE)
        error = status_error(association.place, f"the report on storage commitment {transaction_uid}",
                             association.ask(accepted, command, [data]))
        if error:
            raise error


def _accepted(association: Association) -> Proposal | None:
    return next((proposal for proposal in PROPOSALS if association.accepts(proposal)), None)


def encoded_request(transaction_uid: str, refs: Sequence[InstanceRef], *, implicit_vr: bool) -> bytes:
    """Return the action information of a request, little endian (PS3.4 Table J.3-2)."""
    request = Dataset()
    request.TransactionUID = transaction_uid
    request.ReferencedSOPSequence = [_reference(ref) for ref in refs]
    return _encoded(request, implicit_vr=implicit_vr)


def encoded_report(
    transaction_uid: str, committed: Sequence[InstanceRef], failed: Sequence[tuple[InstanceRef, int]], *,
    implicit_vr: bool,
) -> bytes:
    """Return the event information of a report, little endian (PS3.4 Table J.3-3)."""
    report = Dataset()
    report.TransactionUID = transaction_uid
    if committed:
        report.ReferencedSOPSequence = [_reference(ref) for ref in committed]
    if failed:
        report.FailedSOPSequence = [_reference(ref) for ref, _ in failed]
        for item, (_, reason) in zip(report.FailedSOPSequence, failed, strict=True):
            item.FailureReason = reason
    return _encoded(report, implicit_vr=implicit_vr)


def _encoded(data: Dataset, *, implicit_vr: bool) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = implicit_vr, True
    write_dataset(buffer, data)
    return bytes(buffer.getvalue())


def _reference(ref: InstanceRef) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = ref.sop_class_uid
    item.ReferencedSOPInstanceUID = ref.sop_instance_uid
    return item
