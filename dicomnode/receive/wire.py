"""The DICOM upper layer on one accepted connection: PDUs in, fragments out (PS3.8 Section 9.3).

Notes
-----
pynetdicom reads 4096 bytes at a time into a queue that another thread polls; that costs half of a sender's time.
Here one thread reads whole PDUs into one buffer and hands out views of it. MSG_WAITALL and SO_RCVLOWAT, which wake
this thread less often, were tried and left out: they hold back acknowledgements, and senders with Nagle's algorithm on
became slower again.
"""

from __future__ import annotations

import socket
import threading
import time
from math import inf
from struct import Struct
from typing import Final

from dicomnode.receive.over import AssociationOver, Overdue, PeerGone, ProtocolError, Released, Stopping
from dicomnode.receive.progress import Progress
from dicomnode.receive.reasons import INVALID_PARAMETER, NOT_SPECIFIED, UNEXPECTED_PDU, UNRECOGNIZED_PDU
from dicomnode.receive.transport import TICK_S, Transport

ASSOCIATE_RQ: Final = 0x01
DATA_TF: Final = 0x04
RELEASE_RQ: Final = 0x05
RELEASE_RP: Final = 0x06
ABORT: Final = 0x07
TLS_HANDSHAKE: Final = 0x16
"""No PDU, but what a TLS client says first (RFC 8446 5.1)."""

COMMAND: Final = 0x01
LAST: Final = 0x02

BUFFER_BYTES: Final = 1 << 18
MOST_ASSOCIATE_BYTES: Final = 1 << 20
"""An A-ASSOCIATE-RQ with all 128 presentation contexts stays below 100 kB."""
SHORT_PDU_BYTES: Final = 4
SMALLEST_PDU_BYTES: Final = 128
"""A peer's announced maximum below this would leave no room for a command; it is then ignored."""
ARTIM_S: Final = 10.0
"""How long a peer may take to bring its whole A-ASSOCIATE-RQ, and to close after our last PDU (PS3.8 Section 9.1.5)."""

_PDU: Final = Struct(">BxI")
_PDV: Final = Struct(">IBB")
_PDU_PDV: Final = Struct(">BxIIBB")


