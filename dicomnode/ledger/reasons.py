"""The reasons of failed work, asked of the database."""

from __future__ import annotations

from sqlalchemy import ColumnElement, or_

from dicomnode.domain.reason import input_error_names
from dicomnode.ledger import tables


def about_the_input() -> ColumnElement[bool]:
    """Return the condition that a job's reason is the study itself (``domain.reason.is_about_the_input``)."""
    reason = tables.jobs.c.reason
    return or_(*(reason.startswith(f"{name}:", autoescape=True) for name in input_error_names()))
