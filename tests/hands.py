"""Hands for tests: processes that claim and finish work by the ledger's own code, and are killed on the way."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
from multiprocessing.process import BaseProcess
from typing import Final

from sqlalchemy import func, select

from dicomnode.domain.job import NewDelivery
from dicomnode.domain.work import Backoff, State
from dicomnode.errors import ClaimLost, LedgerUnavailable
from dicomnode.ledger import deliveries, jobs, tables
from dicomnode.ledger.engine import Ledger
from dicomnode.run.loop import utc_now
from tests.ledger_rows import DIGESTS, a_result

LEASE_S: Final = 4.0
SOON: Final = Backoff(first_s=0.05, most_s=0.05)
PEERS: Final = ("pacs", "viewer", "archive")
DELIVERED: Final = 10
"""Every so many-th job has results that are sent."""
SPAWN: Final = multiprocessing.get_context("spawn")


def work(url: str, owner: str) -> None:
    """Claim and complete until no job is left; each completion writes a result, some a delivery."""
    ledger = Ledger(url, busy_timeout_s=60)
    while not _finished(ledger, tables.jobs):
        try:
            _one_job(ledger, owner)
        except (ClaimLost, LedgerUnavailable):
            continue
    ledger.dispose()


def _one_job(ledger: Ledger, owner: str) -> None:
    with ledger.write() as c:
        job = jobs.claim(c, now=utc_now(), lease_s=LEASE_S, owner=owner, digests=DIGESTS)
    if job is None:
        threading.Event().wait(0.1)
        return
    made = a_result(job.job_id)
    to = [NewDelivery(peer=PEERS[job.job_id % len(PEERS)], items=[[made.sop_instance_uid]])]
    with ledger.write() as c:
        jobs.complete(c, job, results=[made], deliveries=to if job.job_id % DELIVERED == 0 else [], now=utc_now(),
                      data={})


def send(url: str, owner: str) -> None:
    """Claim deliveries and mark their items as sent until no job and no delivery is left."""
    ledger = Ledger(url, busy_timeout_s=60)
    while not (_finished(ledger, tables.jobs) and _finished(ledger, tables.deliveries)):
        try:
            _one_delivery(ledger, owner)
        except (ClaimLost, LedgerUnavailable):
            continue
    ledger.dispose()


def _one_delivery(ledger: Ledger, owner: str) -> None:
    with ledger.write() as c:
        held = deliveries.claim(c, now=utc_now(), lease_s=LEASE_S, owner=owner, peers=frozenset(PEERS),
                                most_per_peer=2)
    if held is None:
        threading.Event().wait(0.1)
        return
    for item in held.items:
        if item.sent is None:
            with ledger.write() as c:
                deliveries.mark_sent(c, held, item.item_id, sop_instance_uid=item.alternatives[0].sop_instance_uid,
                                     status=0, now=utc_now())
    with ledger.write() as c:
        deliveries.complete(c, held, now=utc_now())


def _finished(ledger: Ledger, table: object) -> bool:
    assert table in (tables.jobs, tables.deliveries)
    t = tables.jobs if table is tables.jobs else tables.deliveries
    with ledger.read() as c:
        return c.execute(select(func.count()).where(t.c.state != State.COMPLETED)).scalar_one() == 0


class Hands:
    """So many workers and senders; one that is killed is replaced."""

    def __init__(self, url: str, *, workers: int, senders: int, seed: int) -> None:
        self._url = url
        self._chance = random.Random(seed)  # noqa: S311 - a seed is wanted
        self._started = 0
        self._living: list[tuple[str, BaseProcess]] = []
        self.killed = 0
        for role, count in (("work", workers), ("send", senders)):
            for _ in range(count):
                self._start(role)

    def _start(self, role: str) -> None:
        self._started += 1
        process = SPAWN.Process(target=work if role == "work" else send, args=(self._url, f"{role}{self._started}"))
        process.start()
        self._living.append((role, process))

    def kill_one(self) -> None:
        """SIGKILL one of them wherever it stands, and start another in its place."""
        running = [one for one in self._living if one[1].is_alive()]
        if not running:
            return
        role, process = self._chance.choice(running)
        os.kill(process.pid or 0, signal.SIGKILL)
        process.join()
        self.killed += 1
        self._living.remove((role, process))
        self._start(role)

    def wait(self, patience_s: float) -> None:
        """Wait until all have ended by themselves."""
        for role, process in self._living:
            process.join(patience_s)
            assert process.exitcode == 0, f"{role} ended with {process.exitcode}"

    def close(self) -> None:
        """End whoever is left."""
        for _, process in self._living:
            if process.is_alive():
                process.kill()
            process.join()
