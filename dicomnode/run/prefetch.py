"""The images of the study that comes next are read while the present one is computed.

Nothing is claimed: the next job stays scheduled, any worker may take it, and a worker that dies leaves no trace of what
it had read. What was read is handed over only for exactly the same files, character set and stack, to a role that takes
it, so that it cannot matter which job asks.

Notes
-----
To claim the next job early would hold it back from a free worker and count an attempt for work not begun. Looking only
has one danger: an image whose reading kills the process would spend the attempts of the job beside it. So nothing is
read ahead beside a job that is tried again, nor for one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

from dicomnode import logs
from dicomnode.domain.model import InputRole
from dicomnode.ledger import jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.read.series import LoadedSeries, admit, load
from dicomnode.run.inputs import Inputs
from dicomnode.run.reading import SeriesKey, key_of

LOOK_EVERY_S: Final = 0.5
Found: TypeAlias = dict[SeriesKey, LoadedSeries]

log = logs.get("run")


class _Enough(Exception):
    """Reading ends before the series does: nobody waits for it any more, or it is too large."""


@dataclass(slots=True)
class _Reading:
    """One look: which job it found, and what is read for it."""

    dropped: threading.Event = field(default_factory=threading.Event)
    job_id: int | None = None
    series: Future[Found] = field(default_factory=Future)

    @property
    def idle(self) -> bool:
        """Whether the look is over and found nothing."""
        return self.series.done() and self.job_id is None


class ReadAhead:
    """Holds the series of at most one job that is likely the next.

    Parameters
    ----------
    digests:
        Which models this worker may claim work for.
    most_bytes:
        What is held of a job takes no more memory than this, decoded; a series beyond it is left for the claim. 0
        reads nothing ahead.
    most_decoded_bytes:
        A series that claims more is refused before it is decoded, read ahead or not.
    """

    def __init__(self, ledger: Ledger, inputs: Inputs, digests: Callable[[datetime], frozenset[str]], *,
                 most_bytes: int, most_decoded_bytes: int) -> None:
        self._loader = partial(load, most_bytes=most_decoded_bytes)
        self._ledger, self._inputs, self._digests, self._most_bytes = ledger, inputs, digests, most_bytes
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead")
        self._present: _Reading | None = None
        self._next: _Reading | None = None
        self._look_at_s = 0.0

    def claimed(self, job_id: int) -> None:
        """Say which job was claimed: what was read for another one is dropped."""
        reading, self._present, self._next = self._next, None, None
        self._look_at_s = 0.0
        if reading is not None and reading.job_id == job_id:
            self._present = reading
        elif reading is not None:
            reading.dropped.set()

    def forget(self) -> None:
        """Give everything back: no job waits, so another worker took the one that was read."""
        for reading in (self._next, self._present):
            if reading is not None:
                reading.dropped.set()
        self._present = self._next = None

    def look(self, now: datetime, *, attempt: int) -> None:
        """Begin to read what comes next, unless that was found already or the present job is tried again."""
        seeking = self._next is None or self._next.idle
        if not self._most_bytes or attempt > 1 or not seeking or time.monotonic() < self._look_at_s:
            return
        self._look_at_s = time.monotonic() + LOOK_EVERY_S
        self._next = _Reading()
        self._next.series = self._thread.submit(self._read, self._next, now, self._digests(now))

    def load(self, paths: Sequence[Path], role: InputRole, *, charset_fallback: str = "") -> LoadedSeries:
        """Return a series, from what was read ahead where it is there; raises as ``read.series.load``."""
        found = self._held().pop(key_of(paths, role, charset_fallback), None)
        if found is None:
            return self._loader(paths, role, charset_fallback=charset_fallback)
        admit(found.volume.stack, role)
        return found

    def close(self) -> None:
        """Stop what is being read at its next file, and forget it."""
        self.forget()
        self._thread.shutdown(cancel_futures=True)

    def _held(self) -> Found:
        reading = self._present
        if reading is None:
            return {}
        error = reading.series.exception()
        if error is None:
            return reading.series.result()
        log.info("read_ahead_failed", job=reading.job_id, error=type(error).__name__)
        self._present = None
        return {}

    def _read(self, reading: _Reading, now: datetime, digests: frozenset[str]) -> Found:
        with self._ledger.read() as connection:
            job = jobs.next_up(connection, now=now, digests=digests)
        if job is None or reading.dropped.is_set():
            return {}
        reading.job_id, began_s = job.job_id, time.monotonic()
        charset = self._inputs.charset_fallback(job.snapshot)
        tasks = self._inputs.tasks(job.job_id, job.study_uid, job.snapshot)
        wanted = {key_of(task.paths[role.role], role, charset): role for task in tasks
                  for role in task.model.inputs if role.role in task.paths}
        found: Found = {}

        def going(more_bytes: int) -> None:
            held_bytes = sum(one.volume.values_zyx.nbytes for one in found.values())
            if reading.dropped.is_set() or held_bytes + more_bytes > self._most_bytes:
                raise _Enough

        for key, role in wanted.items():
            try:
                found[key] = self._loader(key[0], role, charset_fallback=charset, going=going)
            except _Enough:
                break
        if reading.dropped.is_set():
            return {}
        log.info("job_read_ahead", job=job.job_id, study_uid=job.study_uid, series=len(found),
                 seconds=round(time.monotonic() - began_s, 3))
        return found
