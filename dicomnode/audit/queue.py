"""Messages that wait for their sink: durable files, in the order in which they were put down.

Any process may put; one forwarder takes. A message is gone only after its sink has it.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDER_MODE: Final = 0o700
FILE_MODE: Final = 0o600
MESSAGE: Final = ".xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """How much waits for one sink, and since when; ``oldest_s`` is None where nothing does."""

    sink: str
    waiting: int
    oldest_s: float | None


class Queue:
    """The messages that wait for the sink of this name, below ``<data_dir>/audit/queue/<name>``.

    Every method raises OSError where the disk does.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.name = name
        self._root = root
        self._folder = root / "queue" / name

    def prepare(self) -> None:
        """Make the folder; nobody but the node reads it."""
        self._root.parent.mkdir(parents=True, exist_ok=True)  # data_dir is not the audit trail's to close
        make_private(self._folder)

    def put(self, message: bytes) -> None:
        """Keep a message: it is durable before this returns."""
        self.prepare()
        name = f"{time.time_ns():020d}-{uuid.uuid4().hex}"
        temporary, final = self._folder / f"{name}.part", self._folder / (name + MESSAGE)
        try:
            write_durably(temporary, message)
            temporary.rename(final)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(self._folder)

    def oldest(self, most: int) -> list[Path]:
        """The messages that have waited longest, at most so many, in order."""
        return [self._folder / name for name in self._names()[:most]]

    def done(self, taken: Sequence[Path]) -> None:
        """Forget messages that the sink has."""
        for path in taken:
            path.unlink(missing_ok=True)

    def backlog(self, now_s: float) -> Backlog:
        """How much waits."""
        names = self._names()
        oldest_s = max(0.0, now_s - put_at_s(names[0])) if names else None
        return Backlog(sink=self.name, waiting=len(names), oldest_s=oldest_s)

    def _names(self) -> list[str]:
        try:
            return sorted(name for name in os.listdir(self._folder) if name.endswith(MESSAGE))  # noqa: PTH208
        except FileNotFoundError:
            return []


def make_private(folder: Path) -> None:
    """Make a folder, and those above it that are missing, which nobody but the node may enter."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def put_at_s(name: str) -> float:
    """When a message was put down, in seconds since 1970; now where somebody else's file tells no time."""
    digits = name.partition("-")[0]
    return int(digits) / 1e9 if digits.isdecimal() else time.time()


def write_durably(path: Path, data: bytes, flags: int = os.O_EXCL) -> None:
    """Write or append, and let the disk say that it has it."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | flags, FILE_MODE)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(fd, left):]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
