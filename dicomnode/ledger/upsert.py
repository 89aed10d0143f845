"""Insert a row unless another of its name is there: one statement, no race, on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_new(c: Connection, table: Table, unique: Column[Any], values: dict[str, Any]) -> int | None:
    """Return the new row's id, None where a row with this value of ``unique`` exists already."""
    make = sqlite.insert if c.dialect.name == "sqlite" else postgresql.insert
    statement = make(table).values(**values).on_conflict_do_nothing(index_elements=[unique]).returning(table.c.id)
    found: int | None = c.execute(statement).scalar_one_or_none()
    return found
