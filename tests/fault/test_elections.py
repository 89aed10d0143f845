"""Several keepers over one PostgreSQL: one is elected, and another takes over when it is killed, stopped or cut off."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest

from dicomnode.ledger import offices, studies
from dicomnode.ledger.engine import Ledger
from dicomnode.spool import Spool
from tests.builders import ct_series, write_file
from tests.live import until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@dataclass
class Keeper:
    """One ``dicomnode keep`` and its log."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def told(self, event: str) -> int:
        """How often it logged an event."""
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return sum(one.get("event") == event for one in map(_event, lines))


def _event(line: str) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}


class Hospital:
    """A spool and a database, and the keepers that want to keep them."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self._folder, self._url, self._stack = folder, url, stack
        self.ledger = Ledger(url)
        self.spool = Spool(folder / "data" / "spool", min_free_bytes=0)
        self.spool.prepare()
        self.keepers: list[Keeper] = []
        self._config = folder / "node.toml"
        self._config.write_text(f'[node]\ndata_dir = "data"\ndatabase_url = "{url}"\n[completion]\nquiet_s = 600\n')

    def start(self) -> Keeper:
        log = self._folder / f"keeper{len(self.keepers)}.log"
        with log.open("wb") as out:
            process = subprocess.Popen([sys.executable, "-m", "dicomnode", "--config", str(self._config), "keep"],
                                       stdout=out, stderr=subprocess.STDOUT)
        self._stack.callback(process.wait, 30)
        self._stack.callback(process.kill)
        self.keepers.append(Keeper(process, log))
        return self.keepers[-1]

    def elected(self, *, but: Keeper | None = None) -> Keeper:
        """Wait until one of them, other than ``but``, holds the office; return it."""
        def seen() -> Keeper | None:
            with self.ledger.read() as c:
                holder = offices.holder_of(c, offices.KEEPER)
            pid = int(holder.split(":")[1]) if holder else 0
            return next((one for one in self.keepers if one.pid == pid and one is not but), None)
        found: Keeper = until(seen, "a keeper is elected")
        return found

    def indexes(self, seed: str) -> None:
        """See that somebody indexes what arrives now."""
        (image,) = ct_series(np.zeros((1, 8, 8), np.int16), seed=seed)
        scratch = write_file(self.spool.root / "tmp" / f"{seed}.scratch", image)
        with self.spool.open_association(seed) as folder:
            folder.put([scratch.read_bytes()])
        scratch.unlink()

        def known() -> bool:
            with self.ledger.read() as c:
                return str(image.StudyInstanceUID) in {one.study_uid for one in studies.open_studies(c)}
        until(known, f"{seed} is indexed")


@pytest.fixture
def hospital(tmp_path, postgres_url) -> Iterator[Hospital]:
    with ExitStack() as stack:
        made = Hospital(tmp_path, postgres_url, stack)
        stack.callback(made.ledger.dispose)
        yield made


def test_of_two_keepers_one_keeps_and_the_other_takes_over_when_it_is_killed(hospital):
    hospital.start(), hospital.start()
    first = hospital.elected()
    (waiting,) = [one for one in hospital.keepers if one is not first]
    hospital.indexes("one")
    until(lambda: waiting.told("keeper_waits") == 1, "the other waits")
    assert waiting.told("keeper_elected") == 0
    first.process.kill()
    assert hospital.elected(but=first) is waiting
    hospital.indexes("two")


def test_a_keeper_that_is_stopped_loses_its_office_and_waits_when_it_wakes(hospital):
    hospital.start(), hospital.start()
    first = hospital.elected()
    hospital.indexes("one")
    with stopped(first):
        second = hospital.elected(but=first)
        hospital.indexes("two")
    until(lambda: first.told("keeper_deposed") == 1 and first.told("keeper_waits") == 1, "it finds that it was deposed")
    assert hospital.elected() is second
    assert first.process.poll() is None
    second.process.terminate()
    assert hospital.elected(but=second) is first
    hospital.indexes("three")


def test_a_keeper_whose_connection_breaks_keeps_on_where_nobody_took_over(hospital):
    hospital.start()
    first = hospital.elected()
    hospital.indexes("one")
    name = hospital.ledger._url.database
    host = hospital.ledger._url.query["host"]
    with psycopg.connect(f"host={host} user=postgres dbname=postgres", autocommit=True) as c:
        c.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    hospital.indexes("two")
    assert hospital.elected() is first
    assert first.told("keeper_deposed") == 0


@contextmanager
def stopped(keeper: Keeper) -> Iterator[None]:
    os.kill(keeper.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(keeper.pid, signal.SIGCONT)
