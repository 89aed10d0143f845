"""A node without its worker whose roles take one step at a word, at any hour: real disk, database and sockets."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset

from dicomnode.config import load
from dicomnode.deliver.scu import send_files
from dicomnode.domain.dicom import CT_IMAGE_STORAGE
from dicomnode.domain.job import NewDelivery, StoredResult
from dicomnode.domain.node import NodeConfig, Peer
from dicomnode.ledger import census, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.run.custody import Custody
from dicomnode.run.keeper import Keeper
from dicomnode.run.sender import Sender
from dicomnode.spool import Spool
from tests.builders import ct_series, write_series
from tests.ledger_rows import DIGESTS, a_snapshot
from tests.receiving import Receiver, receiver

PATIENCE_S = 30.0
START = datetime.now(UTC) + timedelta(hours=1)
"""After everything that the tests write on disk."""
EXPLICIT_LE = "1.2.840.10008.1.2.1"


def at(seconds: float) -> datetime:
    """So long after ``START``; keeper, sender and custody believe it."""
    return START + timedelta(seconds=seconds)


class Stepped:
    """Parts of a node over one folder and one ledger.

    Parameters
    ----------
    toml:
        What stands in ``node.toml`` besides ``[node]``: peers first of all.
    """

    def __init__(self, root: Path, ledger: Ledger, toml: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        (root / "node.toml").write_text(f'[node]\nbind = "127.0.0.1"\ndata_dir = "data"\n{toml}', encoding="utf-8")
        self.config: NodeConfig = load(root / "node.toml", environ={})
        self.ledger = ledger
        self.stop = threading.Event()
        self.spool = Spool(self.config.spool_dir, min_free_bytes=self.config.receive.min_free_bytes)
        self.spool.prepare()
        self.keeper = Keeper(self.config, ledger, self.spool, {})
        self.sender = Sender(self.config, ledger, self.spool, self.stop)
        self.custody = Custody(self.config, ledger, self.spool, self.stop)

    def receiving(self, **settings: Any) -> AbstractContextManager[Receiver]:
        """Serve in a thread; ``settings`` are those of ``[receive]``."""
        return receiver(self.config.spool_dir, peers=self.config.peers, min_free_bytes=self.spool.min_free_bytes,
                        **settings)

    def keep(self, now: datetime) -> None:
        """Let the keeper do everything that it can do now."""
        while self.keeper.step(now):
            pass

    def a_delivery(self, images: Sequence[Path], *, peer: str = "pacs", study: str = "1.2.3",
                   kinds: Sequence[str] = ("SEG", "SR3D")) -> int:
        """Make a completed job with these files as its results, and its delivery; return the delivery's id."""
        with self.ledger.write() as c:
            jobs.create(c, study_uid=study, kind="analysis", revision=0, priority=100, now=START,
                        snapshot=a_snapshot(uids=(f"{study}.1",)))
            job = jobs.claim(c, now=START, lease_s=60, owner="test", digests=DIGESTS)
        assert job is not None
        folder = self.spool.result_folder(job.job_id, job.claim.token)
        results = [self._result(folder, n, path, kind)
                   for n, (path, kind) in enumerate(zip(images, kinds, strict=True))]
        with self.ledger.write() as c:
            jobs.complete(c, job, results=results, now=START, data={}, deliveries=[
                NewDelivery(peer=peer, items=[[one.sop_instance_uid] for one in results])])
        return int(self.delivery()["delivery_id"])

    def _result(self, folder: Path, number: int, path: Path, kind: str) -> StoredResult:
        payload = path.read_bytes()
        uid = f"2.25.{int(hashlib.sha256(f'{folder}{number}'.encode()).hexdigest()[:12], 16)}"
        return StoredResult(
            kind=kind, group=kind, sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=uid, series_uid=f"{uid}.1",
            transfer_syntax_uid=EXPLICIT_LE, path=self.spool.put_result(folder, f"{number}.dcm", payload),
            size_bytes=len(payload), sha256=hashlib.sha256(payload).hexdigest())

    def delivery(self) -> dict[str, Any]:
        """Return the newest delivery, as ``deliveries`` prints it."""
        with self.ledger.read() as c:
            return census.deliveries(c, limit=1)[0]

    def story(self, study_uid: str) -> list[str]:
        """Return the study's timeline in sentences."""
        with self.ledger.read() as c:
            return [f"{row['kind']}: {row['text']}" for row in census.story(c, study_uid)]


def a_study(folder: Path, slices: int = 3, **attributes: object) -> tuple[list[Dataset], list[Path]]:
    """Write a small CT series."""
    images = ct_series(np.arange(slices * 64, dtype=np.int16).reshape(slices, 8, 8), **attributes)
    return images, list(write_series(folder, images))


def send(receiving: Receiver, paths: Sequence[Path], *, calling: str = "SCANNER") -> int:
    """C-STORE files to the node."""
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=receiving.port)
    return send_files(node_ae_title=calling, peer=us, paths=paths, timeout_s=PATIENCE_S)


@contextmanager
def stopping(made: Stepped) -> Iterator[Stepped]:
    """Tell the node to stop at the end."""
    try:
        yield made
    finally:
        made.stop.set()


def peer_toml(name: str, ae_title: str, port: int, **more: object) -> str:
    """Write one peer's table."""
    words: Mapping[str, object] = more
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in words.items())
    return f'[peers.{name}]\nae_title = "{ae_title}"\nhost = "127.0.0.1"\nport = {port}\n{lines}'
