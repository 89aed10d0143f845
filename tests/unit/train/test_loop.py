"""The loop: interrupted or not the same numbers, stops where a loss is no number, keeps the best weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from dicomnode.errors import TrainingDiverged, UnusableCheckpoint
from dicomnode.train.dataset.reader import Dataset
from dicomnode.train.fit.amp import Precision
from dicomnode.train.fit.checkpoint import Progress, load_tensors
from dicomnode.train.fit.loop import Loop
from dicomnode.train.fit.recipe import Recipe
from dicomnode.train.fit.segmentation import SegmentationTask, set_rare_class_prior
from dicomnode.train.fit.world import World
from tests.training import same_weights, small_dataset, small_recipe

CPU = torch.device("cpu")


class PowerCut(Exception):
    """What a test pulls the plug with."""


class Ear:
    """Hears what the loop tells; cuts the power after a step."""

    def __init__(self, cut_after: int | None = None) -> None:
        self.cut_after, self.begun_at = cut_after, -1
        self.scores: list[tuple[int, Mapping[str, float]]] = []

    def begun(self, step: int, _steps: int) -> None:
        self.begun_at = step

    def stepped(self, *_: object) -> None:
        return None

    def validated(self, step: int, scores: Mapping[str, float], _progress: Progress) -> None:
        self.scores.append((step, scores))
        if step == self.cut_after:
            raise PowerCut


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("data") / "balls")


def a_loop(dataset: Dataset, folder: Path, recipe: Recipe, ear: Ear | None = None) -> tuple[Loop, SegmentationTask]:
    torch.manual_seed(recipe.settings.seed)
    task = SegmentationTask(recipe, dataset, CPU)
    splits = {split: tuple(task.prepare(case) for case in dataset.split(split)) for split in ("training", "validation")}
    folder.mkdir(exist_ok=True)
    loop = Loop(task, recipe, **splits, folder=folder, data_digest=dataset.digest, world=World(device=CPU), workers=0,
                listener=ear or Ear())
    return loop, task


def test_a_resumed_training_gives_the_bits_of_an_uninterrupted_one(dataset: Dataset, tmp_path: Path):
    recipe = small_recipe(steps=None, stages=[
        {"steps": 5}, {"steps": 4, "patch_size": [8, 8, 8]}, {"steps": 6, "restart": True, "batch_size": 3}])
    whole, network = a_loop(dataset, tmp_path / "whole", recipe)
    progress = whole.run(resume=False)
    cut, _ = a_loop(dataset, tmp_path / "cut", recipe, Ear(cut_after=8))
    with pytest.raises(PowerCut):
        cut.run(resume=False)
    ear = Ear()
    resumed, again = a_loop(dataset, tmp_path / "cut", recipe, ear)
    progress_again = resumed.run(resume=True)
    assert ear.begun_at == 6, "the last checkpoint before the cut"
    assert same_weights(network.network.state_dict(), again.network.state_dict())
    assert progress.scores == progress_again.scores
    assert progress.losses == progress_again.losses
    assert same_weights(load_tensors(whole.best), load_tensors(resumed.best))


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(dataset: Dataset, tmp_path: Path):
    runs = [a_loop(dataset, tmp_path / str(number), small_recipe(steps=4, seed=seed))
            for number, seed in enumerate((3, 3, 4))]
    for loop, _ in runs:
        loop.run(resume=False)
    first, same, other = (task.network.state_dict() for _, task in runs)
    assert same_weights(first, same)
    assert not same_weights(first, other)


def test_a_checkpoint_of_another_recipe_is_not_resumed(dataset: Dataset, tmp_path: Path):
    a_loop(dataset, tmp_path / "run", small_recipe(steps=3))[0].run(resume=False)
    with pytest.raises(UnusableCheckpoint, match="recipe was sha256"):
        a_loop(dataset, tmp_path / "run", small_recipe(steps=4))[0].run(resume=True)


def test_a_torn_checkpoint_is_refused_and_named(dataset: Dataset, tmp_path: Path):
    loop, _ = a_loop(dataset, tmp_path / "run", small_recipe(steps=3))
    loop.run(resume=False)
    loop.last.write_bytes(loop.last.read_bytes()[:-2000])
    with pytest.raises(UnusableCheckpoint, match=r"last\.pt: no readable checkpoint"):
        a_loop(dataset, tmp_path / "run", small_recipe(steps=3))[0].run(resume=True)


class NoNumber(torch.nn.Module):
    """A loss that is right until it is nothing."""

    def __init__(self, good: int) -> None:
        super().__init__()
        self._good = good

    def forward(self, logits: torch.Tensor, _label: torch.Tensor) -> torch.Tensor:
        self._good -= 1
        return logits.square().mean() * (1.0 if self._good >= 0 else float("nan"))


def test_a_loss_that_is_no_number_stops_and_names_the_cases(dataset: Dataset, tmp_path: Path,
                                                            monkeypatch: pytest.MonkeyPatch):
    loop, task = a_loop(dataset, tmp_path / "run", small_recipe())
    broken = NoNumber(good=4)
    monkeypatch.setattr(task, "_loss_of", lambda _stage: broken)
    sentence = r"step 5: the loss is nan; its batch was cut from case\d, case\d"
    with pytest.raises(TrainingDiverged, match=sentence) as caught:
        loop.run(resume=False)
    assert "last.pt holds the last good checkpoint" in str(caught.value)
    kept = torch.load(loop.last, weights_only=True)
    assert kept["progress"]["step"] == 3
    assert all(torch.isfinite(value).all() for value in kept["trainee"].values())


def test_a_gradient_that_is_no_number_stops_before_it_reaches_the_weights(dataset: Dataset, tmp_path: Path):
    loop, task = a_loop(dataset, tmp_path / "run", small_recipe())
    parameter = next(task.network.parameters())
    parameter.register_hook(lambda gradient: gradient * float("inf"))
    with pytest.raises(TrainingDiverged, match="step 1: the gradient is"):
        loop.run(resume=False)
    assert torch.isfinite(parameter).all()


def scripted(monkeypatch: pytest.MonkeyPatch, task: SegmentationTask, scores: list[float]) -> None:
    given = iter(scores)
    monkeypatch.setattr(task, "validate", lambda _cases: {"mean_dice": next(given)})


def test_training_ends_early_when_no_validation_is_better_any_more(dataset: Dataset, tmp_path: Path,
                                                                   monkeypatch: pytest.MonkeyPatch):
    recipe = small_recipe(steps=30, validate_every=2, early_stopping=2)
    loop, task = a_loop(dataset, tmp_path / "run", recipe)
    scripted(monkeypatch, task, [0.5, 0.7, 0.6, 0.7])
    progress = loop.run(resume=False)
    assert (progress.step, progress.best_step, progress.stopped_early) == (8, 4, True)
    assert same_weights(task.network.state_dict(), load_tensors(loop.best))
    resumed, _ = a_loop(dataset, tmp_path / "run", recipe)
    assert resumed.run(resume=True).step == 8


@pytest.mark.parametrize(("keep", "best"), [("best", True), ("last", False)])
def test_the_best_weights_are_kept_or_the_last_as_the_recipe_says(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, *, best: bool
):
    loop, task = a_loop(dataset, tmp_path / "run", small_recipe(steps=6, validate_every=2, keep=keep))
    scripted(monkeypatch, task, [0.9, 0.5, 0.6])
    progress = loop.run(resume=False)
    assert progress.best_step == 2
    assert same_weights(task.network.state_dict(), load_tensors(loop.best)) is best


def test_without_validation_cases_the_last_weights_are_kept(tmp_path: Path):
    dataset = small_dataset(tmp_path / "balls", training=2, validation=0)
    loop, _ = a_loop(dataset, tmp_path / "run", small_recipe(steps=3))
    progress = loop.run(resume=False)
    assert (progress.step, progress.scores) == (3, [])
    assert not loop.best.exists()


def test_a_network_learns_the_balls(dataset: Dataset, tmp_path: Path):
    config: dict[str, Any] = {"steps": 60, "validate_every": 60, "patch_size": [16, 16, 16]}
    progress = a_loop(dataset, tmp_path / "run", small_recipe(**config))[0].run(resume=False)
    assert progress.scores[-1][1]["dice_Ball"] > 0.85


def test_training_in_bfloat16_learns_too(dataset: Dataset, tmp_path: Path):
    recipe = small_recipe(amp=True, steps=60, validate_every=60, patch_size=[16, 16, 16])
    assert str(Precision.of(recipe.settings.amp, CPU)) == "bfloat16"
    progress = a_loop(dataset, tmp_path / "run", recipe)[0].run(resume=False)
    assert progress.scores[-1][1]["dice_Ball"] > 0.8


@pytest.mark.parametrize("network", [
    torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1), torch.nn.ReLU()),
    torch.nn.Sequential(torch.nn.Conv3d(1, 4, 1), torch.nn.ConvTranspose3d(4, 3, 2, stride=2)),
])
def test_a_rare_class_begins_rare(network: torch.nn.Sequential):
    set_rare_class_prior(network, {2: -4.0}, 3)
    biases = [module.bias for module in network if getattr(module, "bias", None) is not None]
    assert float(biases[-1][2]) == -4.0
