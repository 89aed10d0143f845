"""A process shows that it lives, and ends itself when one step takes far longer than it may.

Two kinds of hanging, two remedies. A process that does not run at all, stopped or kept by a library that never lets go
of the interpreter, sends its supervisor no beat and is killed. A step that never ends while other threads go on, its
claim renewed for ever, ends the process from within: that needs no supervisor, and works under systemd and Kubernetes
too. Either way the lease runs out, and the work is tried again or set aside.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final, Self

from dicomnode import logs

PIPE: Final = "DICOMNODE_PULSE"
"""Environment variable: the descriptor on which the supervisor listens."""
BEAT_EVERY_S: Final = 2.0
STEP_LIMIT_S: Final = 3600.0
"""A step of keeper or sender may take so long; each object that is sent begins it anew."""
FRAMES_TOLD: Final = 8

log = logs.get("run")


class Pulse:
    """Beats from a thread of its own while the present step is within its time.

    Parameters
    ----------
    role:
        For the log.
    pipe:
        Where the supervisor listens; None where there is none.
    end:
        What ends the process, told the exit code.
    """

    def __init__(
        self,
        role: str,
        *,
        pipe: int | None = None,
        every_s: float = BEAT_EVERY_S,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._role, self._pipe, self._every_s, self._end = role, pipe, every_s, end
        self._until_s = float("inf")
        self._limit_s = 0.0
        self._watched = threading.current_thread()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)
        self._thread.start()

    @classmethod
    def of_this_process(cls, role: str) -> Self:
        """Return a pulse that the supervisor hears, where one started this process."""
        told = os.environ.get(PIPE)
        return cls(role, pipe=int(told) if told else None)

    def allow(self, seconds: float = STEP_LIMIT_S) -> None:
        """Begin a step: it may take so long from now."""
        self._limit_s, self._until_s = seconds, time.monotonic() + seconds

    def rest(self) -> None:
        """End the steps: what follows, such as waiting to be elected, may take as long as it takes."""
        self._until_s = float("inf")

    def close(self) -> None:
        """Beat no more."""
        self._closed.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._closed.wait(self._every_s):
            if time.monotonic() > self._until_s:
                self._overdue()
                return
            if self._pipe is not None:
                _send(self._pipe)

    def _overdue(self) -> None:
        log.critical("step_overdue", role=self._role, limit_s=self._limit_s, at=_where(self._watched))
        sys.stdout.flush()
        self._end(os.EX_SOFTWARE)


def _send(pipe: int) -> None:
    try:
        os.write(pipe, b".")
    except OSError:
        return  # nobody listens, or nobody has listened for long: the supervisor knows what that means


def _where(thread: threading.Thread) -> list[str]:
    """Return the innermost calls in which a thread is, the innermost last."""
    frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001 - the interpreter's own way to ask
    stack = traceback.extract_stack(frame)[-FRAMES_TOLD:] if frame is not None else []
    return [f"{one.filename}:{one.lineno} {one.name}" for one in stack]
