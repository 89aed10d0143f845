"""Limits that hold across processes: a slot is a locked file, so a crash gives it back."""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

from dicomnode.spool.disk import FILE_MODE, make_folder, try_lock

_TURN: Final = struct.Struct("<d")
LONGEST_QUEUE: Final = 64
"""Turns that may be given ahead: each association waits for one, and so many are never open."""


class Slot:
    """One held place; ``release`` it, leave the context, or die: it is free again."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def release(self) -> None:
        """Give the place back; a second call does nothing."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def __enter__(self) -> Self:
        """Hold the place inside the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Give the place back."""
        self.release()


def take(root: Path, name: str, limit: int) -> Slot | None:
    """Return one of the ``limit`` places of ``name``, or None when all are held."""
    folder = _folder(root, name)
    for number in range(limit):
        place = folder / str(number)
        if not place.exists():
            place.touch(mode=FILE_MODE)
        fd = try_lock(place)
        if fd is not None:
            return Slot(fd)
    return None


def take_turn(root: Path, name: str, interval_s: float, *, now_s: float) -> float:
    """Return the seconds until the caller's turn, one ``interval_s`` after the turn before it.

    A clock that was set back costs nobody more than ``LONGEST_QUEUE`` turns.
    """
    fd = os.open(_folder(root, name) / "turn", os.O_RDWR | os.O_CREAT, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        held = os.pread(fd, _TURN.size, 0)
        next_s = _TURN.unpack(held)[0] if len(held) == _TURN.size else 0.0
        turn_s = min(max(next_s, now_s), now_s + LONGEST_QUEUE * interval_s)
        os.pwrite(fd, _TURN.pack(turn_s + interval_s), 0)
    finally:
        os.close(fd)
    return turn_s - now_s


def _folder(root: Path, name: str) -> Path:
    folder = root / ("=" + quote(name, safe=""))
    make_folder(folder)
    return folder
