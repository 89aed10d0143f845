"""A peer gets the form of a segmentation that it takes, and the report that refers to that form: Orthanc, both ways."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from dicomnode.domain.dicom import LABEL_MAP_SEGMENTATION_STORAGE, SEGMENTATION_STORAGE
from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.job import StoredResult
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
from dicomnode.encode.seg import encode_segs
from dicomnode.encode.sr import encode_reports
from dicomnode.ledger import census, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.run.loop import utc_now
from dicomnode.run.outbox import deliveries_for
from dicomnode.run.sender import Sender
from dicomnode.spool import Spool
from tests.builders import ct_series
from tests.findings import many_structures, stamp, voxels_of
from tests.ledger_rows import STUDY, a_closed_study, a_job, claim_job, digest
from tests.live import Orthanc

SHAPE = (5, 24, 30)
TAKES = ("LABELMAP", "SEG", "SR3D")


def a_node(folder: Path, peer: Peer) -> NodeConfig:
    return NodeConfig(
        path=folder / "node.toml", node=NodeSettings(data_dir=folder / "data"), receive=ReceiveSettings(),
        completion=CompletionSettings(), worker=WorkerSettings(), delivery=DeliverySettings(),
        retention=RetentionSettings(), web=WebSettings(), log=LogSettings(), peers={peer.name: peer}, routes=())


def stored(spool: Spool, folder: Path, one: EncodedObject) -> StoredResult:
    return StoredResult(
        kind=one.kind, group=one.group, sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid,
        series_uid=one.series_uid, transfer_syntax_uid=one.transfer_syntax_uid, size_bytes=len(one.payload),
        path=spool.put_result(folder, f"{one.sop_instance_uid}.dcm", one.payload), sha256=digest(one.kind),
        refers_to=one.refers_to)


@pytest.mark.parametrize("takes_label_maps", [False, True])
def test_orthanc_gets_the_form_that_it_takes_and_the_report_on_it(sqlite_ledger, tmp_path, takes_label_maps):
    series = ct_series(np.zeros(SHAPE))
    found = many_structures(30, series, SHAPE)
    options = {"UnknownSopClassAccepted": True} if takes_label_maps else {}
    with Orthanc(tmp_path / "orthanc", node_port=1, **options) as orthanc:
        peer = Peer(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port, takes=TAKES)
        sources = {found.stack.series_uid: series}
        segs = encode_segs([found], sources, stamp(), frozenset(TAKES))
        objects = (*segs, *encode_reports([found], sources, stamp(), segs))
        story = delivered(sqlite_ledger, a_node(tmp_path, peer), objects)
        masks = [dcmread(orthanc.download(one, tmp_path / one)) for one in orthanc.instances("SEG")]
        (report,) = [dcmread(orthanc.download(one, tmp_path / one)) for one in orthanc.instances("SR")]
    evidence = {ref.ReferencedSOPInstanceUID for study in report.CurrentRequestedProcedureEvidenceSequence
                for one in study.ReferencedSeriesSequence for ref in one.ReferencedSOPSequence}
    assert {mask.SOPInstanceUID for mask in masks} <= evidence, "the report refers to what Orthanc has"
    assert not evidence & ({one.sop_instance_uid for one in segs} - {mask.SOPInstanceUID for mask in masks})
    if takes_label_maps:
        assert [mask.SOPClassUID for mask in masks] == [LABEL_MAP_SEGMENTATION_STORAGE]
        payload = (tmp_path / "data" / "spool" / "results").rglob(f"{masks[0].SOPInstanceUID}.dcm")
        np.testing.assert_array_equal(voxels_of(next(payload).read_bytes(), found.stack), found.segmentation.mask_zyx)
        assert masks[0].pixel_array.tobytes() == dcmread(next(iter(
            (tmp_path / "data").rglob(f"{masks[0].SOPInstanceUID}.dcm")))).pixel_array.tobytes()
    else:
        assert {mask.SOPClassUID for mask in masks} == {SEGMENTATION_STORAGE}
        assert len(masks) == 2
        assert sum(f"instead of LABELMAP {LABEL_MAP_SEGMENTATION_STORAGE}: no presentation context" in text
                   for text in story) == 2


def delivered(ledger: Ledger, config: NodeConfig, objects: tuple[EncodedObject, ...]) -> list[str]:
    """Complete a job with these objects and send them as the node does; return what the study's timeline says."""
    spool = Spool(config.spool_dir, min_free_bytes=0)
    spool.prepare()
    a_closed_study(ledger)
    a_job(ledger)
    job = claim_job(ledger)
    folder = spool.result_folder(job.job_id, job.claim.token)
    with ledger.write() as c:
        jobs.complete(c, job, results=[stored(spool, folder, one) for one in objects], now=utc_now(), data={},
                      deliveries=deliveries_for(["pacs"], config.peers, objects))
    assert Sender(config, ledger, spool, threading.Event()).step(utc_now())
    with ledger.read() as c:
        (done,) = census.deliveries(c, limit=9)
        assert (done["state"], done["sent"]) == ("completed", done["items"])
        return [one["text"] for one in census.story(c, STUDY)]
