"""A delivery that a new analysis takes away while it runs: what the peer has by then is named by its rejection note."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pynetdicom import evt

from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.node import (
    CompletionSettings,
    DeliverySettings,
    LogSettings,
    NodeConfig,
    NodeSettings,
    Peer,
    ReceiveSettings,
    RetentionSettings,
    WebSettings,
    WorkerSettings,
)
from dicomnode.encode.sr import encode_reports
from dicomnode.errors import ClaimLost
from dicomnode.ledger import jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.run.analyse import Identity
from dicomnode.run.loop import utc_now
from dicomnode.run.notices import take_back
from dicomnode.run.outbox import deliveries_for, with_notes
from dicomnode.run.sender import Sender
from dicomnode.run.storing import put
from dicomnode.spool import Spool
from tests.builders import ct_series, write_series
from tests.findings import LUNG, NODE_ID, findings, stack_of, stamp
from tests.ledger_rows import STUDY, a_closed_study, a_job, a_snapshot, claim_job

SHAPE = (3, 8, 8)


class InterruptedPacs(ReceivingPacs):
    """A PACS in whose first C-STORE something else happens before it answers."""

    def __init__(self, folder: Path, meanwhile: Callable[[], object]) -> None:
        super().__init__(folder)
        self._meanwhile = [meanwhile]

    def _store(self, event: evt.Event) -> int:
        status = super()._store(event)
        while self._meanwhile:
            self._meanwhile.pop()()
        return status


def a_node(folder: Path, peer: Peer) -> NodeConfig:
    return NodeConfig(
        path=folder / "node.toml", node=NodeSettings(data_dir=folder / "data"), receive=ReceiveSettings(),
        completion=CompletionSettings(), worker=WorkerSettings(), delivery=DeliverySettings(),
        retention=RetentionSettings(), web=WebSettings(), log=LogSettings(), peers={peer.name: peer}, routes=())


def reports_of(series) -> tuple[EncodedObject, ...]:
    """Two reports: volumes, and that no nodule was found."""
    found = findings(stack_of(series), np.full(SHAPE, LUNG.value, np.uint8))
    return encode_reports([found], {found.stack.series_uid: series}, stamp())


def supersede(ledger: Ledger) -> None:
    with ledger.write() as c:
        jobs.supersede(c, study_uid=STUDY, route="chest", now=utc_now())


def complete(ledger: Ledger, config: NodeConfig, spool: Spool, objects, notes) -> None:
    job = claim_job(ledger, now=utc_now())
    folder = spool.result_folder(job.job_id, job.claim.token)
    with ledger.write() as c:
        jobs.complete(
            c, job, results=[put(spool, folder, one) for one in (*objects, *notes.values())], now=utc_now(), data={},
            deliveries=with_notes(deliveries_for(["pacs"], config.peers, objects), notes))


def test_the_note_names_what_the_peer_took_while_its_delivery_was_taken_away(sqlite_ledger, tmp_path):
    series = ct_series(np.zeros(SHAPE))
    with InterruptedPacs(tmp_path / "pacs", lambda: supersede(sqlite_ledger)) as pacs:
        config = a_node(tmp_path, Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=pacs.port,
                                       rejection_notes=True))
        spool = Spool(config.spool_dir, min_free_bytes=0)
        spool.prepare()
        sender = Sender(config, sqlite_ledger, spool, threading.Event())
        a_closed_study(sqlite_ledger)
        a_job(sqlite_ledger)
        complete(sqlite_ledger, config, spool, reports_of(series), {})
        with pytest.raises(ClaimLost):
            sender.step(utc_now())
        (taken,) = [one.sop_instance_uid for one in pacs.received]

        successor = a_job(sqlite_ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",), predecessors=(taken,)))
        with sqlite_ledger.read() as c:
            left = jobs.left_at(c, study_uid=STUDY, route="chest", before=successor, peer="pacs")
        identity = Identity(node_id=NODE_ID, job_key="successor", predecessors=(taken,))
        notes = take_back({"pacs": left}, write_series(tmp_path / "ct", series), identity, clock=utc_now)
        complete(sqlite_ledger, config, spool, (), notes)
        assert sender.step(utc_now())
        note = dcmread(pacs.received[-1].path)
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    (evidence,) = note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert [one.ReferencedSOPInstanceUID for one in evidence.ReferencedSOPSequence] == [taken]
    assert evidence.SeriesInstanceUID == dcmread(pacs.received[0].path).SeriesInstanceUID


def test_a_peer_that_was_sent_nothing_gets_no_note(tmp_path):
    identity = Identity(node_id=NODE_ID, job_key="successor")
    assert take_back({"pacs": ()}, write_series(tmp_path / "ct", ct_series(np.zeros(SHAPE))), identity,
                     clock=utc_now) == {}
