"""Processes of one node wake each other by a datagram; who misses it polls.

Each waiting process binds ``<data_dir>/run/<role>.<pid>.<host>.sock``. Ringing a role sends one byte to every
such socket. A lost datagram costs at most ``POLL_S``: the truth is in the ledger and the spool.
"""

from __future__ import annotations

import os
import select
import socket
from pathlib import Path
from types import TracebackType
from typing import Final, Self

POLL_S: Final = 0.5
"""Longest wait before a conductor looks for work unasked."""


class Bell:
    """One role's door bell.

    Parameters
    ----------
    folder:
        ``<data_dir>/run``; made if absent.
    role:
        ``keeper``, ``worker`` or ``sender``.
    """

    def __init__(self, folder: Path, role: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._name = f"{role}.{os.getpid()}.{socket.gethostname()}.sock"
        self._folder = folder
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        (folder / self._name).unlink(missing_ok=True)
        with _short_path(folder) as short:
            self._socket.bind(f"{short}/{self._name}")

    def wait(self, timeout_s: float = POLL_S) -> bool:
        """Wait until rung or ``timeout_s`` has passed; return whether it rang."""
        readable, _, _ = select.select([self._socket], [], [], timeout_s)
        rung = False
        while readable:
            try:
                self._socket.recv(16)
                rung = True
            except BlockingIOError:
                break
        return rung

    def close(self) -> None:
        """Take the bell down."""
        self._socket.close()
        (self._folder / self._name).unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Take the bell down."""
        self.close()


def ring(folder: Path, role: str) -> None:
    """Wake every process of ``role`` that listens below ``folder``; never fails, never waits."""
    if not folder.is_dir():
        return
    with _short_path(folder) as short, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.settimeout(0)
        for door in folder.glob(f"{role}.*.sock"):
            try:
                sender.sendto(b"!", f"{short}/{door.name}")
            except ConnectionRefusedError:
                door.unlink(missing_ok=True)
            except OSError:
                continue


class _short_path:  # noqa: N801
    """A path of a few characters for a folder: socket addresses hold only 107 bytes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> str:
        self._descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
