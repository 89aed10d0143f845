"""The door to the database: short transactions, and its exceptions end here."""

from __future__ import annotations

import math
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url, select

from dicomnode.errors import ConfigError, LedgerUnavailable
from dicomnode.ledger import schema, tables

BUSY_TIMEOUT_S: Final = 10.0
"""How long a writer waits for the one before it; transactions last milliseconds."""
CONNECT_TIMEOUT_S: Final = 5
POSTGRESQL_OPTIONS: Final = "-c timezone=UTC -c statement_timeout=60s -c idle_in_transaction_session_timeout=60s"
OLDEST_SQLITE: Final = (3, 35, 0)
"""The first with RETURNING."""

SQLITE_PREFIX: Final = "sqlite:///"
"""What follows it is a path as it is written, ``?``, ``#`` and ``%`` included."""
UNDEFINED_TABLE: Final = "42P01"
"""PostgreSQL's code; SQLite says it in words only."""

_AWAY: Final = (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError)
_BEGIN: Final = "dicomnode_begin"


class Ledger:
    """One database, SQLite or PostgreSQL, behind short transactions.

    Parameters
    ----------
    url:
        ``sqlite:///path`` or ``postgresql://user@host/name``.
    busy_timeout_s:
        How long a statement waits for a lock that another process holds.

    Raises
    ------
    ConfigError
        If the URL is neither.

    Notes
    -----
    SQLite: WAL, ``synchronous=FULL``, foreign keys, and BEGIN IMMEDIATE for every ``write()``: a
    deferred transaction that reads before it writes is refused the lock as soon as another has
    written in between. Connecting happens at the first transaction, not here.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = BUSY_TIMEOUT_S) -> None:
        self._url = _checked(url)
        self.dialect: str = self._url.get_backend_name()
        make = _sqlite if self.dialect == "sqlite" else _postgresql
        self._engine = make(self._url, busy_timeout_s)
        self._away_s = -math.inf
        self._writing = self._engine.execution_options(**{_BEGIN: "BEGIN IMMEDIATE"})

    def __repr__(self) -> str:
        """Show the URL without its password."""
        return f"Ledger({self._url.render_as_string(hide_password=True)!r})"

    def write(self) -> AbstractContextManager[Connection]:
        """Open one short transaction that commits at the end, and rolls back on any exception.

        Raises
        ------
        LedgerUnavailable
            If the database is away, locked for too long, full, or was never migrated.
        """
        return self._transaction(self._writing)

    def read(self) -> AbstractContextManager[Connection]:
        """Open one short transaction for reading; on SQLite it sees one moment. Raises as ``write``."""
        return self._transaction(self._engine)

    def upgrade(self) -> str:
        """Create what is missing, migrate to head, write the node id once; return the revision.

        Raises
        ------
        LedgerUnavailable
            As ``write``.
        ConfigError
            If the database is newer than this code.
        """
        if self.dialect == "sqlite":
            self._create_file()
        with self._transaction(self._writing) as c:
            return schema.upgrade(c)

    def revision(self) -> str | None:
        """Return the revision of the database, None where there is no database or nothing in it."""
        if self._missing_file() is not None:
            return None
        with self.read() as c:
            return schema.revision(c)

    def head(self) -> str:
        """Return the newest revision that this code knows."""
        return schema.head()

    def node_id(self) -> uuid.UUID:
        """Return the random UUID that the first upgrade wrote: every derived UID starts from it."""
        with self.read() as c:
            found = c.execute(select(tables.node.c.node_id)).scalar_one_or_none()
        if found is None:
            msg = f"{self!r} has no node id: run `dicomnode db upgrade`"
            raise LedgerUnavailable(msg)
        return uuid.UUID(found)

    def answered_for(self, seconds: float) -> bool:
        """Whether no transaction of this process has met a database that was away for so long."""
        return time.monotonic() - self._away_s >= seconds

    def dispose(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self, engine: Engine) -> Iterator[Connection]:
        missing = self._missing_file()
        if missing is not None:
            msg = f"no database at {missing}: run `dicomnode db upgrade`"
            raise LedgerUnavailable(msg)
        try:
            with engine.begin() as c:
                yield c
        except exc.SQLAlchemyError as error:
            if not (isinstance(error, _AWAY) or type(error) is exc.DatabaseError or _not_migrated(error)):
                raise
            self._away_s = time.monotonic()
            raise LedgerUnavailable(self._sentence(error)) from error

    def _sentence(self, error: exc.SQLAlchemyError) -> str:
        """Say what the database said, without the statement and its values: they may hold patient data."""
        said = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        advice = "what was asked is not done and may be tried again"
        advice = "run `dicomnode db upgrade`" if _not_migrated(error) else advice
        return f"{self!r}: {said or type(error).__name__}; {advice}"

    def _missing_file(self) -> Path | None:
        if self.dialect != "sqlite" or self._url.database is None:
            return None
        path = Path(self._url.database)
        return None if path.exists() else path

    def _create_file(self) -> None:
        """Make the SQLite file and turn WAL on: the mode stays with the file."""
        path = Path(self._url.database or "")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as raw:
                mode = raw.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except (OSError, sqlite3.Error) as error:
            msg = f"{path} cannot be made: {error}; allowed is a folder on a local disk that this user may write to"
            raise LedgerUnavailable(msg) from error
        if mode != "wal":
            msg = f"{path}: journal mode is {mode!r} where WAL is needed; allowed is a local disk, not a network share"
            raise LedgerUnavailable(msg)


def _not_migrated(error: exc.SQLAlchemyError) -> bool:
    said = getattr(error, "orig", None)
    return getattr(said, "sqlstate", None) == UNDEFINED_TABLE or "no such table" in str(said)


def _checked(url: str) -> URL:
    if url.startswith(SQLITE_PREFIX) and url.removeprefix(SQLITE_PREFIX) not in {"", ":memory:"}:
        return URL.create("sqlite+pysqlite", database=url.removeprefix(SQLITE_PREFIX))
    try:
        parsed = make_url(url)
    except exc.ArgumentError as error:
        msg = "database_url cannot be read: allowed are sqlite:///path and postgresql://user@host/name"
        raise ConfigError(msg) from error
    if parsed.get_backend_name() == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed.set(drivername="sqlite+pysqlite")
    if parsed.drivername in {"postgresql", "postgres", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    shown = parsed.render_as_string(hide_password=True)
    msg = f"database_url = {shown!r}: allowed are sqlite:///path (a file) and postgresql://user@host/name"
    raise ConfigError(msg)


def _sqlite(url: URL, busy_timeout_s: float) -> Engine:
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        msg = f"SQLite {sqlite3.sqlite_version} is too old: allowed are 3.35 and later, or use PostgreSQL"
        raise ConfigError(msg)
    engine = create_engine(url, connect_args={"timeout": busy_timeout_s})

    @event.listens_for(engine, "connect")
    def _prepare(raw: Any, _record: object) -> None:  # noqa: ANN401
        raw.isolation_level = None  # the driver begins nothing by itself
        raw.execute("PRAGMA synchronous=FULL")
        raw.execute("PRAGMA foreign_keys=ON")

    @event.listens_for(engine, "begin")
    def _begin(c: Connection) -> None:
        c.exec_driver_sql(c.get_execution_options().get(_BEGIN, "BEGIN"))

    return engine


def _postgresql(url: URL, busy_timeout_s: float) -> Engine:
    options = f"{POSTGRESQL_OPTIONS} -c lock_timeout={int(busy_timeout_s * 1000)}ms"
    return create_engine(
        url, pool_pre_ping=True, pool_timeout=busy_timeout_s,
        connect_args={"connect_timeout": CONNECT_TIMEOUT_S, "options": options},
    )
