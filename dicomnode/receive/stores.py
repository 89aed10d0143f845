"""What the receiver asks of the spool; the rooms meet here by shape, not by import."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol


class Place(Protocol):
    """One held place of a limit."""

    def release(self) -> None:
        """Give the place back; a second call does nothing."""


class IncomingFile(Protocol):
    """A file on its way in."""

    def write(self, data: bytes | bytearray | memoryview, /) -> None:
        """Append ``data``."""

    def commit(self) -> Path:
        """Make the file durable under its final name; only then may success be answered."""

    def discard(self) -> None:
        """Leave nothing behind."""


class AssociationFolder(Protocol):
    """Where the images of one open association go."""

    def begin(self) -> IncomingFile:
        """Open the next file."""

    def close(self) -> None:
        """Say that no more will come."""


class ArrivalSpool(Protocol):
    """The spool as the receiver sees it; each method may raise SpoolFull or SpoolUnavailable."""

    def open_association(self, name: str, /) -> AssociationFolder:
        """Return the locked folder of a new association."""

    def take_slot(self, name: str, limit: int, /) -> Place | None:
        """Return one of ``limit`` places that all processes share, or None."""

    def take_turn(self, name: str, per_s: float, /) -> float:
        """Return how many seconds to wait so that all who ask under ``name`` go on ``per_s`` times a second."""

    def put_event(self, kind: str, payload: bytes, /) -> None:
        """Keep a message for the keeper."""


class Watch(Protocol):
    """Who is told of what a security officer wants to know; it neither blocks nor raises."""

    def refused(self, *, address: str, calling: str, reason: str) -> None:
        """An association, or the connection before it, was refused; ``calling`` is empty where it was never said."""
