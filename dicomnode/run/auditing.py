"""The audit trail's conductor: what the roles do becomes messages of PS3.15 A.5, durable, and no role waits for more.

A message that cannot be written down is an error in the log and stops nothing: images and results go before.
"""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dicomnode import logs
from dicomnode.audit import Application, Forwarder, Node, Notes, Queue, events, sinks_of
from dicomnode.audit.notes import Noted
from dicomnode.audit.queue import Backlog
from dicomnode.audit.sinks import SinkAwayError
from dicomnode.crowds import Callers
from dicomnode.domain.audit import AuditedStudy
from dicomnode.domain.node import NodeConfig, Peer
from dicomnode.domain.study import InstanceRecord
from dicomnode.errors import DicomNodeError
from dicomnode.run.loop import utc_now
from dicomnode.spool import Spool

if TYPE_CHECKING:
    from dicomnode.ledger.engine import Ledger

ACTION_OF: Final = {"new": "C", "identical": "R", "demographics": "U", "conflict": "U"}
"""What an arrival was to the index → EventActionCode (PS3.15 A.5.3.7)."""

log = logs.get("run")


def folder(config: NodeConfig) -> Path:
    """Where messages wait."""
    return config.node.data_dir / "audit"


def forwarder(config: NodeConfig) -> Forwarder:
    """What takes the messages to their file and server; one in all processes."""
    return Forwarder(folder(config), sinks_of(config.audit))


def backlog(config: NodeConfig, now: datetime) -> tuple[Backlog, ...]:
    """How much waits for each sink; raises OSError where the disk does."""
    return tuple(Queue(folder(config), sink).backlog(now.timestamp()) for sink in sinks_of(config.audit))


def tried(config: NodeConfig) -> Iterator[tuple[str, str]]:
    """Yield each sink that is configured, and why it takes no messages now; empty where it does. Sends none."""
    for name, sink in sinks_of(config.audit).items():
        try:
            sink.take(())
        except SinkAwayError as error:
            yield name, str(error)
        else:
            yield name, ""


class Auditor:
    """Tells the audit trail; raises nothing. Where no sink is configured, it does nothing at all."""

    def __init__(self, config: NodeConfig) -> None:
        self._us = Application(ae_title=config.node.ae_title, host=socket.gethostname(), pid=os.getpid())
        self._queues = [Queue(folder(config), sink) for sink in sinks_of(config.audit)]
        self._notes = Notes(folder(config))
        self._callers = Callers()

    @property
    def wanted(self) -> bool:
        """Whether anything is told."""
        return bool(self._queues)

    def started(self, role: str) -> None:
        """The node, or a role that runs alone, works from now on."""
        self._tell(events.started(self._us, at=utc_now(), role=role))

    def stopped(self, role: str) -> None:
        """It has ended as it was told to."""
        self._tell(events.stopped(self._us, at=utc_now(), role=role))

    def refused(self, *, address: str, calling: str, reason: str) -> None:
        """An association, or the connection before it, was refused."""
        words = self._callers.hear(address, reason, time.monotonic()) if self.wanted else None
        if words:
            self._tell(events.refused(self._us, Node(ae_title=calling, address=address), at=utc_now(), reason=words))

    def close(self) -> None:
        """Tell of the refusals that were only counted."""
        for address, words in self._callers.untold():
            self._tell(events.refused(self._us, Node(ae_title="", address=address), at=utc_now(), reason=words))

    def note(self, came: Mapping[str, Sequence[tuple[str, InstanceRecord, str]]]) -> None:
        """Images were indexed: association → name of the arrival, record, and what it was to the index."""
        if not self.wanted:
            return
        for association, images in came.items():
            try:
                self._notes.add(association, [_noted(*image) for image in images])
            except OSError as error:
                _not_written("notes", error)

    def tell_received(self, spool: Spool) -> int:
        """Tell of the associations that are over and wholly indexed, one message for each study; return how many."""
        if not self.wanted:
            return 0
        told = 0
        try:
            if not self._notes.any():
                return 0
            open_now = spool.open_associations()
            going_on = open_now | {arrival.association for arrival in spool.arrivals()}
            for came in self._notes.finished(going_on):
                told += 1
                self._tell(events.received(self._us, came.sender, came.study, at=utc_now(), action=came.action))
                self._notes.told(came)
        except (OSError, DicomNodeError) as error:
            _not_written("notes", error)
        return told

    @contextmanager
    def transfer(
        self, ledger: Ledger, peer: Peer, study_uid: str, to_send: Mapping[int, str]
    ) -> Iterator[dict[int, str]]:
        """Tell that results leave, and afterwards what was taken and what was not.

        Parameters
        ----------
        to_send:
            Item → SOP Class UID of its first form.

        Yields
        ------
        dict
            Where the caller writes down each item that the peer took, with the SOP Class UID of the form that it took.
        """
        taken: dict[int, str] = {}
        study = self._study(ledger, study_uid) if to_send else None
        if study is None:
            yield taken
            return
        receiver = Node(ae_title=peer.ae_title, address=peer.host)
        whole = replace(study, instances=Counter(to_send.values()))
        self._tell(events.sending(self._us, receiver, whole, at=utc_now()))
        because = "the peer did not take them"
        try:
            yield taken
        except DicomNodeError as error:
            because = error.reason
            raise
        finally:
            done = Counter(taken.values())
            left = Counter(sop_class for item, sop_class in to_send.items() if item not in taken)
            if done:
                self._tell(events.sent(self._us, receiver, replace(study, instances=done), at=utc_now()))
            if left:
                self._tell(events.sent(self._us, receiver, replace(study, instances=left), at=utc_now(),
                                       because=because))

    def accessed(self, ledger: Ledger, study_uid: str) -> None:
        """The images of a study were read and analysed."""
        study = self._study(ledger, study_uid)
        if study is not None:
            self._tell(events.accessed(self._us, study, at=utc_now()))

    def deleted(self, ledger: Ledger, study_uid: str, because: str) -> None:
        """The files of a study are gone."""
        study = self._study(ledger, study_uid)
        if study is not None:
            self._tell(events.deleted(self._us, study, at=utc_now(), because=because))

    def _study(self, ledger: Ledger, study_uid: str) -> AuditedStudy | None:
        if not self.wanted:
            return None
        from dicomnode.ledger import patients  # the receiver audits too, and needs no database

        try:
            with ledger.read() as connection:
                return patients.audited_study(connection, study_uid)
        except DicomNodeError as error:
            log.warning("audit_without_patient", study_uid=study_uid, reason=error.reason)
            return AuditedStudy(study_uid=study_uid)

    def _tell(self, message: bytes) -> None:
        for queue in self._queues:
            try:
                queue.put(message)
            except OSError as error:
                _not_written(queue.name, error)


@contextmanager
def activity(config: NodeConfig, role: str) -> Iterator[None]:
    """Tell that the node starts and stops; of a role that the node itself has started, nothing."""
    if os.environ.get("DICOMNODE_PARENT"):
        yield
        return
    auditor = Auditor(config)
    auditor.started(role)
    yield
    auditor.stopped(role)


def _not_written(where: str, error: Exception) -> None:
    log.error("audit_not_written", sink=where, reason=str(error))


def _noted(arrival: str, record: InstanceRecord, what: str) -> Noted:
    return Noted(
        arrival=arrival,
        sop_class_uid=record.sop_class_uid,
        action=ACTION_OF[what],
        sender=Node(ae_title=record.source_ae_title, address=record.source_address),
        study=AuditedStudy.of(record.study_uid, record.attributes, {}),
    )