class Wire:
    """One connection.

    Parameters
    ----------
    max_pdu_bytes:
        The maximum length that we announce; longer P-DATA-TF PDUs are a protocol error. 0: any length.
    silence_s:
        The peer may not send for at most this long.
    stop:
        Set: between two messages, ``next_fragment`` raises Stopping.
    """

    def __init__(self, connection: socket.socket, *, max_pdu_bytes: int, silence_s: float,
                 stop: threading.Event) -> None:
        self.at_boundary = True
        self.peer_max_pdu_bytes = 0
        self._transport = Transport(connection, silence_s)
        self._max_pdu_bytes = max_pdu_bytes or 0xFFFFFFFF
        self._silent_ticks = max(1, round(silence_s / TICK_S))
        self._stop = stop
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._start = self._end = 0
        self._pdu_left = self._pdv_left = 0
        self._context_id = self._control = -1
        self._give_up_s = inf
        self._progress = Progress(window_s=silence_s)

    # reading

    def associate_request(self, *, within_s: float) -> bytes:
        """The whole A-ASSOCIATE-RQ PDU, its head included; nothing else may come first.

        Raises
        ------
        Overdue
            It is not complete ``within_s`` from now, however steadily its bytes come.
        """
        self._give_up_s = time.monotonic() + within_s
        kind, length = self._pdu_head()
        if kind != ASSOCIATE_RQ:
            hint = ": TLS on the port of plain associations?" if kind == TLS_HANDSHAKE else ""
            raise ProtocolError(f"PDU type {kind:#04x} before A-ASSOCIATE-RQ{hint}", UNEXPECTED_PDU)
        if length > MOST_ASSOCIATE_BYTES:
            raise ProtocolError(f"A-ASSOCIATE-RQ of {length} bytes", INVALID_PARAMETER)
        request = _PDU.pack(kind, length) + self._copy(length)
        self._give_up_s = inf
        return request

    def next_fragment(self) -> tuple[int, int, memoryview]:
        """Context id, control header and bytes of the next piece of a PDV; the bytes live until the next call.

        The LAST bit stands only on the final piece of a PDV that carries it.
        """
        left = self._pdv_left or self._open_pdv()
        size = min(left, BUFFER_BYTES)
        if self._end - self._start < size:
            self._fill(size)
        view = self._buffer[self._start:self._start + size]
        self._start += size
        self._pdv_left = left - size
        return self._context_id, self._control if size == left else self._control & ~LAST, view

    def _open_pdv(self) -> int:
        while not self._pdu_left:
            self._open_data_pdu()
        if self._pdu_left < _PDV.size:
            raise ProtocolError(f"{self._pdu_left} bytes left in a PDU for a PDV header", INVALID_PARAMETER)
        self._fill(_PDV.size)
        length, self._context_id, self._control = _PDV.unpack_from(self._buffer, self._start)
        self._start += _PDV.size
        if length < 2 or length + 4 > self._pdu_left:  # noqa: PLR2004  context id and control header are counted
            raise ProtocolError(f"PDV of {length} bytes in a PDU with {self._pdu_left} left", INVALID_PARAMETER)
        self._pdu_left -= length + 4
        return int(length) - 2

    def _open_data_pdu(self) -> None:
        kind, length = self._pdu_head()
        if kind == DATA_TF:
            if length > self._max_pdu_bytes:
                raise ProtocolError(f"P-DATA-TF of {length} bytes, announced {self._max_pdu_bytes}", INVALID_PARAMETER)
            self._pdu_left = length
            return
        if kind not in range(ASSOCIATE_RQ, ABORT + 1):
            raise ProtocolError(f"PDU type {kind:#04x}", UNRECOGNIZED_PDU)
        if kind == ABORT:
            raise PeerGone("aborted by the peer")
        if kind != RELEASE_RQ or length != SHORT_PDU_BYTES or not self.at_boundary:
            raise ProtocolError(f"PDU type {kind:#04x} during data transfer", UNEXPECTED_PDU)
        self._copy(length)
        raise Released("released")

    def _pdu_head(self) -> tuple[int, int]:
        if self.at_boundary and self._stop.is_set():
            raise Stopping("the node stops")
        self._fill(_PDU.size)
        kind, length = _PDU.unpack_from(self._buffer, self._start)
        self._start += _PDU.size
        return kind, length

    def _copy(self, length: int) -> bytes:
        pieces = []
        while length:
            size = min(length, BUFFER_BYTES)
            self._fill(size)
            pieces.append(bytes(self._buffer[self._start:self._start + size]))
            self._start += size
            length -= size
        return b"".join(pieces)

    def _fill(self, wanted: int) -> None:
        """Have at least ``wanted`` bytes in the buffer, reading as many as there are."""
        have = self._end - self._start
        if have >= wanted:
            return
        if self._start + wanted > BUFFER_BYTES or not have:
            self._buffer[:have] = bytes(self._buffer[self._start:self._end])
            self._start, self._end = 0, have
        while self._end - self._start < wanted:
            self._end += self._receive()

    def _receive(self) -> int:
        began_s = time.monotonic()
        for _ in range(self._silent_ticks):
            if time.monotonic() >= self._give_up_s:
                raise Overdue("ARTIM expired: the A-ASSOCIATE-RQ is not complete")
            size = self._transport.receive_into(self._buffer[self._end:])
            if size is None:
                if self.at_boundary and self._stop.is_set():
                    raise Stopping("the node stops")
                continue
            if not size:
                raise PeerGone("connection closed by the peer without release")
            if self.at_boundary and self._end == self._start:
                self._progress.begin()
            else:
                self._progress.took(size, time.monotonic() - began_s)
            return size
        raise ProtocolError(f"silent for {self._silent_ticks * TICK_S:g} s", NOT_SPECIFIED)

    # writing

    def hold(self, seconds: float) -> None:
        """Let time pass before the next answer; a node that stops does not wait."""
        if seconds:
            self._stop.wait(seconds)

    def send(self, data: bytes) -> None:
        """Send a whole PDU."""
        self._transport.send_all(data)

    def send_command(self, context_id: int, command: bytes) -> None:
        """Send a command set, in as many PDUs as the peer's announced maximum asks for."""
        most = self.peer_max_pdu_bytes - _PDV.size
        if self.peer_max_pdu_bytes < SMALLEST_PDU_BYTES or len(command) <= most:
            most = len(command)
        for start in range(0, len(command), most):
            piece = command[start:start + most]
            control = COMMAND | (LAST if start + most >= len(command) else 0)
            self.send(_PDU_PDV.pack(DATA_TF, len(piece) + 6, len(piece) + 2, context_id, control) + piece)

    def release(self) -> None:
        """Answer A-RELEASE-RQ."""
        self.send(_PDU.pack(RELEASE_RP, 4) + bytes(4))

    def reject(self, result: int, source: int, reason: int) -> None:
        """Send A-ASSOCIATE-RJ (PS3.8 Table 9-21)."""
        self.send(_PDU.pack(0x03, 4) + bytes((0, result, source, reason)))

    def abort(self, reason: int) -> None:
        """Send A-ABORT as the service provider (PS3.8 Table 9-26)."""
        self.send(_PDU.pack(ABORT, 4) + bytes((0, 0, 2, reason)))

    def wait_for_hang_up(self) -> None:
        """Read until the peer closes or ARTIM expires: closing first could drop our last PDU (PS3.8 Section 9.1.4)."""
        self.at_boundary = True
        self._silent_ticks = 1
        give_up_s = time.monotonic() + ARTIM_S
        while time.monotonic() < give_up_s:
            self._start = self._end = 0
            try:
                self._receive()
            except ProtocolError:  # one silent tick
                continue
            except AssociationOver:
                return
