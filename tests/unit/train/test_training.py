"""From a data set to a bundle that the node takes; and what is refused before the first step."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from monai.bundle.config_parser import ConfigParser

from dicomnode.cli import cli
from dicomnode.config.models import model_from_text
from dicomnode.errors import ConfigError, DicomNodeError, UnusableDataset
from dicomnode.infer.digest import bundle_digest
from dicomnode.train.dataset.reader import Dataset
from dicomnode.train.fit.order import Order, alone
from dicomnode.train.fit.preflight import refuse_unfit
from dicomnode.train.fit.recipe import recipe_of
from dicomnode.train.fit.training import Trained, task_of, train
from dicomnode.train.publish.weights import stored_weights
from tests.training import BALL, CUBE, NETWORK, PREPROCESSING, small_config, small_dataset


def order(dataset: Dataset, out: Path, **more: Any) -> Order:
    return Order(data=dataset.root, out=out, model_file=out.with_name(f"{out.name}.toml"), device="cpu", workers=0,
                 threads=1, **more)


def trained(dataset: Dataset, out: Path, *, folder: Path | None = None, **changes: Any) -> Trained:
    return train(recipe_of(small_config(**changes), name="small", folder=folder or Path()), order(dataset, out))


def refused(dataset: Dataset, out: Path, **changes: Any) -> Sequence[str]:
    with pytest.raises(DicomNodeError) as caught:
        trained(dataset, out, **changes)
    assert not out.exists()
    assert not (out.with_name(f"{out.name}.run") / "last.pt").exists(), "no step was made"
    problems: Sequence[str] = getattr(caught.value, "problems", (str(caught.value),))
    return problems


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("data") / "balls")


@pytest.fixture(scope="module")
def made(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    out = tmp_path_factory.mktemp("bundles") / "balls_ct"
    extra = {"runtime": {"precision": "auto"}, "labels": {"Ball": {"min_ml": 0.5}},
             "limits": {"age_years": {"min": 18}}}
    result = trained(dataset, out, name="Balls", model_file=extra)
    return out, result


def test_a_training_ends_with_a_bundle_in_the_zoos_layout(made: tuple[Path, Trained]):
    out, result = made
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {"LICENSE", "configs/inference.json", "configs/metadata.json", "configs/train.yaml",
                     "docs/README.md", "docs/metrics.json", "docs/provenance.json", "models/model.pt"}
    assert bundle_digest(out) == result.digest
    metadata = json.loads((out / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] == ["2*n"] * 3
    assert metadata["network_data_format"]["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "Ball"}


def test_the_model_file_pins_the_bundle_and_says_what_its_labels_mean(made: tuple[Path, Trained]):
    out, result = made
    path = out.with_name("balls_ct.toml")
    model = model_from_text(path.read_text(encoding="utf-8"), source=path.name)
    assert (model.name, model.bundle, model.digest) == ("balls_ct", "balls_ct", result.digest)
    assert (model.labels[0].type, model.labels[0].min_ml, model.labels[0].colour_rgb) == (BALL.type, 0.5, (240, 90, 70))
    assert (model.confirmed, model.trust, model.runtime.precision) == (True, "pieces", "auto")
    assert set(model.runtime.validated) == {"precision", "together"}
    assert model.runtime.validated["precision"].cases > 0
    assert model.inputs[0].spacing_mm.max_between_slices == pytest.approx(2.1)
    assert model.limits.age_years.min == 18


def test_the_bundle_tells_where_it_comes_from_and_what_it_saw(made: tuple[Path, Trained], dataset: Dataset):
    out, result = made
    told = json.loads((out / "docs" / "provenance.json").read_text(encoding="utf-8"))
    assert told["data"]["digest"] == dataset.digest
    assert told["data"]["cases"] == {"training": 4, "validation": 2, "test": 0}
    assert told["training"]["steps"] == 12
    assert told["code"]["torch"] == torch.__version__
    quantiles = told["reference"]["intensity_quantiles"]["ct"]
    assert quantiles["0.5"] == pytest.approx(-800, abs=10)
    assert quantiles["1"] > 100
    assert told["reference"]["spacing_mm"] == [[2.0, 2.0, 2.0]] * 3
    assert told["reference"]["label_ml"]["Ball"][1] == pytest.approx(4.19, rel=0.15), "a ball of 10 mm radius"
    card = (out / "docs" / "README.md").read_text(encoding="utf-8")
    assert dataset.digest in card
    assert f"| dice_Ball | {result.scores['dice_Ball']:.3f} |" in card
    metrics = json.loads((out / "docs" / "metrics.json").read_text(encoding="utf-8"))
    assert [one["step"] for one in metrics["history"]["validations"]] == [4, 8, 12]


def test_curves_a_contact_sheet_and_tensorboards_log_lie_beside_the_bundle(made: tuple[Path, Trained]):
    folder = made[0].with_name("balls_ct.run")
    for name in ("curves.png", "contact_sheet.png"):
        assert (folder / name).read_bytes().startswith(b"\x89PNG")
    assert list((folder / "tensorboard").glob("events*"))
    history = json.loads((folder / "history.json").read_text(encoding="utf-8"))
    assert [one["step"] for one in history["losses"]] == [10, 12]


def test_the_recipe_in_the_bundle_trains_the_same_bundle_again(
    made: tuple[Path, Trained], dataset: Dataset, tmp_path: Path
):
    out, _ = made
    again = yaml.safe_load((out / "configs" / "train.yaml").read_text(encoding="utf-8"))
    train(recipe_of(again, name="small", folder=tmp_path), order(dataset, tmp_path / "again"))
    assert (tmp_path / "again" / "models" / "model.pt").read_bytes() == (out / "models" / "model.pt").read_bytes()


def test_the_scores_are_those_of_the_weights_as_they_are_stored(made: tuple[Path, Trained]):
    state = torch.load(made[0] / "models" / "model.pt", weights_only=True)
    assert {value.dtype for value in state.values() if value.is_floating_point()} == {torch.float16}


def test_a_weight_that_float16_cannot_hold_stays_float32():
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 1), torch.nn.Conv3d(1, 1, 1))
    with torch.no_grad():
        network[1].weight.fill_(1e6)
    state = stored_weights(network)
    assert state["0.weight"].dtype == torch.float16
    assert float(state["1.weight"]) == 1e6


def test_every_reason_against_a_training_is_told_at_once_before_the_first_step(tmp_path: Path):
    dataset = small_dataset(tmp_path / "balls", labels=(BALL, CUBE), channels=("t1", "t2"))
    problems = refused(dataset, tmp_path / "out", network_def={**NETWORK, "in_channels": 1}, around={"Bal": 1.0},
                       class_weights={"Cub": 2.0})
    text = "\n".join(problems)
    for part in ("label 2 Cube: no training case shows it", "around of stage 0 names 'Bal'", "_weights names 'Cub'"):
        assert part in text
    problems = refused(small_dataset(tmp_path / "one", channels=("t1", "t2")), tmp_path / "out",
                       network_def={**NETWORK, "in_channels": 1})
    assert "the network takes 1 channels, a prepared case has 2" in problems[0]


def test_a_batch_that_processes_cannot_share_is_refused(dataset: Dataset):
    recipe = recipe_of(small_config(batch_size=3), name="small", folder=Path())
    with pytest.raises(UnusableDataset, match="batch_size = 3 cannot be shared by 2 processes"):
        refuse_unfit(recipe, dataset, task_of(recipe, dataset, torch.device("cpu")), 2)


def test_a_second_training_in_the_same_folder_is_refused(tmp_path: Path):
    with alone(tmp_path), pytest.raises(ConfigError, match="another training is running there"), alone(tmp_path):
        pass
    with alone(tmp_path):
        assert (tmp_path / "lock").is_file()


def test_a_patch_larger_than_every_image_is_refused(dataset: Dataset, tmp_path: Path):
    (problem,) = refused(dataset, tmp_path / "out", patch_size=[32, 32, 16])
    assert "patch_size = [32, 32, 16] is larger than every training image ([24, 24, 16]" in problem


def test_a_patch_that_the_network_cannot_halve_is_refused(dataset: Dataset, tmp_path: Path):
    (problem,) = refused(dataset, tmp_path / "out", patch_size=[13, 12, 12],
                         network_def={**NETWORK, "channels": [4, 8, 8], "strides": [2, 2]})
    assert "no loss can be computed for patches of [13, 12, 12] voxels" in problem


def test_a_segmentation_without_a_loss_is_refused(dataset: Dataset, tmp_path: Path):
    problems = refused(dataset, tmp_path / "out", loss=None, postprocessing=None)
    assert [problem.partition(": ")[2] for problem in problems] == [
        "the recipe has no loss; segmentation needs one", "the recipe has no postprocessing; segmentation needs one"]


def test_an_augmentation_that_fails_is_refused_with_its_reason(dataset: Dataset, tmp_path: Path):
    wrong = [{"_target_": "RandFlipd", "keys": ["image", "mask"], "prob": 1.0, "spatial_axis": 0}]
    (problem,) = refused(dataset, tmp_path / "out", augmentation=wrong)
    assert "stage 0: augmentation of a first sample failed" in problem
    assert "mask" in problem


def test_a_header_in_metres_is_refused(tmp_path: Path):
    dataset = small_dataset(tmp_path / "balls", spacing_mm=0.002)
    problems = refused(dataset, tmp_path / "out")
    assert len(problems) == 4
    assert "voxels of 0.002 x 0.002 x 0.002 mm; allowed are 0.02 to 30 mm" in problems[0]


def test_a_damaged_data_set_is_refused_with_the_file(tmp_path: Path):
    dataset = small_dataset(tmp_path / "balls")
    path = dataset.training[1].images[0]
    payload = bytearray(path.read_bytes())
    payload[-20] ^= 1
    path.write_bytes(payload)
    assert path.name in "\n".join(refused(dataset, tmp_path / "out"))


def test_an_image_with_values_that_are_no_numbers_is_refused_by_name(tmp_path: Path):
    spoilt = [*PREPROCESSING[:3], {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: x * float('nan')"}]
    problems = refused(small_dataset(tmp_path / "balls"), tmp_path / "out", preprocessing=spoilt)
    assert "case case0: prepared, it holds values that are no numbers" in problems[0]


def test_what_the_node_would_refuse_to_run_is_refused_before_the_training(dataset: Dataset, tmp_path: Path):
    odd = [*PREPROCESSING, {"_target_": "Lambdad", "keys": "image", "func": "$lambda x: __import__('os') and x"}]
    (problem,) = refused(dataset, tmp_path / "out", preprocessing=odd)
    assert "the node would not run the bundle that it makes" in problem
    (problem,) = refused(dataset, tmp_path / "out", model_file={"labels": {"Bal": {}}})
    assert "model_file labels names Bal; the data set has the labels Ball" in problem
    problems = refused(dataset, tmp_path / "out", model_file={"runtime": {"precison": "auto"}})
    assert "precison" in problems[0]


def test_labels_without_codes_wait_for_confirmation(tmp_path: Path):
    unnamed = type(BALL)(value=1, name="Ball")
    trained(small_dataset(tmp_path / "balls", labels=(unnamed,)), tmp_path / "out", steps=1)
    text = (tmp_path / "out.toml").read_text(encoding="utf-8")
    assert model_from_text(text, source="out.toml").confirmed is False


def test_nothing_is_overwritten_that_nobody_said_to_replace(dataset: Dataset, tmp_path: Path):
    out = tmp_path / "out"
    trained(dataset, out, steps=1)
    recipe = recipe_of(small_config(steps=1), name="small", folder=Path())
    with pytest.raises(ConfigError, match="--resume goes on with it, --replace drops it"):
        train(recipe, order(dataset, out))
    before = (out / "models" / "model.pt").read_bytes()
    assert train(recipe, order(dataset, out, resume=True)).digest
    assert train(recipe, order(dataset, out, replace=True)).digest
    assert (out / "models" / "model.pt").read_bytes() == before
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work", encoding="utf-8")
    with pytest.raises(ConfigError, match="is no bundle"):
        train(recipe, order(dataset, tmp_path / "home", replace=True))
    assert (tmp_path / "home" / "thesis.txt").exists()


def scripts(folder: Path, layer: str) -> None:
    (folder / "scripts").mkdir(parents=True)
    (folder / "scripts" / "__init__.py").touch()
    (folder / "scripts" / "own.py").write_text(
        f"import torch\n\n\nclass Own(torch.nn.Module):\n    def __init__(self, classes):\n        super().__init__()\n"
        f"        self.layer = {layer}\n\n    def forward(self, image):\n        return self.layer(image)\n",
        encoding="utf-8")


def test_a_network_of_ones_own_goes_into_the_bundle_as_scripts(dataset: Dataset, tmp_path: Path):
    own = {"scripts": "scripts", "network_def": {"_target_": "scripts.own.Own", "classes": "@classes"}, "steps": 2}
    layers = {"one": ("torch.nn.Conv3d(1, classes, 1)", 2), "other": ("torch.nn.Conv3d(1, classes, 3, padding=1)", 54)}
    for name, (layer, weights) in layers.items():
        scripts(tmp_path / name, layer)
        trained(dataset, tmp_path / f"{name}_ct", folder=tmp_path / name, **own)
        assert (tmp_path / f"{name}_ct" / "scripts" / "own.py").is_file()
        text = (tmp_path / f"{name}_ct.toml").read_text(encoding="utf-8")
        assert model_from_text(text, source="model file").trust == "code"
        state = torch.load(tmp_path / f"{name}_ct" / "models" / "model.pt", weights_only=True)
        assert state["layer.weight"].numel() == weights, "each recipe found its own scripts"
    with pytest.raises(ConfigError, match=r"expected is a folder named 'scripts' with __init__\.py"):
        trained(dataset, tmp_path / "none_ct", folder=tmp_path, **own)


def test_the_command_trains_and_names_what_it_made(dataset: Dataset, tmp_path: Path):
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(yaml.safe_dump(small_config()), encoding="utf-8")
    arguments = ["train", str(recipe), "--data", str(dataset.root), "--out", str(tmp_path / "out"), "--set", "steps=2",
                 "--device", "cpu", "--workers", "0", "--threads", "1"]
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert f"{tmp_path / 'out'}: {bundle_digest(tmp_path / 'out')}" in done.output
    assert "step 2: validation mean_dice" in done.output
    assert CliRunner().invoke(cli, ["train"]).exit_code == 2
    assert "segmentation_fcn: segmentation." in CliRunner().invoke(cli, ["train", "--list"]).output


def test_an_image_of_another_shape_is_a_sentence_not_a_riddle(tmp_path: Path):
    dataset = small_dataset(tmp_path / "balls")
    image = nibabel.load(dataset.training[0].images[0])
    flat = nibabel.Nifti1Image(np.asarray(image.dataobj)[..., :1], image.affine)
    nibabel.save(flat, dataset.training[0].images[0])
    with pytest.raises(UnusableDataset):
        trained(dataset, tmp_path / "out")


def test_bfloat16_on_a_cpu_is_refused_where_its_gradients_are_wrong(dataset: Dataset, tmp_path: Path):
    deep = {**NETWORK, "channels": [4, 8, 8], "strides": [2, 2]}
    (problem,) = refused(dataset, tmp_path / "out", amp=True, network_def=deep, patch_size=[8, 8, 8])
    assert "make maps of 2 voxels inside the network" in problem
    assert "amp: false" in problem


def test_a_network_of_two_series_has_two_inputs_in_their_order(tmp_path: Path):
    dataset = small_dataset(tmp_path / "balls", channels=("t1", "flair"), training=2, validation=0)
    trained(dataset, tmp_path / "out", steps=1)
    text = (tmp_path / "out.toml").read_text(encoding="utf-8")
    assert [one.role for one in model_from_text(text, source="out.toml").inputs] == ["t1", "flair"]
    config = json.loads((tmp_path / "out" / "configs" / "inference.json").read_text(encoding="utf-8"))
    parser = ConfigParser({**config, "dataset_dir": str(dataset.root / "images")})
    names = [[Path(path).name for path in paths] for paths in parser.get_parsed_content("datalist")]
    assert names == [[f"case{number}_t1.nii.gz", f"case{number}_flair.nii.gz"] for number in range(2)]
    card = (tmp_path / "out" / "docs" / "README.md").read_text(encoding="utf-8")
    assert "There were no validation cases: nothing is known of it." in card


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_training_on_a_gpu_ends_with_a_bundle_too(dataset: Dataset, tmp_path: Path):
    wanted = Order(data=dataset.root, out=tmp_path / "out", model_file=tmp_path / "out.toml", device="cuda", workers=1)
    recipe = recipe_of(small_config(steps=60, validate_every=60, patch_size=[16, 16, 16]), name="small", folder=Path())
    assert train(recipe, wanted).scores["dice_Ball"] > 0.8
    told = json.loads((tmp_path / "out" / "docs" / "provenance.json").read_text(encoding="utf-8"))
    assert told["training"]["device"] == "cuda"
    assert told["training"]["precision"] in {"bfloat16", "float16"}
