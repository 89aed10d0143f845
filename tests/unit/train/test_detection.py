"""A detector learns boxes from a data set by the same loop as any other task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicomnode.errors import ConfigError
from dicomnode.train.dataset.reader import Dataset, DatasetLabel, DatasetWriter
from dicomnode.train.fit.detection import DetectionTask
from dicomnode.train.fit.recipe import Recipe, read_recipe
from dicomnode.train.fit.tasks import Batch, Stage

SIZE = 32
SMALL = (
    "network_def#feature_extractor#backbone#block_inplanes=[8, 8, 8, 8]",
    "network_def#feature_extractor#in_channels_list=[8, 8, 8]",
    "network_def#feature_extractor#out_channels=8",
    f"patch_size=[{SIZE}, {SIZE}, {SIZE}]",
    "inferer#roi_size=[32, 32, 32]",
)
STEPS = 45


@pytest.fixture(scope="module")
def balls(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Four volumes of 2 mm with a bright ball of 10 mm each."""
    writer = DatasetWriter(tmp_path_factory.mktemp("balls"), name="balls", task="detection", channels=("ct",),
                           modality="CT", labels=[DatasetLabel(value=1, name="Ball", lesion=True)])
    rng = np.random.default_rng(1)
    affine = np.array([[0, 0, 2.0, -30.0], [0, 2.0, 0, 5.0], [2.0, 0, 0, 100.0], [0, 0, 0, 1.0]])
    for number in range(4):
        centre = rng.uniform(8, SIZE - 8, 3)
        away = np.sqrt(((np.indices((SIZE,) * 3).T - centre).T ** 2).sum(axis=0)) * 2.0
        hu = np.where(away < 5.0, 50, -850) + rng.normal(0, 20, away.shape)
        middle = (affine @ (*centre, 1.0))[:3]
        writer.add(id=f"c{number}", patient=f"p{number}", images_zyx=[hu.astype(np.int16)], affine_lps_mm=affine,
                   boxes_lps_mm=np.array([[*middle, 10.0, 10.0, 10.0]]), box_labels=[0],
                   split="training" if number < 3 else "validation")
    return writer.close()


def small(*more: str) -> Recipe:
    return read_recipe("demo_nodule", [*SMALL, *more])


def task_for(balls: Dataset, recipe: Recipe) -> DetectionTask:
    torch.manual_seed(0)
    return DetectionTask(recipe, balls, torch.device("cpu"))


def stage(recipe: Recipe) -> Stage:
    return recipe.stages[0]


def test_a_prepared_box_lies_round_its_ball(balls: Dataset) -> None:
    prepared = task_for(balls, small()).prepare(balls.training[0])

    assert prepared.boxes is not None
    low, high = prepared.boxes[0, :3], prepared.boxes[0, 3:]
    bright = np.argwhere(prepared.image.cut((slice(None),) * 3)[0] > 0.5)

    assert high - low == pytest.approx([5.0] * 3, abs=1e-3)
    assert ((bright.min(axis=0) + bright.max(axis=0) + 1) / 2) == pytest.approx((low + high) / 2, abs=0.6)


def test_a_flipped_sample_keeps_its_box_round_the_ball(balls: Dataset) -> None:
    recipe = small("augmentation#3#prob=0", "augmentation#4#prob=0", "augmentation#5#prob=0")
    task = task_for(balls, recipe)
    prepared = task.prepare(balls.training[0])

    for seed in range(6):
        sample = task.draw(prepared, stage(recipe), np.random.default_rng(seed))
        low, high = sample["box"][0, :3].numpy(), sample["box"][0, 3:].numpy()
        bright = np.argwhere(sample["image"][0].numpy() > 0.5)
        assert ((bright.min(axis=0) + bright.max(axis=0) + 1) / 2) == pytest.approx((low + high) / 2, abs=0.6)


def test_the_same_generator_draws_the_same_sample(balls: Dataset) -> None:
    recipe = small()
    task = task_for(balls, recipe)
    prepared = task.prepare(balls.training[0])

    one, two = (task.draw(prepared, stage(recipe), np.random.default_rng(9)) for _ in range(2))

    assert set(one) == {"image", "box", "box_label"}
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_detector_learns_to_find_balls(balls: Dataset) -> None:
    recipe = small()
    task = task_for(balls, recipe)
    cases = [task.prepare(case) for case in balls.training]
    optimiser = torch.optim.AdamW(task.trainee.parameters(), lr=5e-3)
    rng = np.random.default_rng(0)

    task.trainee.train()
    for step in range(STEPS):
        samples = tuple(task.draw(cases[(step + k) % 3], stage(recipe), rng) for k in range(2))
        loss = task.loss(task.trainee, Batch(case_ids=("a", "b"), samples=samples), stage(recipe))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimiser.step()
    task.trainee.eval()
    scores = task.validate([task.prepare(case) for case in balls.validation])

    assert scores["sensitivity_at_1"] == 1.0
    assert 0.0 < scores["cpm"] <= 1.0


def test_an_output_that_is_no_number_gives_a_loss_that_is_none(balls: Dataset) -> None:
    recipe = small()
    task = task_for(balls, recipe)
    with torch.no_grad():
        next(task.network.parameters()).fill_(float("nan"))
    sample = task.draw(task.prepare(balls.training[0]), stage(recipe), np.random.default_rng(0))

    loss = task.loss(task.trainee.train(), Batch(case_ids=("a",), samples=(sample,)), stage(recipe))

    assert torch.isnan(loss)


def test_what_is_published_is_plain_and_says_how_windows_are_laid(balls: Dataset) -> None:
    pieces = task_for(balls, small()).published()

    assert pieces["network_def"]["num_classes"] == 1
    assert pieces["detector"]["network"] == "@network_def"
    assert pieces["detection"]["roi_size"] == [32, 32, 32]
    assert not {"matcher", "sampler"} & set(pieces["detection"])


def test_a_patch_that_the_network_cannot_halve_is_named(balls: Dataset) -> None:
    recipe = small("patch_size=[24, 32, 32]")
    problems = task_for(balls, recipe).problems(balls)

    assert problems == [f"patch_size of stage {stage} is [24, 32, 32]; the network takes multiples of [16, 16, 16]"
                        for stage in range(len(recipe.stages))]


def test_a_mistyped_key_of_detection_is_named(balls: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"detection#nms_tresh = 0\.2"):
        task_for(balls, small("detection={nms_tresh: 0.2}"))
