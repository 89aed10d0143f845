"""A database that goes away and comes back: a PostgreSQL that is stopped, an SQLite that another process holds."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from pydicom import dcmread

from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.errors import LedgerUnavailable
from dicomnode.infer.pool import Pool
from dicomnode.ledger import census, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.run import chores, state
from dicomnode.run.ready import ReadyModels
from dicomnode.run.worker import Worker
from dicomnode.spool import Spool
from tests.ledger_rows import STUDY, a_closed_study, a_snapshot
from tests.peers import Talk
from tests.scripted_pacs import ScriptedPacs
from tests.stepped import START, Stepped, a_study, at, peer_toml, send

HOLD = """
import sqlite3, sys
with sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30) as held:
    held.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.read()
    held.execute("ROLLBACK")
"""
SETTINGS = '[receive]\nmin_free_gb = 0.0\n[peers.ct]\nae_title = "SCANNER"\n'

pytestmark = pytest.mark.timeout(240)


class Database:
    """One that goes and comes at a word."""

    def __init__(self, url: str, go: Callable[[], None], come: Callable[[], None]) -> None:
        self.ledger = Ledger(url, busy_timeout_s=0.2)
        self.go, self.come = go, come

    @contextmanager
    def away(self) -> Iterator[None]:
        """Be away inside the block."""
        self.go()
        try:
            yield
        finally:
            self.come()


class Holder:
    """A process that writes to the SQLite file and does not end: a backup tool, a shell that somebody left open."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._process: subprocess.Popen[str] | None = None

    def hold(self) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", HOLD, self._path], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "held\n"

    def let_go(self) -> None:
        assert self._process is not None
        self._process.communicate(timeout=60)


@pytest.fixture(params=["postgresql", "sqlite"])
def database(request: pytest.FixtureRequest) -> Iterator[Database]:
    if request.param == "sqlite":
        url = request.getfixturevalue("sqlite_url")
        holder = Holder(url.removeprefix("sqlite:///"))
        made = Database(url, holder.hold, holder.let_go)
    else:
        url, server = request.getfixturevalue("postgres_url"), request.getfixturevalue("postgres_server")
        made = Database(url, server.stop, server.start)
    yield made
    made.ledger.dispose()


def working(house: Stepped) -> tuple[Worker, Pool]:
    """Return the node's worker, without a model: it writes reports that say why not."""
    pool = Pool(house.config.node.models_dir, device="cpu", threads=1, warm=1)
    return Worker(house.config, house.ledger, house.spool, pool, ReadyModels(pool, []), house.stop), pool


def test_the_receiver_goes_on_acknowledging_and_everything_is_indexed_once_when_the_database_is_back(
    database, tmp_path,
):
    house = Stepped(tmp_path / "node", database.ledger, SETTINGS)
    images, paths = a_study(tmp_path / "ct", 4)
    with house.receiving() as receiver:
        send(receiver, paths[:2])
        with database.away():
            assert send(receiver, paths) == 4, "0x0000 for each"
            with pytest.raises(LedgerUnavailable):
                house.keeper.step(at(0))
            seen = state.look(house.config, house.ledger, now=at(0))
            assert sum(1 for _ in house.spool.arrivals()) == 6
    assert chores.rescue(house.config, house.ledger, at(0)) == 0, "nothing counts as dropped right after an outage"
    house.keep(at(0))
    house.keep(at(1))
    with house.ledger.read() as c:
        (study,) = census.studies(c, limit=5)
    assert (study["instances"], study["copies"]) == (4, 4)
    assert list(house.spool.arrivals()) == []
    assert {dcmread(path).SOPInstanceUID for path in (house.spool.root / "store").rglob("*.dcm")} == {
        one.SOPInstanceUID for one in images}
    away = [one for one in seen.problems if one.what == "the database does not answer"]
    assert bool(away) == (database.ledger.dialect == "postgresql"), "a held SQLite file can still be read"


def test_a_worker_whose_database_goes_in_mid_job_commits_when_it_is_back_and_spends_one_attempt(
    database, tmp_path, monkeypatch,
):
    house = Stepped(tmp_path / "node", database.ledger, "[worker]\nlease_s = 1.0\n" + SETTINGS)
    images, paths = a_study(tmp_path / "ct", 3)
    with house.receiving() as receiver:
        send(receiver, paths)
    house.keep(at(0))
    study = str(images[0].StudyInstanceUID)
    with house.ledger.write() as c:
        jobs.create(c, study_uid=study, kind="notice", revision=0, priority=1, now=START,
                    snapshot=a_snapshot(models=(), uids=(), reason="MissingSlices", text="a gap"))
    waiting = threading.Event()
    monkeypatch.setattr("dicomnode.run.patience.log.warning", lambda *_, **__: waiting.set(), raising=False)
    real, gone = Spool.put_result, []

    def put_and_lose(self: Spool, *arguments: Any) -> str:
        if not gone:
            gone.append(True)
            database.go()
        return real(self, *arguments)
    monkeypatch.setattr(Spool, "put_result", put_and_lose)
    worker, pool = working(house)
    thread = threading.Thread(target=worker.step, args=(at(10),))
    thread.start()
    try:
        assert waiting.wait(60), "the worker waits for the database"
        assert thread.is_alive()
    finally:
        database.come()
    assert chores.rescue(house.config, house.ledger, at(5000)) == 0, "its lease is over, and it could not renew it"
    thread.join(60)
    worker.close()
    pool.close()
    with house.ledger.read() as c:
        (job,) = census.jobs(c, limit=5)
    assert (job["state"], job["attempt"]) == ("completed", 1)
    assert len(list((house.spool.root / "results").rglob("*.dcm"))) == 1


def test_what_a_pacs_took_while_the_database_was_away_is_marked_when_it_is_back_and_not_sent_twice(
    database, tmp_path,
):
    stored: list[str] = []

    def take(talk: Talk) -> None:
        talk.accept()
        for number in range(2):
            context_id, command, _ = talk.read_message()
            stored.append(command.sop_instance_uid)
            if number == 0:
                database.go()
                threading.Timer(2.0, database.come).start()
            talk.respond(context_id, command, 0x0000)
        talk.release()
    with ScriptedPacs(take) as pacs:
        house = Stepped(tmp_path / "node", database.ledger, SETTINGS + peer_toml("pacs", "PACS", pacs.port))
        a_closed_study(database.ledger, study=STUDY)
        house.a_delivery(a_study(tmp_path / "results", 2)[1], study=STUDY)
        assert house.sender.step(at(0))
    found = house.delivery()
    assert (found["state"], found["sent"], found["attempt"]) == ("completed", 2, 1)
    assert len(stored) == len(set(stored)) == 2


def test_a_study_goes_from_scanner_to_pacs_across_an_outage_of_each_step(database, tmp_path):
    _, paths = a_study(tmp_path / "ct", 3)
    with ReceivingPacs(tmp_path / "pacs") as pacs:
        house = Stepped(tmp_path / "node", database.ledger,
                        SETTINGS + peer_toml("pacs", "DEMOPACS", pacs.port))
        with house.receiving() as receiver, database.away():
            send(receiver, paths)
            for step in (house.keeper.step, house.sender.step):
                with pytest.raises(LedgerUnavailable):
                    step(at(0))
        house.keep(at(0))
        house.a_delivery(paths[:2], study=str(dcmread(paths[0]).StudyInstanceUID))
        with database.away(), pytest.raises(LedgerUnavailable):
            house.sender.step(at(1))
        assert house.sender.step(at(2))
        assert pacs.wait_for(2, 60)
    assert house.delivery()["state"] == "completed"
