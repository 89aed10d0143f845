"""Work that is done is written down as soon as the database answers again: an outage costs nobody an attempt."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, TypeVar

from dicomnode import logs
from dicomnode.errors import LedgerUnavailable
from dicomnode.run.pulse import Pulse

EVERY_S: Final = 1.0

log = logs.get("run")
T = TypeVar("T")


def persist(
    write: Callable[[], T], *, until: threading.Event, pulse: Pulse | None = None, **about: object
) -> T:
    """Call ``write`` until the database takes it; told to stop meanwhile, raise what it said last.

    Parameters
    ----------
    until:
        Set: the node stops, or the work belongs to somebody else.
    pulse:
        Told while this waits: an outage is no hang.

    Raises
    ------
    LedgerUnavailable
        The database was still away when ``until`` was set.
    """
    told = False
    while True:
        try:
            return write()
        except LedgerUnavailable as error:
            if until.is_set():
                raise
            if not told:
                log.warning("database_awaited", reason=error.reason, **about)
                told = True
        if pulse is not None:
            pulse.allow()
        until.wait(EVERY_S)
