"""What a training leaves beside its bundle: curves as a picture and as numbers, and TensorBoard's log."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomnode.train.fit.checkpoint import write_durably

if TYPE_CHECKING:
    from dicomnode.train.fit.checkpoint import Progress
    from dicomnode.train.fit.loop import Listener


class Journal:
    """Writes ``curves.png``, ``history.json`` and ``tensorboard/`` at every validation, and at the end.

    Parameters
    ----------
    folder : ``<BUNDLE>.run``.
    progress : what is drawn; the loop keeps it up to date.
    on : who else is told.
    """

    def __init__(self, folder: Path, on: Listener) -> None:
        self._folder, self._on = folder, on
        self._board: Any = None

    def begun(self, step: int, steps: int) -> None:
        """Open TensorBoard's log; what it holds of steps that are to come again is hidden."""
        self._board = _board(self._folder / "tensorboard", step)
        self._on.begun(step, steps)

    def stepped(self, step: int, loss: float, rate: float) -> None:
        """Log a mean loss."""
        if self._board:
            self._board.add_scalar("loss/training", loss, step)
            self._board.add_scalar("learning_rate", rate, step)
        self._on.stepped(step, loss, rate)

    def validated(self, step: int, scores: Mapping[str, float], progress: Progress) -> None:
        """Log the scores and draw the curves."""
        if self._board:
            for name, value in scores.items():
                self._board.add_scalar(f"validation/{name}", value, step)
            self._board.flush()
        self.draw(progress)
        self._on.validated(step, scores, progress)

    def draw(self, progress: Progress) -> None:
        """Write the curves as they are now."""
        history = {
            "losses": [{"step": step, "loss": loss, "learning_rate": rate} for step, loss, rate in progress.losses],
            "validations": [{"step": step, **scores} for step, scores in progress.scores],
            "best_step": progress.best_step, "seconds": round(progress.seconds, 1),
        }
        write_durably(json.dumps(history, indent=1).encode(), self._folder / "history.json")
        picture = curves_png(progress)
        if picture:
            write_durably(picture, self._folder / "curves.png")

    def close(self) -> None:
        """Close TensorBoard's log."""
        if self._board:
            self._board.close()


def _board(folder: Path, step: int) -> Any:  # noqa: ANN401 - TensorBoard is untyped, and None where not installed
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=step or None)


def missing_extras() -> tuple[str, ...]:
    """Packages of the extra ``train`` that are not installed: training works, without curves or TensorBoard."""
    import importlib.util

    return tuple(name for name in ("matplotlib", "tensorboard") if importlib.util.find_spec(name) is None)


def curves_png(progress: Progress) -> bytes:
    """Loss, learning rate and validation scores over the steps, as PNG; empty without matplotlib or steps."""
    if "matplotlib" in missing_extras() or not progress.losses:
        return b""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 7.5), layout="constrained")
    loss, scores, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    steps = [step for step, _, _ in progress.losses]
    loss.plot(steps, [value for _, value, _ in progress.losses], color="#1f5fa8")
    loss.set(ylabel="training loss", yscale="log" if min(value for _, value, _ in progress.losses) > 0 else "linear")
    for name in dict.fromkeys(name for _, found in progress.scores for name in found):
        points = [(step, found[name]) for step, found in progress.scores if name in found]
        scores.plot(*zip(*points, strict=True), marker=".", label=name)
    if progress.best_step:
        scores.axvline(progress.best_step, color="#888888", linestyle=":", label=f"best: step {progress.best_step}")
    if progress.scores:
        scores.legend(fontsize="small", loc="lower right")
    scores.set(ylabel="validation")
    rate.plot(steps, [value for _, _, value in progress.losses], color="#888888")
    rate.set(ylabel="learning rate", xlabel="step")
    for axis in (loss, scores, rate):
        axis.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
