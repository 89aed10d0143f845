"""Which roles live: each holds a lock that the kernel frees when the process dies.

The file's name holds the host: containers that share a volume all have process 1.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections import Counter
from pathlib import Path


class Presence:
    """Hold ``<data_dir>/run/<role>.<pid>.alive`` locked while the object lives."""

    def __init__(self, folder: Path, role: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        _bury_dead(folder, role)
        self._path = folder / f"{role}.{os.getpid()}.{socket.gethostname()}.alive"
        unborn = self._path.with_suffix(".unborn")
        self._descriptor = os.open(unborn, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        unborn.rename(self._path)

    def close(self) -> None:
        """Leave."""
        self._path.unlink(missing_ok=True)
        os.close(self._descriptor)


def living(folder: Path) -> dict[str, int]:
    """Count the living processes of each role; leftovers of the dead do not count."""
    counts: Counter[str] = Counter()
    for path in folder.glob("*.alive"):
        if _is_locked(path):
            counts[path.name.split(".", 1)[0]] += 1
    return dict(counts)


def _bury_dead(folder: Path, role: str) -> None:
    for path in folder.glob(f"{role}.*.alive"):
        if not _is_locked(path):
            path.unlink(missing_ok=True)


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)
