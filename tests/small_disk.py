"""A disk of its own, as small as wanted: a tmpfs that a test may fill, mount read-only and mend."""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted tmpfs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def free_bytes(self) -> int:
        disk = os.statvfs(self.folder)
        return disk.f_bavail * disk.f_frsize

    def fill(self, leave_bytes: int = 0) -> None:
        """Let somebody else's file take everything but ``leave_bytes``."""
        size = self.free_bytes() - leave_bytes
        with self._ballast.open("ab") as file:
            os.posix_fallocate(file.fileno(), file.tell(), max(size, 1))

    def make_room(self) -> None:
        """Remove that file."""
        self._ballast.unlink()

    def fill_names(self) -> None:
        """Let somebody else's empty files take every name that the disk has."""
        heap = self.folder / "heap"
        heap.mkdir()
        with suppress(OSError):
            for number in itertools.count():
                (heap / str(number)).touch()

    def free_names(self) -> None:
        """Remove those files."""
        shutil.rmtree(self.folder / "heap")

    def mount(self, how: str) -> bool:
        """Mount it anew, ``ro`` or ``rw``; False while somebody still writes."""
        return subprocess.run(["mount", "-o", f"remount,{how}", str(self.folder)], capture_output=True,
                              check=False).returncode == 0


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[SmallDisk]:
    """Mount a tmpfs; skips where this is not allowed."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,nr_inodes=2000", "tmpfs", str(folder)],
                             capture_output=True, text=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no tmpfs may be mounted here: {mounted.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
