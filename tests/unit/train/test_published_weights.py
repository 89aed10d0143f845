"""Weights as a bundle stores them, and the model file that pins them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dicomnode.train.fit.recipe import read_recipe
from dicomnode.train.publish.model_file import pin
from dicomnode.train.publish.weights import save_weights


def test_weights_are_halved_stored_once_and_load_strictly(tmp_path: Path):
    torch.manual_seed(1)
    network = read_recipe("demo_chest").build("network_def", channels=1, classes=3)
    size_bytes = save_weights(network, tmp_path / "model.pt")
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    unique = {tensor.untyped_storage().data_ptr() for tensor in state.values()}
    assert len(unique) < len(state), "DynUNet names each tensor twice; the file holds it once"
    assert size_bytes < 2_000_000
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(state, strict=True)
    for name, value in network.state_dict().items():
        assert value.dtype == before[name].dtype
        assert torch.allclose(value.float(), before[name].float(), atol=2e-3)


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
