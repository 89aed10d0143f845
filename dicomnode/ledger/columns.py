"""Column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, Dialect, Integer, Text, TypeDecorator

ROW_ID = BigInteger().with_variant(Integer(), "sqlite")
"""SQLite numbers rows by itself only where the type is exactly INTEGER."""


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware going in, aware UTC coming out; a naive one is refused.

    Notes
    -----
    SQLite keeps text without a zone. Everything is turned to UTC first, so that its order as text
    is its order in time.
    """

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Turn to UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            msg = f"a time without a zone: {value.isoformat()}; allowed are aware times, give datetime.now(UTC)"
            raise ValueError(msg)
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Give back as aware UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Words(TypeDecorator[str]):
    """Text from anywhere: what PostgreSQL cannot hold (NUL, half surrogates) becomes a question mark.

    Notes
    -----
    A peer's words in a reason must never be the cause for which that reason cannot be written down.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Replace what cannot be stored."""
        if value is None:
            return None
        return value.replace("\x00", "?").encode("utf-8", "replace").decode("utf-8")
