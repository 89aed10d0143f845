"""The bundle's own path where bundles differ: several inputs, labels that overlap, no postprocessing, odd sizes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch

from dicomnode.errors import ModelFailed
from dicomnode.infer.bundle import Bundle, load_pieces
from dicomnode.infer.job import Loading
from dicomnode.infer.padding import PaddedInferer
from dicomnode.infer.segment import Settings, segment
from dicomnode.infer.standard import bits_of
from tests.bundles import SMALL_UNET, save_weights, spleen_form

SHAPE = (9, 20, 22)
AFFINE_RAS_MM = np.diag([-1.1, -1.3, 3.0, 1.0])


class Pick(torch.nn.Module):
    """Gives its input back, and so shows what went in."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image


def made(tmp_path, *, model: dict[str, Any] | None = None, **changes: Any) -> Bundle:
    """A bundle of the spleen form whose config has some ids changed; None takes one out."""
    folder = spleen_form(tmp_path / "bundle", network=changes.pop("network", None))
    path = folder / "configs" / "inference.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return load_pieces(Loading(files=files, overrides={}, device=torch.device("cpu"), model=model or {}))


def run(bundle: Bundle, *channels: np.ndarray, dtype: type = np.uint8) -> np.ndarray:
    out = np.zeros(channels[0].shape, dtype)
    segment(bundle, channels, AFFINE_RAS_MM, Settings(), out_zyx=out, progress=lambda _f: None)
    return out


def field(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-500, 500, SHAPE).astype(np.int16)


def threshold(*keys: str) -> dict[str, Any]:
    return composed({"_target_": "AsDiscreted", "keys": list(keys), "threshold": 100.0})


def composed(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": list(steps)}


def without_network(bundle: Bundle) -> Bundle:
    import dataclasses

    return dataclasses.replace(bundle, network=Pick(), inferer=PaddedInferer(1))


def test_channels_become_bits_each_where_its_own_volume_says(tmp_path):
    bundle = without_network(made(tmp_path, model={"overlapping": True}, preprocessing=[],
                                  postprocessing=threshold("pred")))
    first, second, third = field(1), field(2), field(3)
    expected = (first >= 100) * 1 + (second >= 100) * 2 + (third >= 100) * 4
    np.testing.assert_array_equal(run(bundle, first, second, third), expected)
    assert len(np.unique(expected)) == 8


def test_inputs_that_a_bundle_loads_by_name_get_their_own_volume_in_the_order_of_the_model_file(tmp_path):
    chain = composed(
        {"_target_": "LoadImaged", "keys": ["t1", "t2"]},
        {"_target_": "ScaleIntensityRanged", "keys": "t2", "a_min": 0, "a_max": 1, "b_min": 0, "b_max": -1},
        {"_target_": "ConcatItemsd", "keys": ["t2", "t1"], "name": "image"})
    bundle = without_network(made(tmp_path, model={"overlapping": True}, preprocessing=chain,
                                  postprocessing=threshold("pred")))
    t1, t2 = field(1), field(2)
    np.testing.assert_array_equal(run(bundle, t1, t2), (-t2.astype(int) >= 100) * 1 + (t1 >= 100) * 2)


def test_another_number_of_inputs_than_the_bundle_loads_is_named(tmp_path):
    chain = composed({"_target_": "LoadImaged", "keys": ["t1", "t2"]},
                     {"_target_": "ConcatItemsd", "keys": ["t1", "t2"], "name": "image"})
    bundle = without_network(made(tmp_path, preprocessing=chain))
    with pytest.raises(ModelFailed, match=r"loads 2 images \(t1, t2\).*1 \[\[inputs\]\]"):
        run(bundle, field())


def test_a_chain_that_leaves_no_image_says_what_it_leaves(tmp_path):
    chain = composed({"_target_": "LoadImaged", "keys": ["t1", "t2"]})
    with pytest.raises(ModelFailed, match="leaves t1, t2; expected is 'image'"):
        run(without_network(made(tmp_path, preprocessing=chain)), field(), field())


def test_a_wrong_number_of_channels_is_a_failure_in_the_networks_own_words(tmp_path):
    with pytest.raises(ModelFailed, match="channels"):
        run(made(tmp_path), field(), field())


def test_a_bundle_without_postprocessing_gets_the_usual_one(tmp_path):
    bare, usual = made(tmp_path / "bare", postprocessing=None), made(tmp_path / "usual")
    assert (bare.own_postprocessing, usual.own_postprocessing) == (False, True)
    labels = run(bare, field())
    np.testing.assert_array_equal(labels, run(usual, field()))
    assert len(np.unique(labels)) > 1


def test_without_postprocessing_one_channel_is_a_probability_by_sigmoid(tmp_path):
    bundle = without_network(made(tmp_path, preprocessing=None, postprocessing=None))
    np.testing.assert_array_equal(run(bundle, field()), field() >= 0)


def test_a_size_that_the_network_cannot_divide_is_padded_and_cropped_back(tmp_path):
    bundle = made(tmp_path, inferer={"_target_": "SimpleInferer"}, preprocessing=composed())
    odd, even = field(), np.pad(field(), ((0, 7), (0, 4), (0, 2)), mode="edge")
    np.testing.assert_array_equal(run(bundle, odd), run(bundle, even)[:9, :20, :22])


def test_a_size_that_the_network_can_divide_is_left_alone():
    image = torch.randn(1, 1, 7, 9, 5)
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    with torch.no_grad():
        assert torch.equal(PaddedInferer(8)(image, network), network(image))


def test_another_error_of_the_network_is_not_hidden_by_padding():
    def network(_image: torch.Tensor) -> torch.Tensor:
        msg = "expected input to have 4 channels"
        raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="4 channels"):
        PaddedInferer(8)(torch.zeros(1, 1, 7, 9, 5), network)


@pytest.mark.parametrize("prediction", [torch.full((2, 2, 2, 2), 0.5), torch.full((1, 2, 2, 2), 2.0)])
def test_overlapping_labels_must_be_zero_or_one(prediction):
    with pytest.raises(ModelFailed, match="holds more than 0 and 1"):
        bits_of(prediction)


def test_sixteen_labels_may_overlap_and_seventeen_may_not():
    assert int(bits_of(torch.ones(16, 1, 1, 1))) == 65535
    with pytest.raises(ModelFailed, match="17 channels"):
        bits_of(torch.ones(17, 1, 1, 1))


def test_a_window_larger_than_the_image_gives_labels_on_the_image(tmp_path):
    network = {**SMALL_UNET, "out_channels": 2}
    bundle = made(tmp_path, network=network, inferer={
        "_target_": "SlidingWindowInferer", "roi_size": [64, 64, 64], "sw_batch_size": 1})
    assert run(bundle, field()).shape == SHAPE


def test_slices_one_by_one_go_through_a_flat_network(tmp_path):
    network = {**SMALL_UNET, "spatial_dims": 2}
    bundle = made(tmp_path, network=network, inferer={
        "_target_": "SliceInferer", "roi_size": [32, 32], "spatial_dim": 2, "sw_batch_size": 2})
    assert len(np.unique(run(bundle, field()))) > 1


def test_weights_saved_under_a_name_of_a_checkpoint_are_taken_from_it(tmp_path):
    folder = spleen_form(tmp_path / "bundle")
    state = torch.load(folder / "models" / "model.pt", weights_only=True)
    save_weights(folder, {"model": state, "epoch": 3})
    files = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    bundle = load_pieces(Loading(files=files, overrides={}, device=torch.device("cpu")))
    for name, value in bundle.network.state_dict().items():
        assert torch.equal(value, state[name])
