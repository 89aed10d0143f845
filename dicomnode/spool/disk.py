"""Durable files and folders: after any of these returns, a power cut keeps its effect."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from dicomnode.errors import SpoolFull, SpoolUnavailable

FILE_MODE = 0o640
FOLDER_MODE = 0o750
MOST_REMEMBERED = 10_000
_DURABLE: set[Path] = set()
"""Folders whose names this process knows to be durable."""
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """An ``OSError`` leaves the room as SpoolFull (ENOSPC, EDQUOT) or SpoolUnavailable (all others but one).

    FileExistsError passes: it says that a name is taken, not that the disk fails.

    Raises
    ------
    SpoolFull
        The device or the quota has no room left.
    SpoolUnavailable
        The file system is read-only, fails, or the folder is gone.
    """
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        if error.errno in FULL:
            msg = f"{path}: {error.strerror}: the disk below data_dir is full; free space or set [retention]"
            raise SpoolFull(msg) from error
        msg = f"{path}: {error.strerror or error}: the spool cannot be used; check the disk and its mount"
        raise SpoolUnavailable(msg) from error


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable (POSIX: fsync of a file does not cover its directory entry)."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def make_folder(folder: Path) -> None:
    """Make ``folder`` and the missing folders above it, each durable in its parent, whoever made it.

    Notes
    -----
    A folder that is there may have been made by a process that died before it could fsync the parent: what is put
    there would go with it at a power cut. So each process fsyncs the parent of each folder once.
    """
    if folder.is_dir():
        if folder in _DURABLE:
            return
        with suppress(PermissionError):  # above data_dir, where this user may not read and has made nothing
            sync_folder(folder.parent)
    else:
        make_folder(folder.parent)
        with suppress(FileExistsError):
            folder.mkdir(mode=FOLDER_MODE)
        sync_folder(folder.parent)
    if len(_DURABLE) >= MOST_REMEMBERED:
        _DURABLE.clear()
    _DURABLE.add(folder)


def write_all(fd: int, data: bytes | bytearray | memoryview) -> None:
    """Write every byte: a short write (signal, nearly full disk) is continued until the kernel says why not."""
    written = os.write(fd, data)
    if written < len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(fd, rest):]


def write_durably(temporary: Path, final: Path, parts: Sequence[bytes | memoryview]) -> None:
    """The file appears under its final name whole and durable, or not at all."""
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        for part in parts:
            write_all(fd, part)
        os.fsync(fd)
        temporary.rename(final)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    finally:
        os.close(fd)
    sync_folder(final.parent)


def try_lock(path: Path, *, shared: bool = False) -> int | None:
    """Return an open descriptor that holds the lock of an existing file, or None while somebody else holds it.

    The kernel frees the lock when the descriptor is closed or its process dies.
    """
    fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        os.close(fd)
        raise
    return fd
