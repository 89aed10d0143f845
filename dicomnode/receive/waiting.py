"""Connections without an association: they cost a thread each, so they are few, and newcomers always get in."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Final

from dicomnode import logs
from dicomnode.crowds import Callers

FEWEST_PER_ADDRESS: Final = 16
SPARE: Final = 96
"""Places beyond those that one address may fill."""

CUT: Final = "too many connections without an association; the oldest was closed for a new one"

_log = logs.get("receive")


class WaitingRoom:
    """Holds every connection whose A-ASSOCIATE-RQ is still due, or that was answered and has yet to hang up.

    Notes
    -----
    Where an address, or the room, is full, the oldest connection of that address, or of the address with the most,
    is cut for the newcomer. An honest peer speaks within a round trip; what sits there longest is the one to doubt,
    and connections that say nothing never keep out one that does.
    """

    def __init__(self, *, max_associations: int) -> None:
        self._per_address = max(FEWEST_PER_ADDRESS, max_associations)
        self._most = self._per_address + SPARE
        self._waiting: dict[socket.socket, str] = {}
        self._cut = Callers()
        self._lock = threading.Lock()

    def enter(self, connection: socket.socket, address: str) -> None:
        """Take a place, if need be that of another connection."""
        with self._lock:
            counts = Counter(self._waiting.values())
            if counts[address] >= self._per_address:
                self._cut_oldest(address)
            elif len(self._waiting) >= self._most:
                self._cut_oldest(counts.most_common(1)[0][0])
            self._waiting[connection] = address

    def leave(self, connection: socket.socket) -> None:
        """Give the place back; a second call does nothing. Call it before the connection is closed."""
        with self._lock:
            self._waiting.pop(connection, None)

    def _cut_oldest(self, address: str) -> None:
        oldest = next(connection for connection, held_by in self._waiting.items() if held_by == address)
        del self._waiting[oldest]
        with suppress(OSError):  # the peer was faster
            socket.socket.shutdown(oldest, socket.SHUT_RDWR)  # under TLS too: the end of the stream, not of a session
        words = self._cut.hear(address, CUT, time.monotonic())
        if words is not None:
            _log.warning("connection_closed", address=address, reason=words)
