"""The training of the chest demonstration, and the bundle that it shipped."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor
from monai.transforms.spatial.dictionary import Spacingd

from dicomnode.infer.digest import bundle_digest
from dicomnode.phantom.chest import chest_ct
from dicomnode.shipped import shipped
from dicomnode.train.demo_chest import script as demo_chest
from dicomnode.train.demo_chest.card import SCORES_BEGIN, SCORES_END, write_scores
from dicomnode.train.demo_chest.cycles import Cycle, Stage, fit, set_nodule_prior
from dicomnode.train.demo_chest.held_out import BundleRunner, Scores, overlap
from dicomnode.train.demo_chest.phantoms import Case, Patches, case_of, scaled, training_case
from dicomnode.train.publish.model_file import pin
from dicomnode.train.publish.weights import save_weights

BUNDLE = shipped("models") / "phantom_chest_ct_segmentation"


@pytest.fixture(scope="module")
def case() -> Case:
    return case_of(chest_ct(21, shape_zyx=(50, 80, 80), spacing_zyx_mm=(5.0, 4.0, 4.0), nodules=4))


@pytest.fixture
def network() -> torch.nn.Module:
    parser = ConfigParser(json.loads((BUNDLE / "configs" / "inference.json").read_text(encoding="utf-8")))
    torch.manual_seed(1)
    return parser.get_parsed_content("network_def")


def test_training_sees_the_grid_that_the_bundle_makes():
    phantom = chest_ct(21, shape_zyx=(30, 64, 64), spacing_zyx_mm=(3.0, 4.0, 4.0))
    ours = case_of(phantom).hu_xyz
    ras_xyz = torch.from_numpy(phantom.hu_zyx.transpose(2, 1, 0)[::-1, ::-1].copy()[None].astype(np.float32))
    image = MetaTensor(ras_xyz, affine=torch.diag(torch.tensor([4.0, 4.0, 3.0, 1.0], dtype=torch.float64)))
    theirs = np.asarray(Spacingd(keys="image", pixdim=(2.0, 2.0, 2.0), mode="bilinear")({"image": image})["image"])[0]
    common = tuple(slice(0, min(a, b) - 1) for a, b in zip(ours.shape, theirs.shape, strict=True))
    assert all(abs(a - b) <= 1 for a, b in zip(ours.shape, theirs.shape, strict=True))
    assert np.abs(ours[common] - theirs[common]).max() <= 1.0


def test_a_training_case_is_the_same_from_the_same_seed():
    first, second = training_case(5), training_case(5)
    assert np.array_equal(first.hu_xyz, second.hu_xyz)
    assert len(first.nodules_xyz) == np.count_nonzero(first.truth_xyz == 2) > 0


def test_intensities_are_scaled_as_the_bundle_scales_them():
    assert scaled(np.array([-3000, -1024, -362, 300, 900], np.int16)) == pytest.approx([0, 0, 0.5, 1, 1], abs=1e-3)


def test_patches_have_one_shape_one_scale_and_often_a_nodule(case: Case):
    images, labels = Patches([case], 0).draw(24, 24)
    assert images.shape == labels.shape == (24, 1, 24, 24, 24)
    assert 0.0 <= images.min() < images.max() <= 1.0
    assert sum((label == 2).any() for label in labels) >= 8


def test_a_patch_larger_than_the_case_is_filled_with_air(case: Case):
    size = max(case.hu_xyz.shape) + 8
    images, labels = Patches([case], 0).draw(1, size)
    assert images.shape == (1, 1, size, size, size)
    assert not labels[0, 0, :, :, -8:].any()


def test_a_few_steps_of_training_lower_the_loss(case: Case, network: torch.nn.Module):
    heard: list[tuple[int, float]] = []
    set_nodule_prior(network)
    stages = (Stage(steps=100, batch=2, size=16),)
    cycle = Cycle(stages=stages, peak_rate=3e-3, decoy_share=0.0, nodule_weight=30.0)
    fit(network, Patches([case], 0), cycle, report=lambda step, loss: heard.append((step, loss)))
    assert [step for step, _ in heard] == [50, 100]
    assert heard[1][1] < heard[0][1]


def test_a_network_without_a_class_bias_is_refused():
    with pytest.raises(ValueError, match="3 biased outputs"):
        set_nodule_prior(torch.nn.Sequential(torch.nn.Conv3d(1, 3, 1, bias=False)))


def test_weights_are_halved_stored_once_and_load_strictly(network: torch.nn.Module, tmp_path: Path):
    size_bytes = save_weights(network, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    unique = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    assert len(unique) < len(state), "DynUNet names each tensor twice; the file holds it once"
    assert size_bytes < 400_000
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state, strict=True)
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.allclose(value.float(), before[name].float(), atol=2e-3)


def test_scores_go_into_the_metadata_and_the_model_card(tmp_path: Path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text('{"version": "1.0.0"}', encoding="utf-8")
    card = tmp_path / "docs" / "README.md"
    card.write_text(f"above\n{SCORES_BEGIN}old{SCORES_END}\nbelow\n", encoding="utf-8")
    scores = Scores(dice={"Lung": 0.98, "Nodule": 0.85}, lowest_lung_dice=0.97, nodules=9, found=8, phantoms=3)
    write_scores(tmp_path, scores, command="make models")
    metadata = json.loads((tmp_path / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert metadata == {"version": "1.0.0", "eval_metrics": {"lung_dice": 0.98, "nodule_dice": 0.85}}
    text = card.read_text(encoding="utf-8")
    assert "| Nodule | 0.850 |" in text
    assert "8 of 9" in text
    assert "old" not in text
    assert text.startswith("above")
    assert text.endswith("below\n")


def test_a_model_card_without_its_marks_is_refused(tmp_path: Path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "docs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text("{}", encoding="utf-8")
    (tmp_path / "docs" / "README.md").write_text("a card", encoding="utf-8")
    scores = Scores(dice={"Lung": 0.98}, lowest_lung_dice=0.97, nodules=0, found=0, phantoms=1)
    with pytest.raises(ValueError, match="lacks the marks"):
        write_scores(tmp_path, scores, command="make models")


def test_the_digest_is_pinned_on_the_one_line_for_it(tmp_path: Path):
    model_file = tmp_path / "m.toml"
    model_file.write_text('name = "m"\ndigest = "sha256:00"\nversion = "1"\n', encoding="utf-8")
    pin(model_file, "sha256:ab")
    assert model_file.read_text(encoding="utf-8") == 'name = "m"\ndigest = "sha256:ab"\nversion = "1"\n'


def test_a_model_file_without_a_digest_line_is_refused(tmp_path: Path):
    model_file = tmp_path / "m.toml"
    model_file.write_text('name = "m"\n', encoding="utf-8")
    with pytest.raises(ValueError, match="has 0 lines"):
        pin(model_file, "sha256:ab")


def test_the_shipped_model_file_pins_the_shipped_bundle():
    text = (shipped("config") / "models" / "demo_chest.toml").read_text(encoding="utf-8")
    assert f'digest = "{bundle_digest(BUNDLE)}"' in text


def test_dice_of_a_mask_with_itself_is_one():
    mask = np.arange(24).reshape(2, 3, 4) % 3 == 0
    both, either = overlap(mask, mask)
    assert 2 * both == either == 16


def test_training_validation_and_test_never_share_a_phantom():
    seeds = [set(demo_chest.TRAINING_SEEDS), set(demo_chest.VALIDATION_SEEDS), set(demo_chest.TEST_SEEDS)]
    assert sum(map(len, seeds)) == len(set.union(*seeds))


def test_a_folder_without_a_configuration_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert demo_chest.main(["--out", str(tmp_path)]) == 2
    assert "configs/inference.json" in capsys.readouterr().err


def test_the_shipped_weights_are_small_and_say_what_they_are():
    assert (BUNDLE / "models" / "model.pt").stat().st_size < 2_000_000
    metadata = json.loads((BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert "Not for clinical use" in metadata["intended_use"]
    assert metadata["eval_metrics"]["lung_dice"] >= 0.97
    assert metadata["eval_metrics"]["nodule_dice"] >= 0.80


@pytest.mark.slow
def test_the_shipped_bundle_finds_lungs_and_large_nodules_of_a_phantom_it_never_saw():
    phantom = chest_ct(
        424_242,
        shape_zyx=(90, 170, 170),
        spacing_zyx_mm=(3.0, 2.0, 2.0),
        nodules=4,
        nodule_diameters_mm=(10.0, 15.0),
    )
    label_zyx = BundleRunner(BUNDLE).segment(phantom.hu_zyx, phantom.spacing_zyx_mm)
    dice = {}
    for value in (1, 2):
        both, either = overlap(label_zyx == value, phantom.truth_zyx == value)
        dice[value] = 2.0 * both / either
    assert dice[1] >= 0.97
    assert dice[2] >= 0.75, "nodules of 10 mm and more: the smaller ones it misses, as its model card says"
