"""A claim is renewed while its work is done; when it is lost, the work is told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Final, Self

from dicomnode import logs
from dicomnode.errors import ClaimLost, LedgerUnavailable
from dicomnode.run.loop import utc_now

SOON_S: Final = 1.0
"""After an outage the claim is renewed before anybody takes it for dropped."""

log = logs.get("run")


class Lease:
    """Renew every third of ``lease_s`` from a thread of its own.

    Parameters
    ----------
    renew:
        Called with the time; raises ClaimLost when the row is no longer ours.

    Notes
    -----
    A database that is away is not a lost claim: the work goes on, and its completion decides.
    """

    def __init__(self, renew: Callable[[datetime], object], *, lease_s: float) -> None:
        self._renew = renew
        self._every_s = lease_s / 3
        self._ended = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)

    def _keep(self) -> None:
        wait_s = self._every_s
        while not self._ended.wait(wait_s):
            try:
                self._renew(utc_now())
                wait_s = self._every_s
            except ClaimLost:
                self.lost.set()
                return
            except LedgerUnavailable as error:
                log.warning("lease_not_renewed", reason=str(error))
                wait_s = min(SOON_S, self._every_s)

    def __enter__(self) -> Self:
        """Begin renewing."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stop renewing."""
        self._ended.set()
        self._thread.join()
