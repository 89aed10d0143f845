"""Storage commitment as SCU: the sender asks a peer to commit to what it sent (PS3.4 Annex J)."""

from __future__ import annotations

import uuid
from datetime import timedelta

from dicomnode import logs
from dicomnode.deliver.commit import request_commitment
from dicomnode.deliver.dimse import PROCESSING_FAILURE, SUCCESS
from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.node import NodeConfig, Peer
from dicomnode.errors import DicomNodeError, RefusedInstance, SpoolError
from dicomnode.ledger import deliveries, events
from dicomnode.ledger.engine import Ledger
from dicomnode.receive.event_report import commitment_event
from dicomnode.run.bell import ring
from dicomnode.run.loop import utc_now
from dicomnode.run.protection import for_calls
from dicomnode.spool import Spool

log = logs.get("run")


class Asking:
    """Asks, each time under a new Transaction UID; the answer is kept for the keeper, whichever way it comes."""

    def __init__(self, config: NodeConfig, ledger: Ledger, spool: Spool) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._tls = for_calls(config.tls)

    def ask(self, delivery: deliveries.ClaimedDelivery, peer: Peer) -> None:
        """Write down that the peer is asked, then ask: an answer never comes to a question that nobody knows.

        Raises
        ------
        ClaimLost
            If the claim is no longer ours.
        """
        with self._ledger.read() as connection:
            sent = deliveries.sent_instances(connection, delivery.delivery_id)
        transaction_uid = f"2.25.{uuid.uuid4().int}"
        now = utc_now()
        again = now + timedelta(seconds=self._config.delivery.commit_ask_again_s)
        with self._ledger.write() as connection:
            deliveries.await_commitment(
                connection, delivery, transaction_uid=transaction_uid, now=now, run_after=again)
        try:
            request_commitment(
                node_ae_title=self._config.node.ae_title, peer=peer, transaction_uid=transaction_uid,
                refs=[InstanceRef(sop_class_uid=cls, sop_instance_uid=uid) for cls, uid in sent],
                timeout_s=self._config.delivery.timeout_s, reported=lambda *report: self._keep(peer, *report),
                listen_s=self._config.delivery.commit_listen_s, tls=self._tls)
        except DicomNodeError as error:
            self._tell_not_asked(delivery, peer, error)

    def _tell_not_asked(self, delivery: deliveries.ClaimedDelivery, peer: Peer, error: DicomNodeError) -> None:
        log.warning("commitment_not_asked", delivery=delivery.delivery_id, peer=peer.name, reason=error.reason)
        with self._ledger.write() as connection:
            events.record(
                connection, at=utc_now(), kind="commitment_not_asked", study_uid=delivery.study_uid,
                delivery_id=delivery.delivery_id, text=f"{peer.name} could not be asked to commit: {error.reason}")

    def _keep(self, peer: Peer, event_type: int, transfer_syntax_uid: str, data: bytes) -> int:
        """Keep an answer that came on the association which asked, as the receiver keeps those on others."""
        try:
            self._spool.put_event("commitment", commitment_event(
                data, transfer_syntax_uid=transfer_syntax_uid, event_type=event_type, calling=peer.ae_title))
        except (RefusedInstance, SpoolError) as error:
            log.warning("commitment_not_kept", peer=peer.name, reason=error.reason)
            return PROCESSING_FAILURE
        ring(self._config.node.data_dir / "run", "keeper")
        return SUCCESS
