"""A term as keeper: it ends when its lease does, whatever the process believes."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
import structlog.testing

from dicomnode.config import load
from dicomnode.ledger import offices
from dicomnode.ledger.engine import Ledger
from dicomnode.run.election import FileTerm, LeaseTerm, stand
from dicomnode.run.loop import utc_now


def take(ledger: Ledger, holder: str, seconds: float = 60) -> bool:
    with ledger.write() as c:
        return offices.take(c, offices.KEEPER, holder=holder, now=utc_now(), lease_s=seconds)


def holder_of(ledger: Ledger) -> str | None:
    with ledger.read() as c:
        return offices.holder_of(c, offices.KEEPER)


def test_a_lease_that_ended_is_held_no_more_though_nobody_said_so(sqlite_ledger):
    now = utc_now()
    term = LeaseTerm(sqlite_ledger, "me", now + timedelta(seconds=60), lease_s=3600)
    assert term.holds(now)
    assert not term.holds(now + timedelta(seconds=61))
    term.close()


def test_a_term_renews_its_lease_and_gives_the_office_back_at_its_end(sqlite_ledger):
    assert take(sqlite_ledger, "me", seconds=0)
    term = LeaseTerm(sqlite_ledger, "me", utc_now(), lease_s=0.3)
    while not term.holds(utc_now()):
        assert not term.lost.wait(0.05)
    term.close()
    assert holder_of(sqlite_ledger) is None


def test_a_term_that_another_took_over_is_lost_and_the_other_keeps_the_office(sqlite_ledger):
    assert take(sqlite_ledger, "other")
    with structlog.testing.capture_logs() as told:
        term = LeaseTerm(sqlite_ledger, "me", utc_now() + timedelta(hours=1), lease_s=0.03)
        assert term.lost.wait(30)
    assert not term.holds(utc_now())
    term.close()
    assert holder_of(sqlite_ledger) == "other"
    assert "keeper_deposed" in [one["event"] for one in told]


def test_a_database_that_is_away_takes_the_office_from_nobody_and_lets_the_lease_run_out(tmp_path):
    gone = Ledger(f"sqlite:///{tmp_path / 'gone.sqlite'}")
    now = utc_now()
    with structlog.testing.capture_logs() as told:
        term = LeaseTerm(gone, "me", now + timedelta(seconds=60), lease_s=0.03)
        while "keeper_lease_not_renewed" not in [one["event"] for one in told]:
            assert not term.lost.wait(0.05)
        term.close()
    assert not term.holds(now + timedelta(seconds=61))
    assert told[-1]["event"] == "keeper_not_resigned"


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('[node]\ndata_dir = "data"\n', encoding="utf-8")
    (tmp_path / "data" / "spool").mkdir(parents=True)
    return load(path, environ={})


def test_on_sqlite_the_lock_of_the_spool_elects(config, sqlite_ledger):
    stop = threading.Event()
    first = stand(config, sqlite_ledger, stop)
    assert isinstance(first, FileTerm)
    assert first.holds(utc_now())
    stop.set()
    assert stand(config, sqlite_ledger, stop) is None
    first.close()
    again = stand(config, sqlite_ledger, threading.Event())
    assert again is not None
    again.close()
