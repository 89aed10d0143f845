"""One training from beginning to end: recipe and data set in, bundle and model file out."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from dicomnode.errors import ConfigError, InferenceError
from dicomnode.train.dataset.reader import Dataset, read_dataset
from dicomnode.train.fit.amp import Precision
from dicomnode.train.fit.augment import step_name
from dicomnode.train.fit.checkpoint import write_durably
from dicomnode.train.fit.contact_sheet import contact_sheet
from dicomnode.train.fit.journal import Journal, missing_extras
from dicomnode.train.fit.loop import Loop
from dicomnode.train.fit.order import Order, alone, make_way
from dicomnode.train.fit.preflight import prepare_all, refuse_misfits, refuse_unfit
from dicomnode.train.fit.recipe import Recipe
from dicomnode.train.fit.terminal import Terminal
from dicomnode.train.fit.world import World, joined
from dicomnode.train.publish.bundle import SCRIPTS, write_bundle
from dicomnode.train.publish.fast_paths import with_measured
from dicomnode.train.publish.model_file import model_file_text
from dicomnode.train.publish.provenance import provenance, reference_of
from dicomnode.train.publish.publishable import refuse_unpublishable

if TYPE_CHECKING:
    from dicomnode.train.fit.checkpoint import Progress
    from dicomnode.train.fit.tasks import Prepared, TrainingTask
    from dicomnode.train.publish.provenance import Reference


MOST_AT_ONCE: Final = 4
"""Cases that are prepared at a time: each needs several times its image in memory while it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of it; ``digest`` is empty in all but the first of several processes."""

    digest: str
    scores: dict[str, float]
    seconds: float


def train(recipe: Recipe, order: Order) -> Trained:
    """Train, and write the bundle and its model file.

    Raises
    ------
    ConfigError
        If the recipe cannot be built, or the bundle or an unfinished training stands in the way.
    UnusableDataset
        If the data set is damaged or does not fit the recipe: every problem at once, before the first step.
    UnusableCheckpoint
        If there is nothing fit to go on with.
    TrainingDiverged
        If a loss is no number.
    """
    if order.threads:
        torch.set_num_threads(order.threads)
    with ExitStack() as stack:
        stack.enter_context(_without_monai_warnings())
        world = stack.enter_context(joined(order.device))
        terminal = stack.enter_context(Terminal(quiet=not world.first))
        make_way(order, world)
        if world.first:
            stack.enter_context(alone(order.folder))
        return _Training(recipe, order, world, terminal).run()


@contextmanager
def _without_monai_warnings() -> Iterator[None]:
    """MONAI warns of readers that are not installed, and of what it will rename: no one who trains can act on it."""
    logger = logging.getLogger("monai.data.nvimgcodec_pydicom_plugin")
    level = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"monai\.")
        yield
    logger.setLevel(level)


class _Training:
    """The steps of one training, in their order."""

    def __init__(self, recipe: Recipe, order: Order, world: World, terminal: Terminal) -> None:
        self._recipe, self._order, self._world, self._terminal = recipe, order, world, terminal

    def run(self) -> Trained:
        dataset = read_dataset(self._order.data)
        task = task_of(self._recipe, dataset, self._world.device)
        refuse_unfit(self._recipe, dataset, task, self._world.processes)
        training, validation = (self._prepared(task, dataset, split) for split in ("training", "validation"))
        refuse_misfits(self._recipe, dataset, training)
        reference = reference_of(dataset)
        refuse_unpublishable(self._recipe, dataset, task, reference)
        if self._world.first:
            self._begin(task, dataset, training)
        progress = self._fit(task, dataset, training, validation)
        if not self._world.first:
            return Trained(digest="", scores={}, seconds=progress.seconds)
        return self._publish(task, dataset, validation, progress, reference)

    def _prepared(self, task: TrainingTask, dataset: Dataset, split: str) -> tuple[Prepared, ...]:
        cases = dataset.split(split)
        told = self._terminal.preparing(split, len(cases))
        threads = min(MOST_AT_ONCE, self._order.threads or os.cpu_count() or 1)
        return prepare_all(task, cases, threads=threads, told=told)

    def _begin(self, task: TrainingTask, dataset: Dataset, training: tuple[Prepared, ...]) -> None:
        steps = [step_name(entry) for entry in self._recipe.config.get("augmentation") or []]
        colours = [label.colour_rgb for label in dataset.labels]
        sheet = contact_sheet(task, training, self._recipe.stages[0], steps, colours, self._recipe.settings.seed)
        sheet.save(self._order.folder / "contact_sheet.png")
        weights = sum(parameter.numel() for parameter in task.network.parameters())
        self._terminal.say(f"{weights:,} weights, {self._world.device}; samples are pictured in "
                           f"{self._order.folder / 'contact_sheet.png'}")
        missing = missing_extras()
        if missing:
            self._terminal.say(f"{' and '.join(missing)} not installed: pip install 'dicomnode-monai[train]' for "
                               "curves.png and TensorBoard")

    def _fit(
        self, task: TrainingTask, dataset: Dataset, training: tuple[Prepared, ...], validation: tuple[Prepared, ...]
    ) -> Progress:
        order, world = self._order, self._world
        journal = Journal(order.folder, self._terminal) if world.first else self._terminal
        loop = Loop(
            task, self._recipe, training=training, validation=validation, folder=order.folder,
            data_digest=dataset.digest, world=world, workers=order.workers, listener=journal)
        try:
            progress = loop.run(resume=order.resume)
        except KeyboardInterrupt:
            self._terminal.say(f"interrupted; --resume goes on from the last checkpoint in {order.folder}")
            raise
        if isinstance(journal, Journal):
            journal.draw(progress)
            journal.close()
        return progress

    def _publish(
        self, task: TrainingTask, dataset: Dataset, validation: tuple[Prepared, ...], progress: Progress,
        reference: Reference,
    ) -> Trained:
        recipe, order = self._recipe, self._order
        precision = str(Precision.of(recipe.settings.amp, self._world.device))
        made = provenance(recipe, dataset, reference, progress, self._world, precision)
        history: dict[str, Any] = {"validations": [{"step": step, **scores} for step, scores in progress.scores]}
        digest, scores = write_bundle(
            order.out, recipe, dataset, task, validation=validation, made=made, history=history)
        text = model_file_text(recipe, dataset, reference, bundle=order.out.name, digest=digest)
        order.model_file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(text.encode(), order.model_file)
        self._measure_fast_paths(text, dataset)
        return Trained(digest=digest, scores=scores, seconds=progress.seconds)

    def _measure_fast_paths(self, text: str, dataset: Dataset) -> None:
        order = self._order
        try:
            measured = with_measured(text, order.out.resolve(), dataset, device=order.device,
                                     threads=order.threads or 0)
        except InferenceError as error:
            self._terminal.say(f"what the fast paths change was not measured: {error.reason}")
            return
        write_durably(measured.encode(), order.model_file)


def task_of(recipe: Recipe, dataset: Dataset, device: torch.device) -> TrainingTask:
    """Make the task that a recipe names, its weights drawn from the recipe's seed.

    Raises
    ------
    ConfigError
        If a component cannot be built, or there is no training for such a task.
    """
    if recipe.settings.scripts:
        _lead_to(recipe.folder / recipe.settings.scripts)
    torch.manual_seed(recipe.settings.seed)
    if recipe.settings.task == "segmentation":
        from dicomnode.train.fit.segmentation import SegmentationTask

        return SegmentationTask(recipe, dataset, device)
    if recipe.settings.task == "detection":
        from dicomnode.train.fit.detection import DetectionTask

        return DetectionTask(recipe, dataset, device)
    raise ConfigError(f"recipe {recipe.name}: task = {recipe.settings.task!r}: allowed are segmentation and detection")


def _lead_to(scripts: Path) -> None:
    """Let ``_target_: scripts.mine.Network`` be found there, and nowhere else.

    Raises
    ------
    ConfigError
        If there is no such package.
    """
    if scripts.name != SCRIPTS or not (scripts / "__init__.py").is_file():
        raise ConfigError(f"scripts: {scripts}: expected is a folder named {SCRIPTS!r} with __init__.py and modules")
    for name in [one for one in sys.modules if one.partition(".")[0] == SCRIPTS]:
        del sys.modules[name]  # of another recipe, in the same process
    sys.path.insert(0, str(scripts.resolve().parent))
