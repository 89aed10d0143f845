"""The bytes below the upper layer, over plain TCP or TLS: each wait is short, so that a stop and a limit are seen."""

from __future__ import annotations

import socket
import ssl
from struct import Struct
from typing import Final

from dicomnode.receive.over import PeerGone

TICK_S: Final = 0.25

_TIMEVAL: Final = Struct("@ll")
_QUICKACK: Final = getattr(socket, "TCP_QUICKACK", None)  # Linux only


class Transport:
    """One connection whose reads wait for at most ``TICK_S``, its writes for ``silence_s``.

    Notes
    -----
    TCP_QUICKACK is asked for again at each read: a sender with Nagle's algorithm on waits for our acknowledgement
    before it sends the end of a PDU, and the kernel would hold that back for 40 ms. The kernel's own time limits spare
    plain TCP a poll for each read; Python's ssl tries again for ever where they strike, and gets Python's.
    """

    def __init__(self, connection: socket.socket, silence_s: float) -> None:
        self._connection = connection
        self._silence_s = silence_s
        self._is_tls = isinstance(connection, ssl.SSLSocket)
        if self._is_tls:
            connection.settimeout(TICK_S)
        else:
            connection.setblocking(True)  # noqa: FBT003  the name of the standard library's only parameter
            self._limit(socket.SO_RCVTIMEO, TICK_S)
            self._limit(socket.SO_SNDTIMEO, int(silence_s) or 1)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _limit(self, option: int, limit_s: float) -> None:
        seconds, fraction = divmod(limit_s, 1)
        self._connection.setsockopt(socket.SOL_SOCKET, option, _TIMEVAL.pack(int(seconds), int(fraction * 1e6)))

    def receive_into(self, place: memoryview) -> int | None:
        """How many bytes came, 0 at the stream's end, None where nothing came in time.

        Raises
        ------
        PeerGone
        """
        try:
            size = self._connection.recv_into(place)
        except (BlockingIOError, TimeoutError):
            return None
        except OSError as error:
            raise PeerGone(f"connection lost: {error.strerror or error}") from error
        if size and _QUICKACK is not None:
            self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        return size

    def send_all(self, data: bytes) -> None:
        """Write everything.

        Raises
        ------
        PeerGone
        """
        try:
            if self._is_tls:
                self._connection.settimeout(self._silence_s)
            self._connection.sendall(data)
            if self._is_tls:
                self._connection.settimeout(TICK_S)
        except OSError as error:
            raise PeerGone(f"connection lost: {error.strerror or error}") from error
