"""Arrivals become rows over a real spool and a real SQLite ledger: nothing acknowledged is lost on the way."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicomnode.config import load
from dicomnode.domain.job import Snapshot, StoredResult
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import MissingInput
from dicomnode.ledger import census, jobs, studies
from dicomnode.read import header
from dicomnode.run.indexing import Indexer
from dicomnode.run.inputs import Inputs
from dicomnode.spool import Spool
from tests.builders import ct_series, write_file

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def config(tmp_path) -> NodeConfig:
    path = tmp_path / "node.toml"
    path.write_text('[node]\ndata_dir = "data"\n[peers.old]\nae_title = "OLDCT"\ncharset_fallback = "GB18030"\n')
    return load(path, environ={})


@pytest.fixture
def spool(config) -> Spool:
    made = Spool(config.spool_dir, min_free_bytes=0)
    made.prepare()
    return made


@pytest.fixture
def indexer(config, spool, sqlite_ledger) -> Indexer:
    return Indexer(config, spool, sqlite_ledger)


def slices(**attributes: object) -> list[Dataset]:
    return ct_series(np.zeros((4, 8, 8), np.int16), **attributes)


def arrive(spool: Spool, images: list[Dataset], association: str = "a1") -> list[Path]:
    arrived = []
    with spool.open_association(association) as folder:
        for image in images:
            scratch = spool.root / "tmp" / "scratch.dcm"
            write_file(scratch, image)
            arrived.append(folder.put([scratch.read_bytes()]))
            scratch.unlink()
    return arrived


def instances(ledger, uid: str) -> int:
    with ledger.read() as connection:
        return census.study(connection, uid)["instances"]


def kinds(ledger, uid: str) -> list[str]:
    with ledger.read() as connection:
        return [row["kind"] for row in census.timeline(connection, uid)]


def test_what_arrived_lies_in_the_store_byte_for_byte_and_its_arrival_is_gone(indexer, spool, sqlite_ledger):
    images = slices()
    before = {path.read_bytes() for path in arrive(spool, images)}
    assert indexer.step(NOW) == 4
    assert {path.read_bytes() for path in (spool.root / "store").rglob("*.dcm")} == before
    assert not list(spool.arrivals())
    assert instances(sqlite_ledger, images[0].StudyInstanceUID) == 4


def test_a_crash_after_the_commit_indexes_the_same_arrivals_again_without_a_second_copy(
    indexer, spool, sqlite_ledger, monkeypatch,
):
    images = slices()
    arrive(spool, images)
    monkeypatch.setattr(spool, "unlink_arrival", lambda _path: None)
    indexer.step(NOW)
    monkeypatch.undo()
    indexer.step(NOW)
    assert instances(sqlite_ledger, images[0].StudyInstanceUID) == 4
    assert len(list((spool.root / "store").rglob("*.dcm"))) == 4
    assert not list(spool.arrivals())


def test_a_resend_changes_nothing_and_leaves_the_study_closed(indexer, spool, sqlite_ledger):
    images = slices()
    uid = images[0].StudyInstanceUID
    arrive(spool, images)
    indexer.step(NOW)
    with sqlite_ledger.write() as connection:
        (study,) = studies.open_studies(connection)
        assert studies.close(connection, study, now=NOW)
    arrive(spool, images, "a2")
    indexer.step(NOW + timedelta(minutes=1))
    with sqlite_ledger.read() as connection:
        assert studies.open_studies(connection) == []
    assert instances(sqlite_ledger, uid) == 4


def test_other_pixels_under_the_same_uid_keep_both_copies_and_mark_the_conflict(indexer, spool, sqlite_ledger):
    images = slices()
    arrive(spool, images)
    indexer.step(NOW)
    changed = slices()[:1]
    changed[0].PixelData = b"\1" * len(changed[0].PixelData)
    arrive(spool, changed, "a2")
    indexer.step(NOW)
    with sqlite_ledger.read() as connection:
        record = studies.study_record(connection, images[0].StudyInstanceUID)
    assert record.conflicts == (images[0].SOPInstanceUID,)
    assert len(list((spool.root / "store").rglob("*.dcm"))) == 5


def test_corrected_demographics_keep_both_copies_and_the_newest_are_used(indexer, spool, sqlite_ledger):
    arrive(spool, slices())
    indexer.step(NOW)
    corrected = slices(PatientName="Corrected^Name")
    arrive(spool, corrected, "a2")
    indexer.step(NOW)
    with sqlite_ledger.read() as connection:
        record = studies.study_record(connection, corrected[0].StudyInstanceUID)
    assert record.conflicts == ()
    assert {i.text("PatientName") for s in record.series for i in s.instances} == {"Corrected^Name"}


def test_a_file_that_no_row_names_does_not_stand_in_the_way(indexer, spool, sqlite_ledger):
    images = slices()
    arrive(spool, images)
    (first,) = [a for a in spool.arrivals() if a.path.read_bytes().find(images[0].SOPInstanceUID.encode()) > 0][:1]
    stray = spool.store_path(header.store_path(header.record(first.path)))
    stray.parent.mkdir(parents=True)
    stray.write_bytes(b"left by retention, its row forgotten")
    indexer.step(NOW)
    assert instances(sqlite_ledger, images[0].StudyInstanceUID) == 4
    assert stray.read_bytes() == b"left by retention, its row forgotten"
    assert not list(spool.arrivals())


def test_what_cannot_be_indexed_goes_to_quarantine_with_its_reason_and_an_event(indexer, spool, sqlite_ledger):
    with spool.open_association("a1") as folder:
        folder.put([os.urandom(500)])
    indexer.step(NOW)
    assert spool.quarantined() == 1
    (reason,) = (spool.root / "quarantine").glob("*.reason.txt")
    assert "CannotUnderstand" in reason.read_text()
    with sqlite_ledger.read() as connection:
        assert census.status(connection, now=NOW)["quarantined"] == 1


def test_a_name_without_character_set_is_read_with_the_peers_fallback(indexer, spool, sqlite_ledger):
    images = slices(SpecificCharacterSet=None, PatientName=None)
    scratch = spool.root / "tmp" / "scratch.dcm"
    with spool.open_association("a1") as folder:
        for image in images:
            image.add_new("PatientName", "PN", "王^小东".encode("gb18030"))
            written = dcmread(write_file(scratch, image))
            written.file_meta.SourceApplicationEntityTitle = "OLDCT"
            written.save_as(scratch)
            folder.put([scratch.read_bytes()])
    indexer.step(NOW)
    with sqlite_ledger.read() as connection:
        record = studies.study_record(connection, images[0].StudyInstanceUID)
    assert {i.text("PatientName") for s in record.series for i in s.instances} == {"王^小东"}


def test_a_result_of_this_node_that_comes_back_reopens_nothing(indexer, spool, sqlite_ledger):
    images = slices()
    uid = images[0].StudyInstanceUID
    arrive(spool, images)
    indexer.step(NOW)
    with sqlite_ledger.write() as connection:
        (study,) = studies.open_studies(connection)
        studies.close(connection, study, now=NOW)
    own = slices(Manufacturer="dicomnode", ManufacturerModelName="dicomnode", SOPInstanceUID="2.25.99")[:1]
    arrive(spool, own, "a2")
    indexer.step(NOW)
    assert "own_output_returned" in kinds(sqlite_ledger, uid)
    with sqlite_ledger.read() as connection:
        assert studies.open_studies(connection) == []


def test_an_image_with_the_uid_of_a_stored_result_is_our_own_whatever_its_maker_says(indexer, spool, sqlite_ledger):
    arrive(spool, slices())
    indexer.step(NOW)
    with sqlite_ledger.read() as connection:
        (study,) = studies.open_studies(connection)
    with sqlite_ledger.write() as connection:
        snapshot = Snapshot(route="r", to=())
        jobs.create(connection, study_uid=study.study_uid, kind="notice", revision=0, snapshot=snapshot, priority=1,
                    now=NOW)
        job = jobs.claim(connection, now=NOW, lease_s=60, owner="t", digests=frozenset())
        assert job is not None
        result = StoredResult(
            kind="SEG", group="seg", sop_class_uid="1.2.840.10008.5.1.4.1.1.66.4", sop_instance_uid="2.25.98",
            series_uid="2.25.97", transfer_syntax_uid="1.2.840.10008.1.2.1", path="1/t/x.dcm", size_bytes=1,
            sha256="0" * 64)
        jobs.complete(connection, job, results=[result], deliveries=[], now=NOW, data={})
    arrive(spool, slices(SOPInstanceUID="2.25.98")[:1], "a2")
    indexer.step(NOW)
    assert instances(sqlite_ledger, study.study_uid) == 4
    assert "own_output_returned" in kinds(sqlite_ledger, study.study_uid)


def test_images_that_left_the_store_before_their_job_ran_are_refused_by_number(indexer, spool, sqlite_ledger):
    images = slices()
    arrive(spool, images)
    indexer.step(NOW)
    inputs = Inputs(sqlite_ledger, spool, {})
    study, uids = images[0].StudyInstanceUID, [image.SOPInstanceUID for image in images]
    assert all(path.is_file() for path in inputs.paths(study, uids))
    with pytest.raises(MissingInput, match="2 of 6 images are no longer in the store"):
        inputs.paths(study, [*uids, "2.25.1", "2.25.2"])
