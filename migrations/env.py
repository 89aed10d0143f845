"""How Alembic reaches the database: over the connection that ``dicomnode.ledger.schema.upgrade`` hands it."""

from __future__ import annotations

from alembic import context

from dicomnode.ledger.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    MESSAGE = "migrations run by `dicomnode db upgrade`, which knows the configured database"
    raise SystemExit(MESSAGE)

context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
