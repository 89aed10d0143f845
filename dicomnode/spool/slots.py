"""Limits that hold across processes: a slot is a locked file, so a crash gives it back."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from dicomnode.spool.disk import FILE_MODE, make_folder, try_lock


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
    folder = root / ("=" + quote(name, safe=""))
    make_folder(folder)
    for number in range(limit):
        place = folder / str(number)
        if not place.exists():
            place.touch(mode=FILE_MODE)
        fd = try_lock(place)
        if fd is not None:
            return Slot(fd)
    return None
