"""The sender's conductor: claim a delivery, one association, save each verdict as it comes."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from dicomnode import logs
from dicomnode.deliver.part10 import Outgoing, OutgoingFile
from dicomnode.deliver.scu import deliver
from dicomnode.domain.job import StoredResult
from dicomnode.domain.node import OPTIONAL, NodeConfig, Peer
from dicomnode.domain.work import Backoff
from dicomnode.errors import ClaimLost, DeliveryError, DicomNodeError, PeerRefused, Verdict
from dicomnode.ledger import deliveries
from dicomnode.ledger.engine import Ledger
from dicomnode.ledger.succession import REJECTION
from dicomnode.run import custody
from dicomnode.run.asking import Asking
from dicomnode.run.auditing import Auditor
from dicomnode.run.bell import Bell
from dicomnode.run.lease import Lease
from dicomnode.run.loop import run as loop
from dicomnode.run.loop import typed, utc_now
from dicomnode.run.patience import persist
from dicomnode.run.presence import Presence
from dicomnode.run.protection import for_calls
from dicomnode.run.pulse import Pulse
from dicomnode.spool import Spool

LAST_REPORT_S: Final = 10.0
"""At a stop, a report on storage commitment that is under way may take so long; else it is made at the next start."""

log = logs.get("run")


class Sender:
    """One step: one delivery, from claim to verdict."""

    def __init__(
        self, config: NodeConfig, ledger: Ledger, spool: Spool, stop: threading.Event, pulse: Pulse | None = None
    ) -> None:
        self._pulse = pulse
        self._config = config
        self._settings = config.delivery
        self._ledger = ledger
        self._spool = spool
        self._stop = stop
        self._auditor = Auditor(config)
        self._tls = for_calls(config.tls)
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._asking = Asking(config, ledger, spool)
        self._reachable = frozenset(name for name, peer in config.peers.items() if peer.can_receive)
        self._backoff = Backoff(first_s=self._settings.backoff_s, most_s=self._settings.backoff_max_s)

    def step(self, now: datetime) -> bool:
        """Claim and do one delivery; False if none waits."""
        with self._ledger.write() as connection:
            delivery = deliveries.claim(
                connection,
                now=now,
                lease_s=self._settings.lease_s,
                owner=self._owner,
                peers=self._reachable,
                most_per_peer=self._settings.senders_per_peer,
            )
        if delivery is None:
            return False
        with Lease(lambda at: self._renew(delivery, at), lease_s=self._settings.lease_s):
            try:
                typed(lambda: self._do(delivery, self._config.peers[delivery.peer]), delivery=delivery.delivery_id)
            except ClaimLost:
                raise
            except DicomNodeError as error:
                why = error
                persist(lambda: self._settle(delivery, why), until=self._stop, pulse=self._pulse)
        return True

    def _renew(self, delivery: deliveries.ClaimedDelivery, at: datetime) -> None:
        with self._ledger.write() as connection:
            deliveries.renew(connection, delivery.claim, now=at, lease_s=self._settings.lease_s)

    def _do(self, delivery: deliveries.ClaimedDelivery, peer: Peer) -> None:
        waiting = [item for item in delivery.items if item.waits]
        if waiting and delivery.phase == "store":
            self._send(delivery, peer, waiting)
        if peer.storage_commitment:
            if delivery.phase == "commit" and not self._is_young(delivery, utc_now()):
                raise PeerRefused(
                    f"{peer.name} took the objects and has not committed them within {self._settings.max_age_h:g} h "
                    "(PS3.4 J.3); if it offers no storage commitment, say so in its [peers] entry"
                )
            self._asking.ask(delivery, peer)
            return
        self._write(lambda connection: deliveries.complete(connection, delivery, now=utc_now()))
        log.info("delivery_completed", delivery=delivery.delivery_id, peer=peer.name, study_uid=delivery.study_uid)

    def _send(
        self, delivery: deliveries.ClaimedDelivery, peer: Peer, waiting: Sequence[deliveries.DeliveryItem]
    ) -> None:
        classes = {one.sop_instance_uid: one.sop_class_uid for item in waiting for one in item.alternatives}
        intended = {item.item_id: item.alternatives[0].sop_class_uid for item in waiting}
        with self._auditor.transfer(self._ledger, peer, delivery.study_uid, intended) as taken:

            def stored(item_id: int, sop_instance_uid: str, status: int, instead: str) -> None:
                taken[item_id] = classes[sop_instance_uid]
                self._mark(delivery, item_id, sop_instance_uid, status, instead)

            deliver(
                node_ae_title=self._config.node.ae_title,
                peer=peer,
                items=[self._outgoing(item) for item in waiting],
                timeout_s=self._settings.timeout_s,
                present=[one.sop_instance_uid for one in _results(delivery)],
                stored=stored,
                not_taken=lambda item_id, reason: self._mark_not_taken(delivery, item_id, reason),
                tls=self._tls,
            )

    def _outgoing(self, item: deliveries.DeliveryItem) -> Outgoing:
        return Outgoing(
            item_id=item.item_id,
            alternatives=tuple(map(self._file, item.alternatives)),
            optional=all(one.kind in OPTIONAL for one in item.alternatives),
            closing=any(one.group.startswith(REJECTION) for one in item.alternatives),
        )

    def _file(self, result: StoredResult) -> OutgoingFile:
        return OutgoingFile(
            kind=result.kind,
            refers_to=result.refers_to,
            path=self._spool.result_path(result.path),
            sop_class_uid=result.sop_class_uid,
            sop_instance_uid=result.sop_instance_uid,
            transfer_syntax_uid=result.transfer_syntax_uid,
        )

    def _mark(
        self, delivery: deliveries.ClaimedDelivery, item_id: int, sop_instance_uid: str, status: int, instead: str
    ) -> None:
        uid, now = sop_instance_uid, utc_now()
        if self._pulse is not None:
            self._pulse.allow()
        try:
            self._write(lambda c: deliveries.mark_sent(
                c, delivery, item_id, sop_instance_uid=uid, status=status, instead=instead, now=now))
        except ClaimLost:
            self._write(lambda c: deliveries.mark_sent_after_all(
                c, delivery, item_id, sop_instance_uid=uid, status=status, now=now))
            raise
        log.info(
            "object_sent",
            delivery=delivery.delivery_id,
            peer=delivery.peer,
            sop_instance_uid=sop_instance_uid,
            status=f"0x{status:04X}",
        )

    def _mark_not_taken(self, delivery: deliveries.ClaimedDelivery, item_id: int, reason: str) -> None:
        self._write(lambda c: deliveries.mark_not_taken(c, delivery, item_id, reason=reason, now=utc_now()))
        log.warning("object_not_taken", delivery=delivery.delivery_id, peer=delivery.peer, reason=reason)

    def _write(self, change: Callable[[Connection], None]) -> None:
        """Write down what the peer has answered, however long the database is away."""
        def write() -> None:
            with self._ledger.write() as connection:
                change(connection)
        persist(write, until=self._stop, pulse=self._pulse)

    def _is_young(self, delivery: deliveries.ClaimedDelivery, now: datetime) -> bool:
        return now - delivery.created_at < timedelta(hours=self._settings.max_age_h)

    def _settle(self, delivery: deliveries.ClaimedDelivery, error: DicomNodeError) -> None:
        """Write down what became of a delivery that did not complete."""
        now = utc_now()
        young = self._is_young(delivery, now)
        log.warning("delivery_not_completed", delivery=delivery.delivery_id, peer=delivery.peer, reason=error.reason)
        with self._ledger.write() as connection:
            if self._stop.is_set() and error.verdict is Verdict.RETRY:
                deliveries.release(connection, delivery, now=now)
            elif error.verdict is Verdict.RETRY and (young or not error.spends_budget):
                deliveries.retry(
                    connection,
                    delivery,
                    now=now,
                    reason=error.reason,
                    spend=error.spends_budget,
                    run_after=self._backoff.after(delivery.claim.attempt, now),
                    away=self._backoff if isinstance(error, DeliveryError) else None,
                )
            else:
                deliveries.fail(connection, delivery, now=now, reason=error.reason)


def _results(delivery: deliveries.ClaimedDelivery) -> list[StoredResult]:
    """Return what the peer has of this analysis; a note on an earlier one is no part of it."""
    sent = [item.sent for item in delivery.items if item.sent is not None]
    return [one for one in sent if not one.group.startswith(REJECTION)]


def run(config: NodeConfig, ledger: Ledger, stop: threading.Event, pulse: Pulse | None = None) -> None:
    """Send until ``stop`` is set."""
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    spool.prepare()
    folder = config.node.data_dir / "run"
    presence = Presence(folder, "sender")
    sender = Sender(config, ledger, spool, stop, pulse)
    answering = threading.Thread(target=custody.run, args=(config, ledger, spool, stop), name="custody", daemon=True)
    answering.start()
    try:
        with Bell(folder, "sender") as bell:
            loop(sender.step, stop=stop, bell=bell, role="sender", pulse=pulse)
    finally:
        answering.join(LAST_REPORT_S)
        presence.close()
