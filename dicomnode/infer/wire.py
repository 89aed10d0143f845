"""What parent and child say to one another: JSON messages and memory files, over a Unix socket pair.

Volumes and weights travel as file descriptors of anonymous memory (``memfd``), never through a path:
no patient pixel touches a disk, none is left behind when a process is killed.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_MESSAGE_BYTES: Final = 1 << 17
MAX_FILES: Final = 250
"""Largest number of descriptors in one message; the kernel's own limit is 253 (SCM_MAX_FD)."""
Message = dict[str, Any]


class TooLargeError(ValueError):
    """A message does not fit; nothing was sent."""


class GarbledError(ValueError):
    """The other side does not keep to the protocol."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Return two connected sockets that keep message boundaries."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(channel: socket.socket, message: Mapping[str, object], fds: Sequence[int] = ()) -> None:
    """Send one message; the descriptors stay open here.

    Raises
    ------
    OSError
        If the other side is gone.
    TooLargeError
        If the message is too large.
    """
    payload = json.dumps(message).encode()
    if len(payload) > MAX_MESSAGE_BYTES:
        msg = f"message of {len(payload)} bytes; allowed are {MAX_MESSAGE_BYTES}"
        raise TooLargeError(msg)
    socket.send_fds(channel, [payload], list(fds))


def receive(channel: socket.socket) -> tuple[Message, list[int]]:
    """Wait for one message.

    Raises
    ------
    EOFError
        If the other side closed the channel.
    GarbledError
        If what came is no message.
    """
    payload, fds, _flags, _address = socket.recv_fds(channel, MAX_MESSAGE_BYTES, MAX_FILES)
    if not payload:
        raise EOFError
    try:
        message = json.loads(payload)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        for fd in fds:
            os.close(fd)
        raise GarbledError("what came is no message")
    return message, fds


def share(array: NDArray[np.generic]) -> int:
    """Copy an array, in C order, into sealed memory that nobody can change; return its descriptor."""
    fd = allocate(max(1, array.nbytes))
    with mmap.mmap(fd, max(1, array.nbytes)) as memory:
        view = np.frombuffer(memory, dtype=array.dtype, count=array.size).reshape(array.shape)
        np.copyto(view, array)
        del view
    seal(fd)
    return fd


def allocate(size_bytes: int) -> int:
    """Return the descriptor of writable memory whose size is fixed."""
    fd = os.memfd_create("volume", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size_bytes)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)
    return fd


def seal(fd: int) -> None:
    """Forbid every further change of a memory file."""
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS,
                fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)


def view(fd: int, dtype: str, shape: Sequence[int], *, writable: bool = False) -> NDArray[Any]:
    """Map memory as an array without copying; the mapping lives as long as the array.

    The descriptor may be closed afterwards.
    """
    count = int(np.prod(shape, dtype=np.int64))
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    memory = mmap.mmap(fd, max(1, count * np.dtype(dtype).itemsize), access=access)
    return np.frombuffer(memory, dtype=dtype, count=count).reshape(tuple(shape))
