"""Fast paths of a model file: refused where they cannot be right, and what they change is read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode.config import model_from_text
from dicomnode.errors import ConfigError

CHEST = (Path(__file__).parents[3] / "config" / "models" / "demo_chest.toml").read_text(encoding="utf-8")


def changed(*pairs: tuple[str, str]) -> str:
    text = CHEST
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        model_from_text(text, source="model file")
    return str(caught.value)


@pytest.mark.parametrize("backend", ["torch", "openvino", "compile", "tensorrt"])
def test_a_segmentation_by_pieces_may_name_any_backend(backend):
    text = changed(("[runtime]\n", f'[runtime]\nbackend = "{backend}"\n'))
    assert model_from_text(text, source="model file").runtime.backend == backend


def test_an_unknown_backend_is_refused_with_those_that_exist():
    assert "openvino" in refusal(changed(("[runtime]\n", '[runtime]\nbackend = "onnx"\n')))


def test_another_backend_is_refused_for_a_bundle_with_code_of_its_own():
    backend = ("[runtime]\n", '[runtime]\nbackend = "openvino"\n')
    said = refusal(changed(('trust = "pieces"', 'trust = "code"'), backend))
    assert 'backend = "openvino"' in said
    assert "trust = 'pieces'" in said


@pytest.mark.parametrize("change", [
    ("fast_resample = true", "fast_resample = false"), ('modality = "CT"', 'modality = "MR"')])
def test_a_crop_to_the_body_is_refused_without_hounsfield_units_or_the_resampling_that_it_works_on(change):
    crop = ("[runtime]\n", "[runtime]\ncrop_to_body = true\n")
    assert model_from_text(changed(crop), source="model file").runtime.crop_to_body
    assert "crop_to_body = true: allowed only for a CT segmentation" in refusal(changed(change, crop))


def test_what_a_fast_path_changes_is_named_by_a_key_of_runtime():
    row = "{ dice_between = 0.99, dice_lost = 0.0, cases = 3 }"
    given = changed(("[outputs]", f"[runtime.validated]\nfast_resample = {row}\n\n[outputs]")) \
        if "[runtime.validated]" not in CHEST else CHEST
    assert model_from_text(given, source="model file").runtime.validated
    assert "warp_drive" in refusal(given.replace("[runtime.validated]\n", f"[runtime.validated]\nwarp_drive = {row}\n"))
