"""A syslog server over TLS (RFC 5425) for tests: reads frames by their octet counts, keeps what it read."""

from __future__ import annotations

import socket
import ssl
import threading
from typing import Self

from tests.certificates import Authority, Pair


class SyslogServer:
    """Serves one connection after another; ``wants_client`` asks callers for a certificate of the same authority.

    ``drops`` connections are torn down after their first bytes, unread.
    """

    def __init__(self, authority: Authority, pair: Pair, *, port: int = 0, wants_client: bool = False,
                 drops: int = 0) -> None:
        self.frames: list[bytes] = []
        self.arrived = threading.Condition()
        self.connections = 0
        self._drops = drops
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(pair.certificate, pair.key)
        if wants_client:
            self._context.verify_mode = ssl.CERT_REQUIRED
            self._context.load_verify_locations(authority.ca)
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)

    def wait_for(self, count: int) -> list[bytes]:
        """Return the frames once there are so many."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.frames) >= count, 60), f"{len(self.frames)} of {count} frames"
            return list(self.frames)

    def _serve(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                with plain, self._context.wrap_socket(plain, server_side=True) as connection:
                    if self._drops:
                        self._drops -= 1
                        connection.recv(10)
                        continue
                    self._read(connection)
            except (ssl.SSLError, OSError):
                continue

    def _read(self, connection: ssl.SSLSocket) -> None:
        data = b""
        while piece := connection.recv(65536):
            data += piece
            while b" " in data:
                length, _, rest = data.partition(b" ")
                if len(rest) < int(length):
                    break
                with self.arrived:
                    self.frames.append(rest[:int(length)])
                    self.arrived.notify_all()
                data = rest[int(length):]
        connection.unwrap()
