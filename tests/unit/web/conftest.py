"""A node's ledger, spool and living roles as an evening in a hospital leaves them; every patient attribute is set."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicomnode.domain import node
from dicomnode.domain.job import ANALYSIS, ModelSnapshot, NewDelivery, Snapshot, StoredResult
from dicomnode.domain.study import INDEXED_KEYWORDS, InstanceRecord
from dicomnode.ledger import deliveries, events, jobs, studies
from dicomnode.ledger.engine import Ledger
from dicomnode.run.presence import Presence
from dicomnode.spool import Spool
from dicomnode.web.app import Site, application

NOW = datetime(2026, 3, 14, 21, 40, tzinfo=UTC)
PATIENT = "UNMISTAKABLE"
"""Stands in every attribute of every image that could tell of a patient."""
DIGEST = "sha256:" + "5" * 64
SEG, SR3D, CT = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.34", "1.2.840.10008.5.1.4.1.1.2"
EXPLICIT = "1.2.840.10008.1.2.1"
ROLES = ("receiver", "keeper", "worker", "sender")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    text: str


@dataclass
class Ward:
    """One node with a real ledger and a real spool, and hands to fill them."""

    config: node.NodeConfig
    ledger: Ledger
    spool: Spool
    present: ExitStack
    clock: list[datetime] = field(default_factory=lambda: [NOW])

    @property
    def now(self) -> datetime:
        return self.clock[0]

    def ago(self, **units: float) -> datetime:
        return self.now - timedelta(**units)

    def start(self, *roles: str) -> None:
        for role in roles:
            self.present.callback(Presence(self.config.node.data_dir / "run", role).close)

    def arrive(self, study_uid: str, images: int, at: datetime, *, modality: str = "CT", sender: str = "CT_SIEMENS_1"):
        attributes = {keyword: (f"{PATIENT}^{keyword}",) for keyword in INDEXED_KEYWORDS}
        attributes |= {"Modality": (modality,), "Rows": ("512",), "Columns": ("512",)}
        records = [
            InstanceRecord(
                study_uid=study_uid, series_uid=f"{study_uid}.2", sop_instance_uid=f"{study_uid}.2.{n + 1}",
                sop_class_uid=CT, transfer_syntax_uid=EXPLICIT, attributes=attributes, geometry_digest=f"g{n}",
                content_digest=hashlib.sha256(f"{study_uid}{n}".encode()).hexdigest(), pixel_digest=f"p{n}",
                size_bytes=526_000, path=f"{study_uid}/{n}.dcm", source_ae_title=sender, arrived_at=at,
            )
            for n in range(images)
        ]
        with self.ledger.write() as c:
            studies.record_instances(c, records, now=at)

    def close(self, study_uid: str, at: datetime) -> None:
        with self.ledger.write() as c:
            found = next(one for one in studies.open_studies(c) if one.study_uid == study_uid)
            assert studies.close(c, found, now=at)
            events.record(c, at=at, kind="study_complete", study_uid=study_uid, text="quiet for 30 s")

    def job(self, study_uid: str, at: datetime, *, route: str = "chest-ct") -> None:
        model = ModelSnapshot(name="demo_chest", digest=DIGEST, file_digest="f", toml="")
        snapshot = Snapshot(route=route, to=("pacs",), models=(model,))
        with self.ledger.write() as c:
            assert jobs.create(c, study_uid=study_uid, kind=ANALYSIS, revision=0, snapshot=snapshot, priority=100,
                               now=at)

    def study(self, study_uid: str, images: int, arrived_at: datetime, at: datetime, *, sender: str = "CT_SIEMENS_1"):
        """A whole study with its job, made at ``at``."""
        self.arrive(study_uid, images, arrived_at, sender=sender)
        self.close(study_uid, at)
        self.job(study_uid, at)

    def claim(self, at: datetime) -> jobs.ClaimedJob:
        with self.ledger.write() as c:
            claimed = jobs.claim(c, now=at, lease_s=86400, owner="node1:4711", digests=frozenset({DIGEST}))
        assert claimed is not None
        return claimed

    def complete(self, claimed: jobs.ClaimedJob, at: datetime, *, peers: tuple[str, ...] = ("pacs",)) -> None:
        results = [
            StoredResult(kind=kind, group=group, sop_class_uid=sop_class, sop_instance_uid=f"2.25.{claimed.job_id}0{n}",
                         series_uid=f"2.25.{claimed.job_id}", transfer_syntax_uid=EXPLICIT,
                         path=f"{claimed.job_id}/{n}", size_bytes=4096, sha256="0" * 64)
            for n, (kind, group, sop_class) in enumerate((("SEG", "seg", SEG), ("SR3D", "findings", SR3D)))
        ]
        items = [[one.sop_instance_uid] for one in results]
        figures = {"seconds": {"read": 1.204, "load": 0.0, "preprocess": 0.911, "inference": 3.874, "encode": 0.42},
                   "peak_mb": 960, "device": "cpu", "notes": []}
        with self.ledger.write() as c:
            jobs.complete(c, claimed, results=results, now=at, data=figures,
                          deliveries=[NewDelivery(peer=peer, items=items) for peer in peers])

    def fail(self, claimed: jobs.ClaimedJob, at: datetime, reason: str) -> None:
        with self.ledger.write() as c:
            jobs.fail(c, claimed, now=at, reason=reason)

    def take(self, peer: str, at: datetime) -> deliveries.ClaimedDelivery:
        with self.ledger.write() as c:
            taken = deliveries.claim(c, now=at, lease_s=86400, owner="node1:4712", peers=frozenset({peer}))
        assert taken is not None
        return taken

    def deliver(self, peer: str, at: datetime) -> None:
        taken = self.take(peer, at)
        with self.ledger.write() as c:
            for item in taken.items:
                deliveries.mark_sent(c, taken, item.item_id, status=0, now=at,
                                     sop_instance_uid=item.alternatives[0].sop_instance_uid)
            deliveries.complete(c, taken, now=at)

    def refuse(self, peer: str, at: datetime, reason: str, *, again: datetime | None = None) -> None:
        taken = self.take(peer, at)
        with self.ledger.write() as c:
            if again is None:
                deliveries.fail(c, taken, now=at, reason=reason)
            else:
                deliveries.retry(c, taken, now=at, run_after=again, reason=reason, spend=True)

    def quarantine(self, name: str, at: datetime) -> None:
        with self.spool.open_association(name) as folder:
            arrival = folder.put([f"{PATIENT}^QUARANTINED".encode()])
        self.spool.quarantine(arrival, "CannotUnderstand: element (0010,0010) ends after the data set")
        with self.ledger.write() as c:
            events.record(c, at=at, kind=events.INSTANCE_QUARANTINED, text="CannotUnderstand")

    def get(self, path: str, *, method: str = "GET", accept: str = "*/*") -> Answer:
        """Ask the real application, without a socket."""
        site = Site(self.config, self.ledger, clock=lambda: self.now)
        return asyncio.run(_ask(application(site), path, method, accept))


async def _ask(app, path: str, method: str, accept: str) -> Answer:
    sent: list[dict] = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method, "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"host", b"node"), (b"accept", accept.encode())], "server": ("node", 80), "client": ("there", 1),
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in sent[1:])
    headers = {key.decode(): value.decode() for key, value in sent[0]["headers"]}
    return Answer(sent[0]["status"], headers, body.decode())


def configured(folder: Path, **tables: object) -> node.NodeConfig:
    parts = {
        "node": node.NodeSettings(data_dir=folder / "data"), "receive": node.ReceiveSettings(min_free_gb=0.001),
        "completion": node.CompletionSettings(), "worker": node.WorkerSettings(), "delivery": node.DeliverySettings(),
        "retention": node.RetentionSettings(), "web": node.WebSettings(port=0), "log": node.LogSettings(),
        "peers": {"pacs": node.Peer(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=4242)}, "routes": (),
    }
    return node.NodeConfig(path=folder / "node.toml", **(parts | tables))


@pytest.fixture(scope="session")
def empty_data(tmp_path_factory):
    """A migrated ledger and a prepared spool, to be copied."""
    folder = tmp_path_factory.mktemp("empty")
    with opened(folder) as ward:
        ward.ledger.upgrade()
        ward.spool.prepare()
    return folder / "data"


@pytest.fixture(scope="session")
def evening_data(empty_data, tmp_path_factory):
    """Every outcome at once, to be copied."""
    folder = tmp_path_factory.mktemp("evening")
    shutil.copytree(empty_data, folder / "data")
    with opened(folder) as ward:
        fill(ward)
    return folder / "data"


@pytest.fixture
def ward(empty_data, tmp_path):
    """An empty node: its ledger is migrated, its spool made, no role lives."""
    shutil.copytree(empty_data, tmp_path / "data")
    with opened(tmp_path) as ward:
        yield ward


@pytest.fixture
def evening(evening_data, tmp_path):
    """A node with studies of every outcome; every role lives."""
    shutil.copytree(evening_data, tmp_path / "data")
    with opened(tmp_path) as ward:
        ward.start(*ROLES)
        yield ward


@contextmanager
def opened(folder: Path):
    config = configured(folder)
    ledger = Ledger(config.database_url)
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    with ExitStack() as present:
        yield Ward(config, ledger, spool, present)
    ledger.dispose()


def study_uid(number: int) -> str:
    return f"1.3.12.2.1107.5.1.4.66038.3000002603140756{number:05d}000000{number:03d}"


def fill(ward: Ward) -> None:
    u = study_uid
    ward.study(u(1), 300, ward.ago(minutes=58), ward.ago(minutes=57))  # analysed
    ward.complete(ward.claim(ward.ago(minutes=57)), ward.ago(minutes=56, seconds=53))
    ward.deliver("pacs", ward.ago(minutes=56, seconds=52))
    ward.arrive(u(2), 1, ward.ago(minutes=50), modality="DX", sender="DX_ROOM_4")  # not applicable
    ward.close(u(2), ward.ago(minutes=49))
    ward.arrive(u(3), 118, ward.ago(minutes=44), sender="CT_GE_2")  # not analysed, refused at matching
    ward.close(u(3), ward.ago(minutes=43))
    gap = "MissingSlices: gap of 7.0 mm after slice 12 where 4.0 mm is the spacing"
    with ward.ledger.write() as c:
        events.record(c, at=ward.ago(minutes=43), kind=events.ROUTE_REFUSED, study_uid=u(3), text=gap,
                      data={"route": "chest-ct"})
    ward.study(u(4), 240, ward.ago(minutes=30), ward.ago(minutes=29), sender="CT_GE_2")  # failed: our fault
    ward.fail(ward.claim(ward.ago(minutes=28)), ward.ago(minutes=27), "ModelProcessDied: signal 11 after 41 s")
    ward.study(u(5), 300, ward.ago(minutes=21), ward.ago(minutes=20))  # undelivered
    ward.complete(ward.claim(ward.ago(minutes=20)), ward.ago(minutes=19), peers=("archive",))
    ward.refuse("archive", ward.ago(minutes=18), "PeerRefused: archive answered 0x0122 (SOP Class not supported)")
    ward.study(u(6), 412, ward.ago(minutes=12), ward.ago(minutes=11))  # delivering, its peer is away
    ward.complete(ward.claim(ward.ago(minutes=11)), ward.ago(minutes=10))
    ward.refuse("pacs", ward.ago(minutes=2), "PeerUnreachable: 127.0.0.1:4242 refuses the connection",
                again=ward.now + timedelta(seconds=95))
    ward.study(u(7), 290, ward.ago(minutes=3), ward.ago(minutes=2), sender="CT_GE_2")  # analysing
    ward.claim(ward.ago(seconds=20))
    ward.study(u(8), 305, ward.ago(minutes=1, seconds=40), ward.ago(seconds=45))  # waiting
    ward.arrive(u(9), 77, ward.ago(seconds=3))  # receiving
    ward.quarantine("CT_GE_2-0001", ward.ago(minutes=30))
