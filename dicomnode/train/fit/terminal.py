"""How a training looks while it runs: a bar on a terminal, lines in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from types import TracebackType

    from dicomnode.train.fit.checkpoint import Progress as TrainingProgress

LINE_EVERY_S: Final = 10.0
"""Without a terminal a step is worth a line this often."""


class Terminal:
    """Tells a person how the training goes; a context manager, so that the bar ends whatever happens."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self._console = console or Console(stderr=True, highlight=False, soft_wrap=True, quiet=quiet)
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
            TextColumn("{task.fields[more]}"), console=self._console, disable=quiet or not self._console.is_terminal)
        self._task: TaskID | None = None
        self._said_at, self._began = 0.0, time.monotonic()
        self._steps = 0

    def __enter__(self) -> Self:
        """Show the bar."""
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bar as it is."""
        self._bar.stop()

    def say(self, text: str) -> None:
        """One line, with the seconds since the command began."""
        self._console.print(f"{time.monotonic() - self._began:8.1f} s  {text}", markup=False)

    def preparing(self, what: str, total: int) -> Callable[[int], None]:
        """Begin a bar for the cases of a split; call what is returned with the number that are done."""
        task = self._bar.add_task(f"{what} cases", total=total, more="")

        def told(done: int) -> None:
            self._bar.update(task, completed=done)
            if done == total:
                self._bar.remove_task(task)
                self.say(f"{total} {what} cases prepared")

        return told

    def begun(self, step: int, steps: int) -> None:
        """Begin the bar of the training."""
        self._steps = steps
        self._task = self._bar.add_task("training", total=steps, completed=step, more="")
        if step:
            self.say(f"going on after step {step} of {steps}")

    def stepped(self, step: int, loss: float, rate: float) -> None:
        """Move the bar, or write a line now and then."""
        text = f"loss {loss:.4f}, rate {rate:.2e}"
        if self._task is not None:
            self._bar.update(self._task, completed=step, more=text)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._said_at >= LINE_EVERY_S or step == self._steps):
            self._said_at = now
            self.say(f"step {step} of {self._steps}: {text}")

    def validated(self, step: int, scores: Mapping[str, float], progress: TrainingProgress) -> None:
        """Write the scores, and say whether they are the best so far."""
        values = ", ".join(f"{name} {value:.4f}" for name, value in scores.items())
        best = " (best so far)" if progress.best_step == step else f" (best: step {progress.best_step})"
        self.say(f"step {step}: validation {values}{best}")
        if progress.stopped_early:
            self.say(f"no better validation in the last {progress.worse}: training ends here")
