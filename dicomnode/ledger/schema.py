"""Bring a database to the schema that this version of the code knows."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, func, insert, select

from dicomnode.errors import ConfigError
from dicomnode.ledger import tables
from dicomnode.shipped import shipped

UPGRADE_LOCK: Final = 0x0D1C0
"""PostgreSQL advisory lock: of several roles that start at once, one migrates and the others wait."""


def head() -> str:
    """Return the newest revision that this code knows."""
    newest = ScriptDirectory(str(shipped("migrations"))).get_current_head()
    if newest is None:
        msg = f"{shipped('migrations')}: no revision in it; install dicomnode-monai again"
        raise ConfigError(msg)
    return newest


def revision(c: Connection) -> str | None:
    """Return the revision of the database, None where nothing was ever migrated."""
    return MigrationContext.configure(c).get_current_revision()


def upgrade(c: Connection) -> str:
    """Migrate to head and see to the node id, all in the caller's transaction; return the revision.

    Raises
    ------
    ConfigError
        If the database is newer than this code.
    """
    if c.dialect.name == "postgresql":
        c.execute(select(func.pg_advisory_xact_lock(UPGRADE_LOCK)))
    settings = Config()
    settings.set_main_option("script_location", str(shipped("migrations")).replace("%", "%%"))
    settings.attributes["connection"] = c
    try:
        command.upgrade(settings, "head")
    except CommandError as error:
        msg = f"database is at revision {revision(c)}, this version knows up to {head()}: install a newer dicomnode"
        raise ConfigError(msg) from error
    _write_node_id(c)
    return head()


def _write_node_id(c: Connection) -> None:
    if c.execute(select(tables.node.c.id)).first() is None:
        c.execute(insert(tables.node).values(id=1, node_id=str(uuid.uuid4()), created_at=datetime.now(UTC)))
