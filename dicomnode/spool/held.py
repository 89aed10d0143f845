"""A kept message in the hands of one process: done and gone, or put off, and free again when its holder dies."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dicomnode.spool.disk import disk_errors, sync_folder, try_lock, write_durably


class Held:
    """One message that nobody else takes while this is open.

    Parameters
    ----------
    temporary:
        A folder of the same file system, for the new form of a message that is put off.
    """

    def __init__(self, path: Path, temporary: Path) -> None:
        self.path = path
        self._temporary = temporary

    @property
    def kept_s(self) -> float:
        """When the message was kept, in seconds since the epoch, as its name says."""
        return kept_s(self.path)

    def read(self) -> bytes:
        """Return the message."""
        with disk_errors(self.path):
            return self.path.read_bytes()

    def rewrite(self, payload: bytes) -> None:
        """Put ``payload`` in its place, durably; afterwards somebody else may take it."""
        with disk_errors(self.path):
            write_durably(self._temporary / f"{self.path.name}.{uuid.uuid4().hex}", self.path, [payload])

    def put_off(self, until_s: float) -> None:
        """Let nobody take it before then, in seconds since the epoch; a crash before this only brings it sooner."""
        with disk_errors(self.path):
            os.utime(self.path, (until_s, until_s))

    def forget(self) -> None:
        """It is done."""
        with disk_errors(self.path):
            self.path.unlink(missing_ok=True)
            sync_folder(self.path.parent)


def payload(path: Path) -> bytes | None:
    """Return a message that may be done meanwhile, None where it is."""
    with disk_errors(path), suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def kept_s(path: Path) -> float:
    """Return when a message was kept; 0.0 where its name does not say so."""
    stamp = path.name.partition("-")[0]
    return int(stamp) / 1e9 if stamp.isdigit() else 0.0


@contextmanager
def take(path: Path, temporary: Path, now_s: float) -> Iterator[Held | None]:
    """Hold one message inside the block; None where somebody else holds it, it is gone, or it is not yet due."""
    fd = None
    with disk_errors(path), suppress(FileNotFoundError):
        fd = try_lock(path)
    try:
        yield Held(path, temporary) if fd is not None and _is_still_it(fd, path, now_s) else None
    finally:
        if fd is not None:
            os.close(fd)


def is_due(path: Path, now_s: float) -> bool:
    """Return whether a message is there and was not put off until later."""
    with disk_errors(path):
        try:
            return path.stat().st_mtime <= now_s
        except FileNotFoundError:
            return False


def _is_still_it(fd: int, path: Path, now_s: float) -> bool:
    """Whether the locked file still has its name, and is due: it may have been done, or put off, meanwhile."""
    with disk_errors(path), suppress(FileNotFoundError):
        return os.fstat(fd).st_ino == path.stat().st_ino and is_due(path, now_s)
    return False
