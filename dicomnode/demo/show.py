"""What the terminal shows while the study travels: one line per step, live."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

STEPS: Final = ("node", "received", "complete", "matched", "inference", "encoded", "delivered")


class Show:
    """Seven steps with a bar each; ``event`` turns the node's log events into progress."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/green]"),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            transient=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._sent = 0
        self.gave_up = False
        self.receiving = False
        self._handlers: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "study_matched": self._matched,
            "job_progress": self._job_progress,
            "job_completed": self._completed,
            "object_sent": self._object,
            "delivery_completed": self._delivered,
            "job_not_completed": self._trouble,
            "delivery_not_completed": self._trouble,
            "model_unusable": self._give_up,
        }

    def __enter__(self) -> Self:
        """Begin drawing."""
        self._progress.start()
        self._tasks = {step: self._progress.add_task(step, total=1, start=False, note="") for step in STEPS}
        self._begin("node", "starting")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Leave the last picture on the screen."""
        self._progress.stop()

    def ready(self, port: int) -> None:
        """Note that the node answers C-ECHO."""
        self._finish("node", f"DICOMNODE answers C-ECHO on port {port}")
        self._begin("received", "")
        self.receiving = True

    def received(self, count: int, total: int) -> None:
        """Note that ``count`` of ``total`` images were acknowledged."""
        self._progress.update(self._tasks["received"], completed=count, total=total, note=f"{count}/{total}")

    def sent(self, stored: int, total: int) -> None:
        """Note what the receiver says it has; nothing at all ends the tour."""
        self.receiving = False
        self._finish("received", f"{stored}/{total} acknowledged, each durable on disk")
        self.gave_up = stored == 0
        self._begin("complete", "waiting for the quiet period")

    def note(self, what: str, why: str) -> None:
        """Print something that a person should know above the steps."""
        self._progress.console.print(f"[yellow]{what}[/yellow]: {why}", highlight=False)

    def event(self, event: Mapping[str, Any]) -> None:
        """Take one of the node's log events."""
        handler = self._handlers.get(str(event.get("event")))
        if handler is not None:
            handler(event)

    def _matched(self, event: Mapping[str, Any]) -> None:
        self._finish("complete", str(event.get("because", "")))
        routes = event.get("routes") or []
        self._finish("matched", f"route {', '.join(routes)}" if routes else "no route: see below")
        if routes:
            self._begin("inference", "loading the model")

    def _job_progress(self, event: Mapping[str, Any]) -> None:
        fraction = float(event.get("fraction", 0))
        if event.get("stage") == "inference":
            self._progress.update(self._tasks["inference"], completed=fraction, note=f"{fraction:.0%}")
        elif event.get("stage") == "encode" and fraction == 0:
            self._finish("inference", "done")
            self._begin("encoded", "")

    def _completed(self, event: Mapping[str, Any]) -> None:
        seconds = sum((event.get("seconds") or {}).values())
        if seconds:
            self._finish("inference", f"{event.get('device', '')}, {event.get('peak_mb', 0)} MB")
        self._finish("encoded", f"{event.get('objects', 0)} objects, analysis took {seconds:.1f} s")
        self._begin("delivered", "")

    def _object(self, event: Mapping[str, Any]) -> None:
        self._sent += 1
        self._progress.update(
            self._tasks["delivered"], note=f"{self._sent} objects acknowledged, last {event.get('status')}"
        )

    def _delivered(self, event: Mapping[str, Any]) -> None:
        self._finish("delivered", f"{self._sent} objects acknowledged by {event.get('peer')}")

    def _give_up(self, event: Mapping[str, Any]) -> None:
        self._trouble(event)
        self.gave_up = True

    def _trouble(self, event: Mapping[str, Any]) -> None:
        self.note(str(event.get("event")), str(event.get("reason")))

    def _begin(self, step: str, note: str) -> None:
        self._progress.start_task(self._tasks[step])
        self._progress.update(self._tasks[step], note=note)

    def _finish(self, step: str, note: str) -> None:
        task = self._progress.tasks[self._tasks[step]]
        if not task.started:
            self._progress.start_task(task.id)
        self._progress.update(task.id, completed=task.total, note=note)
