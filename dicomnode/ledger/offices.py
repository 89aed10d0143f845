"""Offices: what only one process of all hosts does at a time, held by a lease in the database."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Connection, case, delete, or_, select
from sqlalchemy.dialects import postgresql, sqlite

from dicomnode.ledger import tables

KEEPER = "keeper"
_OFFICE = tables.offices.c


def take(c: Connection, office: str, *, holder: str, now: datetime, lease_s: float) -> bool:
    """Take an office that is free, or keep it for another ``lease_s``; False where another holds it.

    Notes
    -----
    A lease and not a lock of the session: a process that is stopped, or cut off without its connection being closed,
    would hold such a lock until somebody looked.
    """
    make = sqlite.insert if c.dialect.name == "sqlite" else postgresql.insert
    held = {"holder": holder, "lease_until": now + timedelta(seconds=lease_s)}
    mine = _OFFICE.holder == holder
    statement = (
        make(tables.offices).values(office=office, since=now, **held)
        .on_conflict_do_update(
            index_elements=[_OFFICE.office], set_={**held, "since": case((mine, _OFFICE.since), else_=now)},
            where=or_(mine, _OFFICE.lease_until < now))
        .returning(_OFFICE.holder))
    return c.execute(statement).one_or_none() is not None


def resign(c: Connection, office: str, *, holder: str) -> None:
    """Give an office back, where it is still held: the next one need not wait for the lease to end."""
    c.execute(delete(tables.offices).where(_OFFICE.office == office, _OFFICE.holder == holder))


def holder_of(c: Connection, office: str) -> str | None:
    """Return who holds an office, or held it last; None where nobody ever did, or who did gave it back."""
    return c.execute(select(_OFFICE.holder).where(_OFFICE.office == office)).scalar_one_or_none()
