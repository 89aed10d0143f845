"""One keeper at a time: on one machine by a lock that the kernel frees, over several by a lease in the database.

A lease ends by itself when its holder is killed, stopped, or cut off from the database; another takes over within
seconds. Who lost it finds out before its next step. Should two work for a moment all the same, nothing is done twice:
each transition is guarded in the ledger.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import threading
from datetime import datetime, timedelta
from typing import Final, Protocol

from dicomnode import logs
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import LedgerUnavailable
from dicomnode.ledger import offices
from dicomnode.ledger.engine import Ledger
from dicomnode.run.loop import utc_now

LEASE_S: Final = 10.0
"""Who is silent for so long is keeper no more."""
LOOK_EVERY_S: Final = 1.0
"""How often those who wait look whether the office is free."""

log = logs.get("run")


class Term(Protocol):
    """The time for which this process is the keeper."""

    lost: threading.Event

    def holds(self, now: datetime) -> bool:
        """Whether it is keeper at this moment."""

    def close(self) -> None:
        """Give the office back."""


def stand(config: NodeConfig, ledger: Ledger, stop: threading.Event) -> Term | None:
    """Wait until this process is the keeper; None when told to stop first."""
    waiting = False
    while not stop.is_set():
        term = _lock(config) if ledger.dialect == "sqlite" else _lease(ledger)
        if term is not None:
            log.info("keeper_elected")
            return term
        if not waiting:
            log.info("keeper_waits", because="another process is the keeper")
            waiting = True
        stop.wait(LOOK_EVERY_S)
    return None


class FileTerm:
    """Holds the lock of the spool: it ends with the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.lost = threading.Event()

    def holds(self, now: datetime) -> bool:
        """Return True: the kernel takes the lock from nobody who lives."""
        _ = now
        return True

    def close(self) -> None:
        """Free the lock."""
        os.close(self._descriptor)


class LeaseTerm:
    """Holds the office in the database, and renews its lease from a thread of its own.

    Parameters
    ----------
    until:
        When the lease that was taken ends.
    """

    def __init__(self, ledger: Ledger, holder: str, until: datetime, *, lease_s: float = LEASE_S) -> None:
        self._ledger, self._holder, self._until, self._lease_s = ledger, holder, until, lease_s
        self._ended = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keeper-lease", daemon=True)
        self._thread.start()

    def holds(self, now: datetime) -> bool:
        """Whether the lease stands; a process that was stopped for long finds that it does not."""
        return now < self._until and not self.lost.is_set()

    def close(self) -> None:
        """Stop renewing; give the office back where it is still held."""
        self._ended.set()
        self._thread.join()
        try:
            with self._ledger.write() as c:
                offices.resign(c, offices.KEEPER, holder=self._holder)
        except LedgerUnavailable as error:
            log.warning("keeper_not_resigned", reason=str(error))

    def _keep(self) -> None:
        while not self._ended.wait(self._lease_s / 3):
            try:
                until = _taken(self._ledger, self._holder, self._lease_s)
            except LedgerUnavailable as error:
                log.warning("keeper_lease_not_renewed", reason=str(error))
                continue
            if until is None:
                log.warning("keeper_deposed", because="the lease ran out and another process took over")
                self.lost.set()
                return
            self._until = until


def _lock(config: NodeConfig) -> FileTerm | None:
    descriptor = os.open(config.spool_dir / "keeper.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return FileTerm(descriptor)


def _lease(ledger: Ledger) -> LeaseTerm | None:
    holder = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(8)}"
    try:
        until = _taken(ledger, holder, LEASE_S)
    except LedgerUnavailable as error:
        log.warning("keeper_not_elected", reason=str(error))
        return None
    return None if until is None else LeaseTerm(ledger, holder, until)


def _taken(ledger: Ledger, holder: str, lease_s: float) -> datetime | None:
    now = utc_now()
    with ledger.write() as c:
        taken = offices.take(c, offices.KEEPER, holder=holder, now=now, lease_s=lease_s)
    return now + timedelta(seconds=lease_s) if taken else None
