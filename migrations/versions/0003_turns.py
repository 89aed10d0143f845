"""Turns: lanes of one priority are served in rotation; offices that one process holds; peers that are away.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add columns that rows of before, and programs of before, may leave at their defaults; add two tables."""
    op.add_column("jobs", sa.Column("lane", sa.Text(), server_default=sa.text("''"), nullable=False))
    for table, lane in (("jobs", "lane"), ("deliveries", "peer")):
        op.add_column(table, sa.Column("turn", sa.BigInteger(), server_default="0", nullable=False))
        scheduled, served = sa.text("state = 'scheduled'"), sa.text("claimed_at IS NOT NULL")
        op.create_index(f"ix_{table}_queue", table, ["state", "priority", "turn", "run_after", "id"])
        _index(f"ix_{table}_lane", table, [lane, "priority", "turn"], scheduled)
        _index(f"ix_{table}_served", table, ["priority", "turn"], served)
    _drop_what_the_new_ones_replace()
    _offices()
    _outages()


def _drop_what_the_new_ones_replace() -> None:
    """Drop what SQLite would choose and then sort the backlog; a program of before is slower without, no more."""
    op.drop_index("ix_jobs_state_priority_run_after", "jobs")
    op.drop_index("ix_deliveries_state_peer_priority_run_after", "deliveries")
    op.drop_index("ix_deliveries_peer_claimed_at", "deliveries")


def _index(name: str, table: str, columns: list[str], where: sa.TextClause) -> None:
    op.create_index(name, table, columns, postgresql_where=where, sqlite_where=where)


def _offices() -> None:
    op.create_table(
        "offices",
        sa.Column("office", sa.Text(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("lease_until", MOMENT, nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.PrimaryKeyConstraint("office", name="pk_offices"),
    )


def _outages() -> None:
    op.create_table(
        "outages",
        sa.Column("peer", sa.Text(), nullable=False),
        sa.Column("since", MOMENT, nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("try_at", MOMENT, nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("peer", name="pk_outages"),
    )
