"""What every conductor shares: steps until told to stop, and no error passes unseen.

A step returns whether it found work. After work the next step follows at once, else the loop waits for
its bell. An error of ours is logged with its verdict; a foreign one with its traceback. Neither ends the
process: the claim's lease gives the work back.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final, TypeVar

from dicomnode import logs
from dicomnode.errors import ClaimLost, DicomNodeError, UnforeseenFailure
from dicomnode.run.bell import POLL_S, Bell
from dicomnode.run.pulse import Pulse

PAUSE_AFTER_ERROR_S: Final = 2.0
PR_SET_PDEATHSIG: Final = 1

log = logs.get("run")
T = TypeVar("T")


class AnyOf(threading.Event):
    """An event that is set when any of its sources is."""

    def __init__(self, *sources: threading.Event) -> None:
        super().__init__()
        self._sources = sources

    def is_set(self) -> bool:
        """Whether any source is set."""
        return any(source.is_set() for source in self._sources)


def utc_now() -> datetime:
    """Return the present, aware, in UTC: the one place where conductors read the clock."""
    return datetime.now(UTC)


def stop_on_signals() -> threading.Event:
    """Return an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel for SIGTERM when the supervisor dies, so that no role outlives its node."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGTERM)


def run(
    step: Callable[[datetime], bool], *, stop: threading.Event, bell: Bell, role: str, pulse: Pulse | None = None
) -> None:
    """Call ``step(now)`` until ``stop`` is set; ``pulse`` gives each its time."""
    log.info("role_started", role=role, pid=os.getpid())
    while not stop.is_set():
        if pulse is not None:
            pulse.allow()
        if not _guarded(step, role, stop) and not stop.is_set():
            bell.wait(POLL_S)
    if pulse is not None:
        pulse.rest()
    log.info("role_stopped", role=role)


def typed(work: Callable[[], T], **about: object) -> T:
    """Do a piece of work; a foreign exception becomes ours, so that the work ends with a reason.

    Raises
    ------
    UnforeseenFailure
        In place of every exception that is not ours; the log has its class and place.
    """
    try:
        return work()
    except DicomNodeError:
        raise
    except Exception as error:
        log.exception("work_crashed", **about)
        raise UnforeseenFailure(f"{type(error).__name__}; the log event work_crashed has the place") from error


def _guarded(step: Callable[[datetime], bool], role: str, stop: threading.Event) -> bool:
    try:
        return step(utc_now())
    except ClaimLost as lost:
        log.info("claim_lost", role=role, reason=str(lost))
        return True
    except DicomNodeError as error:
        log.warning("step_failed", role=role, error=type(error).__name__, reason=str(error))
    except Exception:  # the loop must outlive what nobody foresaw; the traceback is the report
        log.exception("step_crashed", role=role)
    stop.wait(PAUSE_AFTER_ERROR_S)
    return False
