"""Whatever a bundle says about itself, the model file that is written of it loads."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from dicomnode.adopt.guess import about
from dicomnode.adopt.skeleton import skeleton, with_keys
from dicomnode.config.models import model_from_text

DIGEST = "sha256:" + "0" * 64
TEXTS = st.text(max_size=90) | st.sampled_from(["CT", "MR", "background", "spleen", "kidney_left", "lung tumor", "T1c"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2000) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS | st.integers(0, 20).map(str), inner, max_size=4),
    max_leaves=12)
CHANNELS = VALUES | st.dictionaries(st.integers(0, 120).map(str), TEXTS, max_size=12)
IMAGES = VALUES | st.fixed_dictionaries({}, optional={
    "modality": VALUES, "format": VALUES, "num_channels": VALUES, "spatial_shape": VALUES, "channel_def": CHANNELS})
METADATA = VALUES | st.fixed_dictionaries({}, optional={
    "version": VALUES, "task": VALUES, "name": VALUES, "description": VALUES, "intended_use": VALUES,
    "network_data_format": VALUES | st.fixed_dictionaries({}, optional={
        "inputs": VALUES | st.dictionaries(TEXTS, IMAGES, max_size=2),
        "outputs": VALUES | st.dictionaries(TEXTS, IMAGES, max_size=2)})})


STEPS = VALUES | st.lists(st.fixed_dictionaries({"_target_": TEXTS}, optional={
    "sigmoid": VALUES, "softmax": VALUES, "argmax": VALUES, "func": VALUES, "transforms": VALUES}), max_size=4)
CONFIGS = VALUES | st.fixed_dictionaries({}, optional={"postprocessing": STEPS, "detector": VALUES})


@settings(max_examples=200, deadline=None)
@given(METADATA, CONFIGS, TEXTS)
def test_a_guessed_model_file_loads_and_waits_for_confirmation(metadata, config, version):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "configs" / "metadata.json"
        path.parent.mkdir()
        path.write_text(json.dumps(metadata), encoding="utf-8")
        path.with_name("inference.json").write_text(json.dumps(config), encoding="utf-8")
        found = about(Path(folder))
    text = skeleton(found, name="m", bundle="b", digest=DIGEST, trust="pieces")
    model = model_from_text(text, source="m.toml")
    assert not model.confirmed
    assert model.inputs
    assert model.labels or model.classes
    again = model_from_text(with_keys(text, version=version or "0", digest=DIGEST), source="m.toml")
    assert again.version == (version or "0").replace("\x7f", " ")
