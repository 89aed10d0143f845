"""Labels from the node equal those of ``python -m monai.bundle run`` on the same volume, voxel for voxel."""

from __future__ import annotations

import importlib.util
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomnode.config import model_from_text
from dicomnode.domain.model import Runtime
from dicomnode.infer.pool import Pool
from dicomnode.phantom.brain import brain_mr
from dicomnode.phantom.chest import chest_ct
from dicomnode.run.selftest import volume_of, volumes_of
from tests.builders import affine_lps
from tests.bundle_command import run_by_command, saved_zyx
from tests.bundles import blobs, model_file, spleen_form, volume

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (importlib.util.find_spec("ignite") and importlib.util.find_spec("fire")),
        reason="the command needs pytorch-ignite and fire: pip install pytorch-ignite fire"),
]
ROOT = Path(__file__).parents[2]
OBLIQUE = affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3), row=(0.9961946980917455, 0, -0.08715574274765817),
                     column=(0.007596123493895969, 0.9961946980917455, 0.08682408883346517))
SAGITTAL = affine_lps(spacing_zyx_mm=(2.37, 1.2, 1.2), row=(0, 1, 0), column=(0, 0, -1))
NEAREST = [
    {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image", "nearest_interp": True,
     "to_tensor": True},
]
FORMS = {
    "spleen form, axial": ({}, affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3))),
    "spleen form, oblique": ({"axcodes": "LPS", "spacing": (1.7, 1.7, 2.3)}, OBLIQUE),
    "argmax before Invertd, sagittal": ({"postprocessing": NEAREST}, SAGITTAL),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_equal_those_of_the_bundle_command_voxel_for_voxel(form, tmp_path):
    changes, affine = FORMS[form]
    folder = spleen_form(tmp_path / "bundle", **changes)
    image = volume(blobs((24, 56, 60), seed=3), affine)
    expected = saved_zyx(run_by_command(folder, [image], tmp_path))
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        stock = pool.run(model_file(folder), {"image": image})
        fast = pool.run(model_file(folder, runtime=Runtime(fast_resample=True)), {"image": image})
    assert len(np.unique(expected)) == 3, "the comparison needs every label"
    assert int((stock.labels_zyx != expected).sum()) == 0
    assert fast.notes == ()
    assert (fast.labels_zyx != expected).mean() < 1e-4


@pytest.mark.parametrize("name", ["demo_chest", "demo_brain"])
def test_a_shipped_bundle_gives_what_its_command_gives_where_no_fast_path_is_on(name, tmp_path):
    path = ROOT / "config" / "models" / f"{name}.toml"
    model = model_from_text(path.read_text(encoding="utf-8"), source=str(path))
    shutil.copytree(ROOT / "models" / model.bundle, tmp_path / model.bundle)
    images = volumes_of(brain_mr(910, tumour=True)) if name == "demo_brain" else \
        (volume_of(chest_ct(300_003, shape_zyx=(48, 130, 150), spacing_zyx_mm=(5.0, 2.4, 2.2))),)
    roles = [one.role for one in model.inputs]

    with Pool(tmp_path, device="cpu", threads=1) as pool:
        stock = pool.run(replace(model, runtime=Runtime()), dict(zip(roles, images, strict=True)))
    expected = saved_zyx(run_by_command(tmp_path / model.bundle, images, tmp_path, roles=roles))

    assert len(np.unique(expected)) >= 3, "the comparison needs every label"
    assert int((stock.labels_zyx != expected).sum()) == 0
