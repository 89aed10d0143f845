"""Rows for ledger tests: short calls that make valid studies, jobs and deliveries."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import PurePosixPath
from typing import Any

from dicomnode.domain.dicom import BASIC_TEXT_SR_STORAGE, CT_IMAGE_STORAGE, SEGMENTATION_STORAGE
from dicomnode.domain.job import ModelSnapshot, NewDelivery, Snapshot, StoredResult
from dicomnode.domain.study import BoundSeries, InstanceRecord, ModelBinding
from dicomnode.domain.work import Backoff
from dicomnode.ledger import deliveries, jobs, studies
from dicomnode.ledger.engine import Ledger

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
STUDY = "1.2.3"
DIGEST = "sha256:" + "a" * 64
DIGESTS = frozenset({DIGEST})
BACKOFF = Backoff(first_s=15, most_s=900)
NEVER_MIND = timedelta(hours=72)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def an_instance(number: int = 1, *, study: str = STUDY, content: str = "c", geometry: str = "g", pixels: str = "p",
                syntax: str = EXPLICIT_LITTLE, copy: int = 0, at: datetime = NOW, **attributes: str) -> InstanceRecord:
    """Instance ``number``; equal arguments make an identical instance."""
    uid = f"{study}.1.{number}"
    known = {"Modality": "CT", "PatientName": "王^小明", "InstanceNumber": str(number)} | attributes
    return InstanceRecord(
        study_uid=study, series_uid=f"{study}.1", sop_instance_uid=uid, sop_class_uid=CT_IMAGE_STORAGE,
        transfer_syntax_uid=syntax, attributes={key: (value,) for key, value in known.items()},
        content_digest=digest(f"{uid}{content}"), geometry_digest=digest(f"{uid}{geometry}"),
        pixel_digest=digest(f"{uid}{syntax}{pixels}"), size_bytes=530_000,
        path=str(PurePosixPath("ab", study, f"{uid}.{copy}.dcm")), source_ae_title="SCANNER", arrived_at=at)


def index(ledger: Ledger, *records: InstanceRecord, now: datetime = NOW) -> list[str]:
    with ledger.write() as c:
        return [outcome.what for outcome in studies.record_instances(c, records, now=now)]


def close(ledger: Ledger, *, study: str = STUDY, now: datetime = NOW) -> bool:
    with ledger.write() as c:
        found = [one for one in studies.open_studies(c) if one.study_uid == study]
        return studies.close(c, found[0], now=now)


def a_closed_study(ledger: Ledger, *, study: str = STUDY, instances: int = 2, now: datetime = NOW) -> None:
    index(ledger, *(an_instance(n + 1, study=study, at=now) for n in range(instances)), now=now)
    close(ledger, study=study, now=now)


def a_snapshot(*, route: str = "chest", uids: Sequence[str] = (f"{STUDY}.1.1",), models: Sequence[str] = (DIGEST,),
               **more: Any) -> Snapshot:
    names = [f"model{n}" for n in range(len(models))]
    bound = BoundSeries(role="ct", series_uid=f"{STUDY}.1", sop_instance_uids=tuple(uids))
    return Snapshot(
        route=route, to=("pacs",),
        models=tuple(ModelSnapshot(name=name, digest=one, file_digest="f" * 64, toml=f"name = '{name}'")
                     for name, one in zip(names, models, strict=True)),
        bindings=tuple(ModelBinding(model=name, series=(bound,)) for name in names), **more)


def a_job(ledger: Ledger, *, study: str = STUDY, kind: str = "analysis", priority: int = 100, revision: int = 0,
          now: datetime = NOW, snapshot: Snapshot | None = None) -> int:
    with ledger.write() as c:
        job_id = jobs.create(c, study_uid=study, kind=kind, revision=revision, priority=priority, now=now,
                             snapshot=snapshot or a_snapshot())
    assert job_id is not None
    return job_id


def claim_job(ledger: Ledger, *, now: datetime = NOW, owner: str = "worker-1", lease_s: float = 60,
              digests: frozenset[str] = DIGESTS) -> jobs.ClaimedJob:
    with ledger.write() as c:
        job = jobs.claim(c, now=now, lease_s=lease_s, owner=owner, digests=digests)
    assert job is not None
    return job


def a_result(number: int, kind: str = "SEG", group: str = "seg") -> StoredResult:
    sop_class = SEGMENTATION_STORAGE if kind == "SEG" else BASIC_TEXT_SR_STORAGE
    return StoredResult(
        kind=kind, group=group, sop_class_uid=sop_class, sop_instance_uid=f"2.25.{number}",
        series_uid=f"2.25.9{number}", transfer_syntax_uid=EXPLICIT_LITTLE, path=f"1/t/{kind}.{number}.dcm",
        size_bytes=1000, sha256=digest(str(number)))


def complete_job(ledger: Ledger, job: jobs.ClaimedJob, *, first: int = 1, peers: Sequence[str] = ("pacs",),
                 now: datetime = NOW) -> list[str]:
    """Complete with a SEG and a report in two forms; return their UIDs."""
    made = [a_result(first), a_result(first + 1, "SR3D", "findings"), a_result(first + 2, "SR", "findings")]
    uids = [one.sop_instance_uid for one in made]
    new = [NewDelivery(peer=peer, items=[[uids[0]], uids[1:]]) for peer in peers]
    with ledger.write() as c:
        jobs.complete(c, job, results=made, deliveries=new, now=now, data={"device": "cpu"})
    return uids


def claim_delivery(ledger: Ledger, *, now: datetime = NOW, peers: Sequence[str] = ("pacs",), owner: str = "sender-1",
                   ) -> deliveries.ClaimedDelivery:
    with ledger.write() as c:
        delivery = deliveries.claim(c, now=now, lease_s=60, owner=owner, peers=frozenset(peers))
    assert delivery is not None
    return delivery


def a_claimed_delivery(ledger: Ledger, *, now: datetime = NOW) -> deliveries.ClaimedDelivery:
    """From nothing to a delivery in a sender's hands: a SEG, then a report in two forms."""
    a_closed_study(ledger, now=now)
    a_job(ledger, now=now)
    complete_job(ledger, claim_job(ledger, now=now), now=now)
    return claim_delivery(ledger, now=now)


def send_all(ledger: Ledger, delivery: deliveries.ClaimedDelivery, *, now: datetime = NOW) -> list[str]:
    """Send the first alternative of each unsent item; return the UIDs."""
    sent = []
    for item in delivery.items:
        if item.sent is None:
            uid = item.alternatives[0].sop_instance_uid
            with ledger.write() as c:
                deliveries.mark_sent(c, delivery, item.item_id, sop_instance_uid=uid, status=0, now=now)
            sent.append(uid)
    return sent
