"""The one thread that takes messages from the queues to their sinks, in order, as long as the sinks take them."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from dicomnode import logs
from dicomnode.audit.queue import Queue
from dicomnode.audit.sinks import FileSink, Sink, SinkAwayError, SyslogSink, Waiting
from dicomnode.domain.audit import AuditSettings

BATCH: Final = 200
LOOK_EVERY_S: Final = 0.5
AGAIN_FIRST_S: Final = 1.0
AGAIN_MOST_S: Final = 60.0
STOP_S: Final = 5.0
"""So long a batch may take that is under way when the process is to end; cut off, it is sent again."""

_log = logs.get("audit")


def sinks_of(settings: AuditSettings) -> dict[str, Sink]:
    """The sinks that are configured, by the name of their queue."""
    sinks: dict[str, Sink] = {}
    if settings.file:
        sinks["file"] = FileSink(Path(settings.file))
    if settings.syslog:
        sinks["syslog"] = SyslogSink(settings, socket.gethostname())
    return sinks


class Forwarder:
    """Forwards while the context is open; one in all processes that share the queues.

    A sink that is away is asked again after a pause that grows to a minute; the other sink does not wait for it.
    """

    def __init__(self, root: Path, sinks: Mapping[str, Sink], *, again_first_s: float = AGAIN_FIRST_S) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(Queue(root, name), sink, again_first_s), name=f"audit-{name}",
                             daemon=True)
            for name, sink in sinks.items()
        ]

    def __enter__(self) -> Self:
        """Begin."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """End after the batch under way; what waits stays."""
        self._stop.set()
        for thread in self._threads:
            thread.join(STOP_S)

    def _run(self, queue: Queue, sink: Sink, again_first_s: float) -> None:
        pause_s = again_first_s
        while not self._stop.is_set():
            try:
                moved = forward(queue, sink)
            except (SinkAwayError, OSError) as error:
                waiting = queue.backlog(0.0).waiting
                _log.warning("audit_not_forwarded", sink=queue.name, waiting=waiting, reason=str(error),
                             again_in_s=pause_s)
                self._stop.wait(pause_s)
                pause_s = min(AGAIN_MOST_S, pause_s * 2)
                continue
            if pause_s > again_first_s:
                _log.info("audit_forwarded_again", sink=queue.name)
            pause_s = again_first_s
            if not moved:
                self._stop.wait(LOOK_EVERY_S)


def forward(queue: Queue, sink: Sink) -> int:
    """Give one batch to the sink and forget it; return how many messages it was.

    Raises
    ------
    SinkAwayError
        The batch stays.
    OSError
        The queue cannot be read.
    """
    batch = [Waiting(path, path.read_bytes()) for path in queue.oldest(BATCH)]
    if batch:
        sink.take(batch)
        queue.done([one.path for one in batch])
    return len(batch)
