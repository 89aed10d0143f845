"""What a result refers to, and why a peer did not take an object that it may refuse.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add two columns; a row of before refers to nothing, and all that it offered was asked for."""
    op.add_column("results", sa.Column("refers_to", sa.JSON(), nullable=True))
    op.add_column("delivery_items", sa.Column("not_taken", sa.Text(), nullable=True))
