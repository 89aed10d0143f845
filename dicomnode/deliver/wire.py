"""The socket below an association: PDUs in and bytes out, each wait bounded, each failure a ``DeliveryError``."""

from __future__ import annotations

import select
import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from dicomnode.deliver import pdu
from dicomnode.deliver.guard import guarded, tls_error
from dicomnode.deliver.status import abort_error
from dicomnode.domain.node import Peer
from dicomnode.errors import ConfigError, DeliveryError, PeerUnreachable
from dicomnode.tls import Contexts

LARGEST_RECEIVED_PDU_BYTES: Final = 1 << 20
"""An A-ASSOCIATE-AC with 128 contexts has 8 kB: a longer PDU is nonsense, not to be waited for."""
RELEASE_TIMEOUT_S: Final = 10.0
"""How long to wait for A-RELEASE-RP: everything is stored by then, so nothing hangs on it."""
MOST_PDUS_BEFORE_RELEASE: Final = 100
"""A peer may still have something to say when we ask to release, but not for ever."""


class Wire:
    """A connection to a peer: TCP, and TLS over it where the peer's table says so.

    Parameters
    ----------
    timeout_s:
        The longest that the peer may be silent, or not read, at any moment.

    Raises
    ------
    ConfigError
        If the peer has no host and port.
    PeerUnreachable
        If there is no connection.
    TlsFailed
        If there is no TLS on it.
    """

    def __init__(self, peer: Peer, timeout_s: float, tls: Contexts | None = None) -> None:
        self.place = f"{peer.name} ({peer.ae_title} at {peer.host}:{peer.port})"
        self._timeout_s = timeout_s
        self._socket = _connect(self.place, peer, timeout_s)
        if peer.tls:
            self._socket = guarded(self._socket, peer, tls, self.place)

    def read_pdu(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU; an A-ABORT is raised as what it means."""
        kind, length = struct.unpack(">BxI", self._read(6))
        if length > LARGEST_RECEIVED_PDU_BYTES:
            raise self.protocol_error(f"a PDU of {length} bytes")
        body = self._read(length)
        if kind == pdu.ABORT and len(body) >= 4:  # noqa: PLR2004 - PS3.8 Table 9-26
            raise abort_error(self.place, source=body[2], reason=body[3])
        return kind, body

    def something_comes(self, within_s: float) -> bool:
        """Wait until the peer has sent something, at most so long; return whether it has."""
        decrypted = getattr(self._socket, "pending", None)  # under TLS, what lies behind the kernel's buffer
        if decrypted is not None and decrypted():
            return True
        readable, _, _ = select.select([self._socket], [], [], within_s)
        return bool(readable)

    def _read(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            try:
                part = self._socket.recv(count - len(data))
            except TimeoutError as error:
                msg = f"{self.place}: silent for {self._timeout_s:g} s; see [delivery] timeout_s if it is only slow"
                raise PeerUnreachable(msg) from error
            except ssl.SSLError as error:
                raise tls_error(self.place, error) from error
            except OSError as error:
                msg = f"{self.place}: the connection broke: {error.strerror}"
                raise PeerUnreachable(msg) from error
            _acknowledge_at_once(self._socket)
            if not part:
                msg = f"{self.place}: closed the connection without an answer"
                raise PeerUnreachable(msg)
            data += part
        return bytes(data)

    def write(self, parts: Sequence[bytes]) -> None:
        """Write everything, or raise ``PeerUnreachable``."""
        try:
            self._socket.sendall(b"".join(parts))
        except TimeoutError as error:
            msg = f"{self.place}: did not read for {self._timeout_s:g} s"
            raise PeerUnreachable(msg) from error
        except OSError as error:
            raise self._why_it_broke(error) from error

    def _why_it_broke(self, error: OSError) -> DeliveryError:
        """Return the peer's A-ABORT where one still lies in the socket, else the system's own reason."""
        try:
            self._socket.settimeout(0)
            waiting = self._socket.recv(10)
            if len(waiting) == 10 and waiting[0] == pdu.ABORT:  # noqa: PLR2004 - PS3.8 Table 9-26
                return abort_error(self.place, source=waiting[8], reason=waiting[9])
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            pass
        except ssl.SSLError as alert:
            return tls_error(self.place, alert)
        except OSError:
            pass
        return PeerUnreachable(f"{self.place}: the connection broke while sending: {error.strerror}")

    def protocol_error(self, what: str) -> DeliveryError:
        """Return the error for what no peer may send."""
        return PeerUnreachable(f"{self.place}: sent what the protocol does not allow: {what} (PS3.8 9.2)")

    def release(self) -> None:
        """Ask to release and close; a peer that does not answer changes nothing."""
        with suppress(DeliveryError, OSError):
            self._socket.settimeout(min(RELEASE_TIMEOUT_S, self._timeout_s))
            self.write([pdu.RELEASE_RQ_PDU])
            for _ in range(MOST_PDUS_BEFORE_RELEASE):
                kind, _ = self.read_pdu()
                if kind == pdu.RELEASE_RQ:
                    self.write([pdu.RELEASE_RP_PDU])
                if kind != pdu.P_DATA:
                    break
        self._socket.close()

    def abort(self) -> None:
        """Abort and close."""
        with suppress(OSError):
            self._socket.settimeout(0)
            self._socket.sendall(pdu.ABORT_PDU)
        self._socket.close()


def _connect(place: str, peer: Peer, timeout_s: float) -> socket.socket:
    if not peer.can_receive:
        msg = f"[peers.{peer.name}]: host and port are needed to send to it"
        raise ConfigError(msg)
    try:
        connection = socket.create_connection((peer.host, peer.port), timeout=timeout_s)
    except socket.gaierror as error:
        msg = f"{place}: the host name is unknown: {error.strerror}"
        raise PeerUnreachable(msg) from error
    except TimeoutError as error:
        msg = f"{place}: no connection within {timeout_s:g} s"
        raise PeerUnreachable(msg) from error
    except OSError as error:
        msg = f"{place}: no connection: {error.strerror}"
        raise PeerUnreachable(msg) from error
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    _acknowledge_at_once(connection)
    return connection


def _acknowledge_at_once(connection: socket.socket) -> None:
    """Do not delay acknowledgements: a peer with Nagle's algorithm on holds half of each response for them, 40 ms."""
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
