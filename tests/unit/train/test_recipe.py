"""Recipes: every problem at once, changes from the command line, references put in for the bundle."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
import yaml

from dicomnode.errors import ConfigError
from dicomnode.train.fit.rates import cycles_of
from dicomnode.train.fit.recipe import read_recipe, recipe_of, shipped_recipes
from dicomnode.train.fit.settings import Schedule
from tests.training import small_config, small_recipe

ROOT = Path(__file__).resolve().parents[3]
RECIPES = ROOT / "dicomnode" / "train" / "recipes"


@pytest.mark.parametrize("name", shipped_recipes())
def test_every_shipped_recipe_can_be_read(name):
    recipe = read_recipe(name)
    assert recipe.settings.intended_use
    assert sum(stage.steps for stage in recipe.stages) > 0


def test_every_problem_of_a_recipe_is_told_at_once():
    config = small_config(batchsize=4, patch_size=[12, 12], learning_rate=-1, inferer=None, optimizer=None)
    with pytest.raises(ConfigError) as caught:
        recipe_of(config, name="mine", folder=Path())
    text = str(caught.value)
    for part in ("inferer is missing", "batchsize is not a key", "is batch_size meant?", "patch_size", "rate = -1"):
        assert part in text
    assert len(caught.value.problems) == 5


def test_a_key_of_ones_own_is_allowed_where_something_refers_to_it():
    assert small_recipe(edge=16, inferer={"_target_": "SlidingWindowInferer", "roi_size": "@edge"}).config["edge"] == 16


def test_a_recipe_says_how_long_it_trains():
    with pytest.raises(ConfigError, match="steps is missing, and so is stages"):
        small_recipe(steps=None)


def test_a_stage_takes_what_it_leaves_out_from_the_recipe():
    stages = small_recipe(steps=None, stages=[
        {"steps": 5, "patch_size": [8, 8, 8]}, {"steps": 7, "restart": True, "around": {"Ball": 1.0}}]).stages
    assert [(one.steps, one.patch_size, one.batch_size, one.restart) for one in stages] \
        == [(5, (8, 8, 8), 2, False), (7, (12, 12, 12), 2, True)]
    assert stages[1].more == {"around": {"Ball": 1.0}}


def test_the_command_line_changes_a_recipe_by_monais_ids(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(small_config()), encoding="utf-8")
    recipe = read_recipe(str(path), ["steps=99", "network_def#channels=[2, 4]", "early_stopping=3"])
    assert recipe.settings.steps == 99
    assert recipe.config["network_def"]["channels"] == [2, 4]
    assert (recipe.name, recipe.settings.early_stopping) == ("mine", 3)


def test_a_change_that_is_none_is_refused():
    with pytest.raises(ConfigError, match="expected is key=value"):
        read_recipe("segmentation_unet", ["steps"])
    with pytest.raises(ConfigError, match="no_such#key"):
        read_recipe("segmentation_unet", ["no_such#key=3"])


def test_a_recipe_that_does_not_exist_names_those_that_do():
    with pytest.raises(ConfigError, match="segmentation_unet"):
        read_recipe("segmentation_unnet")


def test_yaml_that_is_none_is_refused_with_its_place(tmp_path: Path):
    path = tmp_path / "mine.yaml"
    path.write_text("task: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"mine.yaml: cannot be read"):
        read_recipe(str(path))


def test_the_bundles_pieces_hold_no_reference_to_the_recipe():
    recipe = small_recipe(
        spacing=[2, 2, 2],
        preprocessing=[{"_target_": "Spacingd", "keys": "image", "pixdim": "@spacing", "mode": "bilinear"}],
        layers=[{"_target_": "torch.nn.Conv3d", "in_channels": "@channels", "out_channels": "@classes"}],
        network_def="$torch.nn.Sequential(*@layers)")
    pieces = recipe.pieces(("network_def", "preprocessing", "postprocessing"), channels=2, classes=5)
    assert pieces["preprocessing"]["transforms"][0]["pixdim"] == [2, 2, 2]
    assert pieces["layers"][0]["in_channels"] == 2
    assert pieces["layers"][0]["out_channels"] == 5
    assert pieces["postprocessing"]["transforms"][1]["transform"] == "@preprocessing"


def test_a_component_that_cannot_be_built_says_why():
    recipe = small_recipe(network_def={"_target_": "UNet", "spatial_dims": 3})
    with pytest.raises(ConfigError, match=r"(?s)network_def cannot be built.*in_channels"):
        recipe.build("network_def")


def test_the_rate_rises_to_its_peak_falls_and_rises_again_at_a_restart():
    stages = small_recipe(steps=None, stages=[
        {"steps": 60}, {"steps": 40}, {"steps": 50, "restart": True, "learning_rate": 0.001}]).stages
    first, second = cycles_of(stages)
    schedule = Schedule(shape="one_cycle", warm_up=0.2, first=0.1, final=0.01)
    rates = [first.rate(step, schedule) for step in range(first.begin, first.end)]
    assert (first.begin, first.end, second.begin, second.end) == (0, 100, 100, 150)
    assert rates[0] == pytest.approx(0.001)
    assert max(rates) == pytest.approx(0.01, rel=1e-3)
    assert 18 <= rates.index(max(rates)) <= 21
    assert rates[-1] == pytest.approx(0.0001)
    assert second.rate(100, schedule) == pytest.approx(0.0001)
    assert second.rate(149, schedule) == pytest.approx(0.00001)


@pytest.mark.parametrize(("shape", "last"), [("cosine", 0.0), ("constant", 1.0)])
def test_other_shapes_of_the_schedule_end_where_they_say(shape, last):
    (cycle,) = cycles_of(small_recipe(steps=50).stages)
    schedule = Schedule(shape=shape, warm_up=0.1, final=0.0)
    assert cycle.rate(49, schedule) == pytest.approx(0.01 * last)
    assert cycle.rate(5, schedule) == pytest.approx(0.01, rel=0.02)


def test_the_brain_recipe_asks_for_the_series_that_the_shipped_model_file_asks_for():
    recipe = yaml.safe_load((RECIPES / "demo_brain.yaml").read_text(encoding="utf-8"))
    shipped = tomllib.loads((ROOT / "config" / "models" / "demo_brain.toml").read_text(encoding="utf-8"))
    keys = {"contrast", "prefer", "when", "resample"}
    asked = {one["role"]: {key: value for key, value in one.items() if key in keys} for one in shipped["inputs"]}
    assert recipe["model_file"]["inputs"] == asked
