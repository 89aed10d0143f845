"""The training loop: steps, checkpoints, validations; the same numbers whether it was interrupted or not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import torch

from dicomnode.errors import TrainingDiverged
from dicomnode.train.fit.amp import Precision, deterministic
from dicomnode.train.fit.checkpoint import Checkpoint, Progress, load_checkpoint, load_tensors, save_durably
from dicomnode.train.fit.loader import Timetable, batches
from dicomnode.train.fit.rates import Cycle, cycles_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.tasks import Batch, Prepared, TrainingTask
    from dicomnode.train.fit.world import World

REPORT_EVERY_STEPS: Final = 10


class Listener(Protocol):
    """Who is told how the training goes: a terminal, curves, TensorBoard."""

    def begun(self, step: int, steps: int) -> None:
        """Training goes on after ``step`` of ``steps``."""
        ...

    def stepped(self, step: int, loss: float, rate: float) -> None:
        """The mean loss since the last call."""
        ...

    def validated(self, step: int, scores: Mapping[str, float], progress: Progress) -> None:
        """A validation was done."""
        ...


class Loop:
    """Trains one task; ``run`` returns when all steps are done or no progress is made any more.

    Parameters
    ----------
    folder : where ``last.pt`` and ``best.pt`` are kept.
    data_digest : of the data set; a checkpoint of another one is refused.
    """

    def __init__(
        self, task: TrainingTask, recipe: Recipe, *, training: Sequence[Prepared], validation: Sequence[Prepared],
        folder: Path, data_digest: str, world: World, workers: int, listener: Listener,
    ) -> None:
        self._task, self._settings, self._stages = task, recipe.settings, recipe.stages
        self._training, self._validation = training, validation
        self._folder, self._world, self._workers, self._listener = folder, world, workers, listener
        self._timetable = Timetable(recipe.stages, len(training), recipe.settings.seed)
        self._recipe, self._cycles = recipe, cycles_of(recipe.stages)
        self._made_of = {"recipe": recipe.digest, "data": data_digest, "processes": world.processes}
        self._precision = Precision.of(recipe.settings.amp, world.device)
        self._scaler = self._precision.scaler()
        self._optimiser, self._progress = self._fresh_optimiser(), Progress()
        self._recent: list[float] = []

    @property
    def last(self) -> Path:
        """The newest checkpoint."""
        return self._folder / "last.pt"

    @property
    def best(self) -> Path:
        """The weights that validated best."""
        return self._folder / "best.pt"

    def run(self, *, resume: bool) -> Progress:
        """Train to the end and leave the weights to publish in the network.

        Raises
        ------
        TrainingDiverged
            If a loss or gradient is no number; ``last.pt`` holds the weights of the last checkpoint.
        UnusableCheckpoint
            If there is a checkpoint to go on with, but of another training.
        """
        if resume and self.last.is_file():
            self._restore(load_checkpoint(self.last, self._made_of))
        self._listener.begun(self._progress.step, self._timetable.steps)
        if not self._progress.stopped_early:
            with deterministic(wanted=self._settings.deterministic):
                self._steps()
        if self._settings.keep == "best" and self._progress.best_score is not None and self._world.first:
            self._task.network.load_state_dict(load_tensors(self.best))
        self._task.network.eval()
        return self._progress

    def _steps(self) -> None:
        trainee = self._world.wrapped(self._task.trainee)
        began, before = time.monotonic(), self._progress.seconds
        for step, batch in batches(
            self._task.draw, self._training, self._timetable, seed=self._settings.seed,
            first_step=self._progress.step, workers=self._workers, device=self._world.device,
            rank=self._world.rank, processes=self._world.processes,
        ):
            self._step(trainee, step, batch)
            self._progress.step = done = step + 1
            self._progress.seconds = before + time.monotonic() - began
            self._report(done)
            if self._is_time(done, self._settings.validate_every):
                self._validate(done)
            if self._is_time(done, self._settings.checkpoint_every) or self._progress.stopped_early:
                self._save()
            if self._progress.stopped_early:
                return

    def _is_time(self, done: int, every: int) -> bool:
        return done % every == 0 or done == self._timetable.steps

    def _step(self, trainee: torch.nn.Module, step: int, batch: Batch) -> None:
        cycle = self._cycle(step)
        if step == cycle.begin and step:
            self._optimiser = self._fresh_optimiser()
        for group in self._optimiser.param_groups:
            group["lr"] = cycle.rate(step, self._settings.schedule)
        torch.manual_seed(_mixed(self._settings.seed, step, self._world.rank))
        self._task.trainee.train()
        self._optimiser.zero_grad(set_to_none=True)
        with self._precision.autocast():
            loss = self._task.loss(trainee, batch, self._timetable.stage(step))
        value = float(loss.detach())
        self._refuse_if_no_number(value, "loss", step, batch)
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._scaler.unscale_(self._optimiser)
        limit = self._settings.clip_norm or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(self._task.trainee.parameters(), limit))
        if not self._scaler.is_enabled():
            self._refuse_if_no_number(norm, "gradient", step, batch)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._recent.append(value)

    def _refuse_if_no_number(self, value: float, what: str, step: int, batch: Batch) -> None:
        if value - value == 0:
            return
        kept = f"{self.last} holds the last good checkpoint" if self.last.is_file() else "no checkpoint was written yet"
        raise TrainingDiverged(
            f"step {step + 1}: the {what} is {value}; its batch was cut from {', '.join(batch.case_ids)}. {kept}. "
            "Look at the images and labels of these cases; if they are sound, lower learning_rate or clip_norm")

    def _cycle(self, step: int) -> Cycle:
        return next(cycle for cycle in self._cycles if cycle.begin <= step < cycle.end)

    def _fresh_optimiser(self) -> torch.optim.Optimizer:
        parameters = [one for one in self._task.trainee.parameters() if one.requires_grad]
        optimiser: torch.optim.Optimizer = self._recipe.build("optimizer", parameters=parameters)
        return optimiser

    def _report(self, done: int) -> None:
        if not self._is_time(done, REPORT_EVERY_STEPS):
            return
        loss = self._world.mean(sum(self._recent) / len(self._recent))
        rate = float(self._optimiser.param_groups[0]["lr"])
        self._recent.clear()
        self._progress.losses.append((done, loss, rate))
        self._listener.stepped(done, loss, rate)

    def _validate(self, done: int) -> None:
        if not self._validation:
            return
        scores: dict[str, float] = {}
        if self._world.first:
            self._task.trainee.eval()
            with torch.no_grad():
                scores = dict(self._task.validate(self._validation))
        scores = self._world.tell(scores)
        progress, score = self._progress, scores[self._task.better]
        progress.scores.append((done, scores))
        if progress.best_score is None or score > progress.best_score:
            progress.best_score, progress.best_step, progress.worse = score, done, 0
            if self._world.first:
                save_durably(self._task.network.state_dict(), self.best)
        else:
            progress.worse += 1
        progress.stopped_early = self._settings.early_stopping is not None and \
            progress.worse >= self._settings.early_stopping
        self._listener.validated(done, scores, progress)

    def _save(self) -> None:
        if self._world.first:
            Checkpoint(
                made_of=self._made_of, trainee=self._task.trainee.state_dict(), optimiser=self._optimiser.state_dict(),
                scaler=self._scaler.state_dict(), progress=self._progress, running_loss=tuple(self._recent),
            ).save(self.last)

    def _restore(self, saved: Checkpoint) -> None:
        self._task.trainee.load_state_dict(saved.trainee)
        self._optimiser.load_state_dict(dict(saved.optimiser))
        self._scaler.load_state_dict(dict(saved.scaler))
        self._progress, self._recent = saved.progress, list(saved.running_loss)


def _mixed(seed: int, step: int, rank: int) -> int:
    """One seed of three numbers, for what a network draws itself (dropout)."""
    return ((seed * 1_000_003 + step) * 4_099 + rank) % (1 << 63)
