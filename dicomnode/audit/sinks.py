"""Where audit messages end: a file that only grows, or a syslog server over TLS."""

from __future__ import annotations

import array
import fcntl
import os
import select
import socket
import ssl
import termios
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Protocol

from dicomnode.audit.queue import make_private, put_at_s, sync_folder, write_durably
from dicomnode.domain.audit import AuditSettings

FACILITY_SEVERITY: Final = {True: 85, False: 84}
"""PRI: facility 10, severity 5 (normal but significant), or 4 (warning) where something failed (PS3.15 A.6)."""
MESSAGE_ID: Final = "DICOM+RFC3881"
"""MSGID (PS3.15 A.6)."""
BOM: Final = b"\xef\xbb\xbf"
"""Says that what follows is UTF-8 (RFC 5424, Section 6.4)."""
SUCCEEDED: Final = b'EventOutcomeIndicator="0"'
TIMEOUT_S: Final = 20.0
"""A server that is silent for so long is away."""
RESET_WITHIN_S: Final = 0.5
LAST_WORD_S: Final = 5.0
"""So long a server may take to close after us."""


class SinkAwayError(Exception):
    """The sink does not take messages now; they stay in the queue and are tried again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One message of the queue."""

    path: Path
    message: bytes


class Sink(Protocol):
    """Where messages go."""

    def take(self, batch: Sequence[Waiting]) -> None:
        """Have the whole batch for good when this returns; an empty one tries whether the sink can be reached.

        Raises
        ------
        SinkAwayError
            Of a part of the batch it is not known whether the sink has it: all of it is to be given again.
        """


class FileSink:
    """One message a line. The file is opened anew each time, so that an administrator may move it away."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def take(self, batch: Sequence[Waiting]) -> None:
        """Append; durable when this returns."""
        if not batch:
            self._try()
            return
        lines = b"".join(one.message + b"\n" for one in batch)
        try:
            is_new = not self._path.exists()
            make_private(self._path.parent)
            write_durably(self._path, self._rest_of_line() + lines, os.O_APPEND)
            if is_new:
                sync_folder(self._path.parent)
        except OSError as error:
            raise SinkAwayError(f"{self._path}: {error.strerror or error}: the audit file cannot be written; "
                                "check [audit] file, its folder and its disk") from error

    def _try(self) -> None:
        """Only look: a file that somebody else than the node makes would not be the node's."""
        nearest = next(path for path in (self._path, *self._path.parents) if path.exists())
        if not os.access(nearest, os.W_OK):
            raise SinkAwayError(f"{self._path}: {nearest} is not writable; check [audit] file and the node's user")

    def _rest_of_line(self) -> bytes:
        """End a line that a crash left half."""
        try:
            with self._path.open("rb") as file:
                file.seek(-1, os.SEEK_END)
                return b"" if file.read(1) == b"\n" else b"\n"
        except (FileNotFoundError, OSError):
            return b""


class SyslogSink:
    """RFC 5424 messages, their length before each, over one TLS connection for each batch (RFC 5425).

    Notes
    -----
    RFC 5425 knows no acknowledgement, and what was written into an open connection may be lost with it. Each batch
    therefore ends with an orderly close: a server that has read everything answers our close with its own and nothing
    else. A batch that did not end so is sent again; a server may see a message twice, and never loses one unseen.
    """

    def __init__(self, settings: AuditSettings, host: str) -> None:
        self._settings = settings
        self._host = host

    def take(self, batch: Sequence[Waiting]) -> None:
        """Send, and see the server close after us."""
        place, host = self._settings.syslog, self._settings.syslog_host
        try:
            with (socket.create_connection((host, self._settings.syslog_port), TIMEOUT_S) as plain,
                  self._context().wrap_socket(plain, server_hostname=host) as connection):
                connection.sendall(b"".join(self._frame(one) for one in batch))
                _close_after(connection)
        except ssl.SSLCertVerificationError as error:
            raise SinkAwayError(f"{place}: its certificate is not trusted: {error.verify_message}; check [audit] "
                                "syslog_ca, and that the certificate names this host") from error
        except (OSError, ValueError) as error:
            raise SinkAwayError(f"{place}: {error}; check the audit server, and [audit] syslog") from error

    def _context(self) -> ssl.SSLContext:
        """Read the certificates anew for each connection: one that was renewed needs no restart."""
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.syslog_ca or None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if settings.syslog_certificate:
            context.load_cert_chain(settings.syslog_certificate, settings.syslog_key)
        return context

    def _frame(self, one: Waiting) -> bytes:
        at = datetime.fromtimestamp(put_at_s(one.path.name), UTC).isoformat(timespec="milliseconds")
        priority = FACILITY_SEVERITY[SUCCEEDED in one.message]
        header = f"<{priority}>1 {at.replace('+00:00', 'Z')} {self._host} dicomnode {os.getpid()} {MESSAGE_ID} - "
        line = header.encode("ascii", "replace") + BOM + one.message
        return f"{len(line)} ".encode("ascii") + line


def _close_after(connection: ssl.SSLSocket) -> None:
    """Say that nothing more comes, wait until the server says the same, and see that nothing of ours came back.

    A server that refuses our certificate in TLS 1.3, or dies, ends its side in order too, and ``unwrap`` may take that
    for an answer; but its kernel answers what it did not read with a reset, within one way there and back.
    """
    connection.settimeout(LAST_WORD_S)
    with suppress(TimeoutError, ssl.SSLEOFError):
        connection.unwrap()
    if _is_reset(connection) or _unacknowledged_bytes(connection):
        raise ConnectionResetError("it closed the connection before it had read everything; does it take our "
                                   "certificate?")


def _is_reset(connection: socket.socket) -> bool:
    """Wait for a reset as long as one may be on its way."""
    poll = select.poll()
    poll.register(connection, 0)  # errors are told unasked
    return bool(poll.poll(RESET_WITHIN_S * 1000))


def _unacknowledged_bytes(connection: socket.socket) -> int:
    count = array.array("i", [0])
    fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, count)
    return count[0]
