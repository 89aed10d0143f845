"""Fast paths in real children behind the sandbox: each a switch, each bounded, each replaced where it cannot be had."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.config import model_from_text
from dicomnode.domain.model import ModelFile, Runtime
from dicomnode.infer.pool import Pool
from dicomnode.phantom.brain import brain_mr
from dicomnode.phantom.chest import chest_ct
from dicomnode.run.selftest import volume_of, volumes_of
from tests.builders import affine_lps
from tests.bundles import blobs, model_file, spleen_form, volume

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROOT = Path(__file__).parents[2]
IMAGE = volume(blobs((24, 64, 64), seed=2), affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3)))
LIMITS = {"time_limit_s": 240.0}
PUBLISHED_FROM_OTHER_CASES = 0.03
"""By how much one phantom may lie below what was recorded over several."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> Iterator[Pool]:
    folder = tmp_path_factory.mktemp("models")
    spleen_form(folder / "small")
    with Pool(folder, device="cpu", threads=1, warm=3) as made:
        yield made


def shipped(name: str):
    path = ROOT / "config" / "models" / f"{name}.toml"
    return model_from_text(path.read_text(encoding="utf-8"), source=str(path))


def shipped_segmentations() -> list[ModelFile]:
    """Every shipped model that can have fast paths: a detector has none."""
    models = [shipped(path.stem) for path in sorted((ROOT / "config" / "models").glob("*.toml"))]
    return [model for model in models if model.task == "segmentation"]


def run(pool: Pool, **runtime: object):
    folder = pool._models_dir / "small"
    return pool.run(model_file(folder, runtime=Runtime(**LIMITS, **runtime)), {"image": IMAGE})


def differing(one, other) -> float:
    return float((one.labels_zyx != other.labels_zyx).mean())


@pytest.mark.skipif(not importlib.util.find_spec("openvino"),
                    reason="the extra is not installed: pip install dicomnode-monai[openvino]")
@pytest.mark.parametrize(("precision", "most"), [("float32", 1e-3), ("bfloat16", 5e-2)])
def test_openvino_runs_behind_the_sandbox_and_stays_warm(pool, precision, most):
    plain = run(pool)
    first, second = (run(pool, backend="openvino", precision=precision) for _ in range(2))
    assert first.notes == second.notes == ()
    assert second.seconds["load"] == 0.0
    assert differing(first, second) == 0
    assert differing(first, plain) < most


@pytest.mark.parametrize("backend", ["compile", "tensorrt"])
def test_a_backend_for_gpus_falls_back_to_torch_and_every_run_says_so(pool, backend):
    plain, given = run(pool), run(pool, backend=backend)
    assert differing(plain, given) == 0
    assert [note for note in given.notes if note.startswith(f"backend {backend} not used:")] == list(given.notes)
    assert given.notes == run(pool, backend=backend).notes


def test_settings_of_torch_share_one_warm_child(pool):
    run(pool)
    assert run(pool, precision="bfloat16", fast_resample=True, sw_batch_size=1).seconds["load"] == 0.0


def test_a_crop_to_the_body_gives_background_outside_and_the_same_inside():
    phantom = chest_ct(5, shape_zyx=(32, 96, 96), spacing_zyx_mm=(5.0, 4.6, 4.6), nodules=0)
    model = shipped("demo_chest")
    fast = replace(model, runtime=Runtime(fast_resample=True, precision="bfloat16", **LIMITS))
    with Pool(ROOT / "models", device="cpu", threads=1) as pool:
        whole, cropped = (
            pool.run(replace(fast, runtime=replace(fast.runtime, crop_to_body=crop)),
                     {model.inputs[0].role: volume_of(phantom)}) for crop in (False, True))
    assert dice(whole.labels_zyx == 1, cropped.labels_zyx == 1) > 0.95
    air = np.argwhere(phantom.hu_zyx > -500)[:, 1].min() - 6
    assert air > 2, "the phantom has air in front of the body"
    assert not cropped.labels_zyx[:, :air].any()


@pytest.mark.parametrize("model", [pytest.param(model, id=model.name) for model in shipped_segmentations()])
def test_a_shipped_models_fast_paths_keep_to_what_was_recorded(model):
    recorded = model.runtime.validated["together"]
    images = dict(zip([role.role for role in model.inputs], phantom_of(model), strict=True))
    off = Runtime(**LIMITS)
    with Pool(ROOT / "models", device="cpu", threads=1) as pool:
        plain, fast = (pool.run(replace(model, runtime=runtime), images)
                       for runtime in (off, replace(model.runtime, **LIMITS)))
    assert fast.notes == (), "every fast path of the model file was taken"
    for label in model.labels:
        if (plain.labels_zyx == label.value).any():
            assert dice(plain.labels_zyx == label.value, fast.labels_zyx == label.value) \
                >= recorded.dice_between - PUBLISHED_FROM_OTHER_CASES, label.name


def phantom_of(model: ModelFile):
    if model.inputs[0].modality == "MR":
        return volumes_of(brain_mr(21, shape_zyx=(40, 80, 80), spacing_zyx_mm=(4.0, 2.5, 2.5)))
    return (volume_of(chest_ct(21, shape_zyx=(60, 160, 160), spacing_zyx_mm=(4.0, 2.2, 2.2), nodules=4,
                               nodule_diameters_mm=(10.0, 16.0))),)


def dice(one, other) -> float:
    return 2 * int((one & other).sum()) / max(1, int(one.sum()) + int(other.sum()))
