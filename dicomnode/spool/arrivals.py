"""What came in and is not yet indexed: one folder per association, one locked file beside it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Container, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dicomnode.errors import SpoolFull
from dicomnode.spool.disk import FILE_MODE, disk_errors, make_folder, try_lock, write_all

FINISHED: Final = ".dcm"
UNFINISHED: Final = ".part"
LOCK: Final = ".lock"
FEEDS: Final = ".feeds"
"""Of an empty file named after a study: this association has sent images of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """One acknowledged file that waits to be indexed.

    Parameters
    ----------
    arrived_at:
        Aware UTC, from the file's modification time.
    association_open:
        Whether the association that sent it was still open when the folder was read.
    """

    path: Path
    association: str
    arrived_at: datetime
    association_open: bool


class Incoming:
    """One file on its way in: write, then ``commit`` or ``discard``; a crash between leaves only a ``.part``."""

    def __init__(self, folder_fd: int, folder: Path, stem: str) -> None:
        self._folder_fd = folder_fd
        self._final = folder / (stem + FINISHED)
        self._temporary = folder / (stem + UNFINISHED)
        with disk_errors(folder):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(self._temporary.name, flags, FILE_MODE, dir_fd=folder_fd)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append ``data``."""
        try:
            write_all(self._fd, data)
        except OSError:
            with disk_errors(self._temporary):
                raise

    def commit(self) -> Path:
        """Make the bytes, then the name durable: fsync, rename, fsync of the folder."""
        with disk_errors(self._final):
            os.fsync(self._fd)
            os.rename(self._temporary.name, self._final.name,
                      src_dir_fd=self._folder_fd, dst_dir_fd=self._folder_fd)
            self._close()
            os.fsync(self._folder_fd)
        return self._final

    def discard(self) -> None:
        """Leave nothing behind."""
        self._close()
        with disk_errors(self._temporary), suppress(FileNotFoundError):
            os.unlink(self._temporary.name, dir_fd=self._folder_fd)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class ArrivalFolder:
    """The folder of one open association; its lock tells the keeper, without a database, that more may come."""

    def __init__(self, root: Path, temporary: Path, name: str, *, min_free_bytes: int) -> None:
        self.name = name
        self._folder = root / name
        self._min_free_bytes = min_free_bytes
        self._count = 0
        with disk_errors(self._folder):
            self._lock_fd = _locked_file(temporary / (name + LOCK), root / (name + LOCK))
            try:
                make_folder(self._folder)
                self._folder_fd = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                os.close(self._lock_fd)
                raise

    def begin(self) -> Incoming:
        """Open the next file.

        Raises
        ------
        SpoolFull
            Less than ``min_free_bytes`` would be left.
        SpoolUnavailable
            The disk does not take a new file.
        """
        with disk_errors(self._folder):
            disk = os.fstatvfs(self._folder_fd)
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < self._min_free_bytes:
            msg = (f"{self._folder}: {free_bytes} bytes free, min_free_gb asks for {self._min_free_bytes}; "
                   "free space, add a disk or let [retention] delete more")
            raise SpoolFull(msg)
        self._count += 1
        return Incoming(self._folder_fd, self._folder, f"{self._count:06d}")

    def put(self, parts: Sequence[bytes | memoryview]) -> Path:
        """The parts lie in one file, durable before this returns; after an error nothing of them is left."""
        incoming = self.begin()
        try:
            for part in parts:
                incoming.write(part)
            return incoming.commit()
        except BaseException:
            incoming.discard()
            raise

    def close(self) -> None:
        """Free the lock; the files stay until they are indexed."""
        lock_fd, self._lock_fd = self._lock_fd, -1
        if lock_fd >= 0:
            os.close(self._folder_fd)
            os.close(lock_fd)

    def __enter__(self) -> Self:
        """Hold the lock inside the block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Free the lock."""
        self.close()


def _locked_file(temporary: Path, final: Path) -> int:
    """Locked before it has its name: nobody can see an open association unlocked."""
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.link(temporary, final)
        temporary.unlink()
    except OSError:
        temporary.unlink(missing_ok=True)
        os.close(fd)
        raise
    return fd


def scan(root: Path, skip: Container[Path] = ()) -> list[Arrival]:
    """Every finished file that is not in ``skip``, oldest first.

    Notes
    -----
    A lock is looked at before its folder is read: of an association that counts as closed, every file is seen.
    """
    found = [arrival for folder in _folders(root) for arrival in _in_folder(root, folder, skip)]
    found.sort(key=lambda arrival: (arrival.arrived_at, arrival.path))
    return found


def open_names(root: Path) -> frozenset[str]:
    """The associations whose lock is held now."""
    return frozenset(lock.stem for lock in root.glob("*" + LOCK) if _is_held(lock))


def mark_fed(root: Path, association: str, study_uid: str) -> None:
    """Remember, as long as the association's folder stands, that it has sent images of a study."""
    with suppress(FileNotFoundError):
        (root / association / (study_uid + FEEDS)).touch(FILE_MODE)


def fed_studies(root: Path) -> frozenset[str]:
    """The studies of which an association that is still open has sent images."""
    return frozenset(mark.stem for name in open_names(root) for mark in (root / name).glob("*" + FEEDS))


def sweep(root: Path) -> int:
    """Remove what closed associations left: unfinished files, empty folders, their locks; count the unfinished."""
    removed = 0
    for folder in _folders(root):
        lock = root / (folder.name + LOCK)
        if _is_held(lock):
            continue
        for leftover in folder.glob("*" + UNFINISHED):
            leftover.unlink(missing_ok=True)
            removed += 1
        for mark in folder.glob("*" + FEEDS):
            mark.unlink(missing_ok=True)
        with suppress(OSError):  # not empty: arrivals still wait
            folder.rmdir()
    for lock in root.glob("*" + LOCK):
        if not (root / lock.stem).is_dir() and not _is_held(lock):
            lock.unlink(missing_ok=True)
    return removed


def _folders(root: Path) -> Iterator[Path]:
    with os.scandir(root) as entries:
        names = sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    return (root / name for name in names)


def _in_folder(root: Path, folder: Path, skip: Container[Path]) -> Iterator[Arrival]:
    is_open = _is_held(root / (folder.name + LOCK))
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            if entry.name.endswith(FINISHED) and path not in skip:
                with suppress(FileNotFoundError):  # the keeper unlinks while `status` looks
                    arrived_at = datetime.fromtimestamp(entry.stat().st_mtime, tz=UTC)
                    yield Arrival(path=path, association=folder.name, arrived_at=arrived_at,
                                  association_open=is_open)


def _is_held(lock: Path) -> bool:
    try:
        fd = try_lock(lock, shared=True)
    except FileNotFoundError:
        return False
    if fd is None:
        return True
    os.close(fd)
    return False
