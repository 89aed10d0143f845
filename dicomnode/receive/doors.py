"""The ports on which the receiver answers: plain TCP, TLS, or both side by side."""

from __future__ import annotations

import selectors
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from dicomnode import logs
from dicomnode.domain.node import NodeSettings, ReceiveSettings
from dicomnode.errors import ConfigError
from dicomnode.receive.over import Overdue, PeerGone, Stopping, Untrusted
from dicomnode.tls import Contexts, Identity, identity, why

BACKLOG: Final = 128
LOOK_AT_STOP_S: Final = 0.25
HANDSHAKE_S: Final = 10.0
"""How long the whole TLS handshake may take, however steadily its bytes come; ARTIM begins after it."""
LAST_READS: Final = 8
READ_BYTES: Final = 1 << 14

_log = logs.get("receive")


@dataclass(frozen=True, slots=True)
class _Door:
    listener: socket.socket
    contexts: Contexts | None


class Doors:
    """The open ports, for a ``with`` statement.

    Parameters
    ----------
    tls, tls_port:
        Contexts of the TLS port; 0: there is none.

    Raises
    ------
    ConfigError
        An address or port cannot be bound.
    """

    def __init__(self, settings: NodeSettings, receive: ReceiveSettings, *, tls: Contexts | None,
                 tls_port: int) -> None:
        self._open = ExitStack()
        self._selector = self._open.enter_context(selectors.DefaultSelector())
        shared = receive.processes > 1
        with ExitStack() as undo:
            undo.enter_context(self._open)
            if receive.plain:
                self._add("[node]", settings.bind, settings.port, None, shared=shared)
            if tls is not None and tls_port:
                self._add("[tls]", settings.bind, tls_port, tls, shared=shared)
            undo.pop_all()

    def _add(self, table: str, bind: str, port: int, contexts: Contexts | None, *, shared: bool) -> None:
        listener = self._open.enter_context(_listen(table, bind, port, shared=shared))
        self._selector.register(listener, selectors.EVENT_READ, _Door(listener, contexts))

    def __enter__(self) -> Self:
        """The doors are open."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Close them."""
        self._open.close()

    def callers(self) -> Iterator[tuple[socket.socket, str]]:
        """Yield who knocks within a quarter of a second: connection and address; a TLS handshake is still due.

        Raises
        ------
        OSError
            None can be accepted now: too many files are open.
        """
        for key, _ in self._selector.select(LOOK_AT_STOP_S):
            door: _Door = key.data
            try:
                connection, address = door.listener.accept()
            except (BlockingIOError, ConnectionAbortedError):  # another process was faster, or the caller is gone
                continue
            guarded = connection if door.contexts is None else _guarded(connection, door.contexts)
            if guarded is not None:
                yield guarded, address[0]


def _listen(table: str, bind: str, port: int, *, shared: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((bind, port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"[node] bind = {bind!r}, {table} port = {port}: {error.strerror or error}; "
                          "choose an address of this machine and a free port") from error
    listener.setblocking(False)  # noqa: FBT003  the name of the standard library's only parameter
    return listener


def _guarded(connection: socket.socket, contexts: Contexts) -> ssl.SSLSocket | None:
    """The same connection under TLS; nothing is read or written yet, so that no caller holds up the next."""
    connection.setblocking(True)  # noqa: FBT003  as above
    try:
        return contexts.current().wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    except OSError as error:  # gone before we looked
        connection.close()
        _log.debug("connection_ended", reason=str(error))
        return None


def shake_hands(connection: ssl.SSLSocket, *, stop: threading.Event) -> Identity:
    """Who calls, by the certificate that chains to ``[tls] ca``.

    Raises
    ------
    Untrusted
        No certificate, a wrong one, or no version and cipher suite in common.
    Overdue
        The handshake is not complete within ``HANDSHAKE_S``.
    PeerGone, Stopping
    """
    give_up_s = time.monotonic() + HANDSHAKE_S
    connection.settimeout(LOOK_AT_STOP_S)
    while True:
        try:
            connection.do_handshake()
        except TimeoutError:
            if stop.is_set():
                raise Stopping("the node stops") from None
            if time.monotonic() >= give_up_s:
                raise Overdue(f"the TLS handshake is not complete after {HANDSHAKE_S:g} s") from None
        except (ssl.SSLEOFError, ConnectionError) as error:  # a port scan, a load balancer's probe
            raise PeerGone("connection closed by the peer during the TLS handshake") from error
        except OSError as error:
            raise Untrusted(why(error)) from error
        else:
            return identity(connection)


def let_alert_arrive(connection: socket.socket) -> None:
    """Say that nothing more comes, and read a little: closing at once could drop our alert on its way."""
    try:
        socket.socket.shutdown(connection, socket.SHUT_WR)
        for _ in range(LAST_READS):
            if not socket.socket.recv(connection, READ_BYTES):
                return
    except OSError:  # silent, or gone
        return
