"""A database that is away, locked, missing or foreign: one typed error, and the work goes on when it is back."""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Connection, exc, text

from dicomnode.errors import ConfigError, LedgerUnavailable
from dicomnode.ledger import studies
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import NOW, a_job, an_instance, index


def then_fail(c: Connection, act: Callable[[], object]) -> None:
    studies.record_instances(c, [an_instance(1)], now=NOW)
    act()


@pytest.fixture
def a_locked_database(sqlite_url: str) -> Iterator[Ledger]:
    """Another process is writing and does not end."""
    ledger = Ledger(sqlite_url, busy_timeout_s=0.05)
    with closing(sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield ledger
    ledger.dispose()


def test_a_write_that_waits_too_long_for_the_lock_is_unavailable(a_locked_database):
    with pytest.raises(LedgerUnavailable, match="database is locked"):
        index(a_locked_database, an_instance(1))


def test_reading_goes_on_while_another_writes(a_locked_database):
    with a_locked_database.read() as c:
        assert studies.open_studies(c) == []


def test_a_writer_waits_for_the_one_before_it(sqlite_ledger):
    inside, go_on = threading.Event(), threading.Event()

    def first() -> None:
        with sqlite_ledger.write() as c:
            inside.set()
            go_on.wait(30)
            studies.record_instances(c, [an_instance(1)], now=NOW)

    thread = threading.Thread(target=first)
    thread.start()
    inside.wait(30)
    release = threading.Timer(0.1, go_on.set)
    release.start()
    assert index(sqlite_ledger, an_instance(1)) == ["identical"]
    thread.join()


def test_a_stopped_server_is_unavailable_and_the_same_ledger_works_when_it_is_back(postgres_server, postgres_url):
    ledger = Ledger(postgres_url)
    index(ledger, an_instance(1))
    postgres_server.stop()
    try:
        with pytest.raises(LedgerUnavailable):
            index(ledger, an_instance(2))
        with pytest.raises(LedgerUnavailable), ledger.read() as c:
            studies.open_studies(c)
    finally:
        postgres_server.start()
    assert index(ledger, an_instance(2)) == ["new"]
    ledger.dispose()


def test_a_server_that_stops_within_a_transaction_leaves_nothing_half_done(postgres_server, postgres_url):
    ledger = Ledger(postgres_url)
    with pytest.raises(LedgerUnavailable), ledger.write() as c:
        then_fail(c, postgres_server.stop)
    postgres_server.start()
    assert index(ledger, an_instance(1)) == ["new"]
    ledger.dispose()


def test_a_database_that_was_never_migrated_says_what_to_do(tmp_path, postgres_server):
    (tmp_path / "empty.sqlite").touch()
    for url in (f"sqlite:///{tmp_path / 'empty.sqlite'}", postgres_server.create(f"empty_{uuid.uuid4().hex}")):
        ledger = Ledger(url)
        assert ledger.revision() is None
        with pytest.raises(LedgerUnavailable, match="dicomnode db upgrade"), ledger.read() as c:
            studies.open_studies(c)
        ledger.dispose()


def test_a_missing_file_is_not_made_by_looking_at_it(tmp_path):
    ledger = Ledger(f"sqlite:///{tmp_path / 'none.sqlite'}")
    assert ledger.revision() is None
    with pytest.raises(LedgerUnavailable, match=r"no database at .*none\.sqlite: run `dicomnode db upgrade`"):
        ledger.node_id()
    assert list(tmp_path.iterdir()) == []


def test_a_ledger_without_a_node_id_says_so(ledger):
    with ledger.write() as c:
        c.execute(text("DELETE FROM node"))
    with pytest.raises(LedgerUnavailable, match="no node id"):
        ledger.node_id()


def test_a_file_that_is_no_database_is_unavailable(tmp_path):
    path = tmp_path / "other.sqlite"
    path.write_bytes(b"This is a text and not a database at all. " * 50)
    ledger = Ledger(f"sqlite:///{path}")
    with pytest.raises(LedgerUnavailable, match="not a database"), ledger.read() as c:
        studies.open_studies(c)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        ledger.upgrade()


def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(LedgerUnavailable, match="cannot be made"):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.sqlite'}").upgrade()


@pytest.mark.parametrize("url", [
    "sqlite://", "sqlite:///:memory:", "mysql://u@h/d", "postgresql+asyncpg://h/d", "nonsense"])
def test_a_url_that_names_no_usable_database_is_a_mistake_in_the_configuration(url):
    with pytest.raises(ConfigError, match="allowed are sqlite:///path"):
        Ledger(url)


def test_the_password_is_never_shown():
    ledger = Ledger("postgresql://user:geheim@127.0.0.1:1/db")
    assert "geheim" not in repr(ledger)
    with pytest.raises(LedgerUnavailable) as caught, ledger.read():
        pass
    assert "geheim" not in str(caught.value)


def test_an_sqlite_that_is_too_old_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))
    with pytest.raises(ConfigError, match=r"3\.35 and later"):
        Ledger(f"sqlite:///{tmp_path / 'x.sqlite'}")


def test_a_disk_without_write_ahead_log_is_refused(monkeypatch, tmp_path):
    class NetworkShare(sqlite3.Connection):
        def execute(self, *_args: object) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'")

    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda path, timeout: real(path, timeout=timeout, factory=NetworkShare))
    with pytest.raises(LedgerUnavailable, match="journal mode is 'delete' where WAL is needed"):
        Ledger(f"sqlite:///{tmp_path / 'x.sqlite'}").upgrade()


def test_a_mistake_of_ours_is_not_taken_for_a_database_that_is_away(ledger):
    with pytest.raises(exc.IntegrityError):
        a_job(ledger, study="1.2.404")
    with pytest.raises((exc.ProgrammingError, LedgerUnavailable)) as caught, ledger.read() as c:
        c.execute(text("SELECT no_such_column FROM node"))
    assert "no_such_column" in str(caught.value)


def test_an_exception_within_a_transaction_rolls_it_back(ledger):
    with pytest.raises(KeyError), ledger.write() as c:
        then_fail(c, lambda: {}["absent"])
    assert index(ledger, an_instance(1)) == ["new"]


def test_sqlite_writes_survive_power_loss_and_keep_references(sqlite_ledger, sqlite_url):
    with sqlite_ledger.read() as c:
        modes = {key: c.execute(text(f"PRAGMA {key}")).scalar_one()
                 for key in ("journal_mode", "synchronous", "foreign_keys")}
    assert modes == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    assert Path(sqlite_url.removeprefix("sqlite:///")).exists()
