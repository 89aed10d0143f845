"""Bundles in the shapes of the Model Zoo's main ones give what ``python -m monai.bundle run`` gives, voxel for voxel.

Every fast path is off. Each in the mode that it needs; what runs as pieces also runs by its own evaluator.
"""

from __future__ import annotations

import importlib.util
import json

import numpy as np
import pytest

from dicomnode.infer.pool import Pool
from tests.builders import affine_lps
from tests.bundle_command import run_by_command, saved_zyx
from tests.bundles import blobs, model_file, spleen_form, volume
from tests.zoo import (
    brats_form,
    evaluated_form,
    retina_form,
    roles,
    scripted_form,
    slicewise_form,
    whole_body_form,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        not (importlib.util.find_spec("ignite") and importlib.util.find_spec("fire")),
        reason="the command needs pytorch-ignite and fire: pip install pytorch-ignite fire"),
]
AXIAL = affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3), origin_mm=(-31.7, 12.3, -50.1))
IMAGE = volume(blobs((24, 40, 44), seed=3), AXIAL)
BOX_TOLERANCE_MM = 1e-3
"""The command's boxes have gone through float32 world coordinates of some 100 mm."""


@pytest.mark.parametrize(("form", "plain", "highest", "least"), [
    (whole_body_form, None, 104, 20), (slicewise_form, None, 2, 3), (evaluated_form, spleen_form, 2, 3)])
def test_labels_equal_those_of_the_command(form, plain, highest, least, tmp_path):
    """``plain``: the same bundle without leftovers of evaluation, which the command cannot run without a truth."""
    folder = form(tmp_path / "bundle")
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        pieces = pool.run(model_file(folder, labels=highest), {"image": IMAGE}).labels_zyx
    reference = plain(tmp_path / "plain") if plain else folder
    expected = saved_zyx(run_by_command(reference, [IMAGE], tmp_path))
    assert len(np.unique(expected)) >= least, "the comparison needs several labels"
    np.testing.assert_array_equal(pieces, expected)


def test_leftovers_of_evaluation_do_not_disturb_the_own_evaluator_either(tmp_path):
    folder = evaluated_form(tmp_path / "bundle")
    with Pool(tmp_path, device="cpu", threads=1, warm=1) as pool:
        pieces = pool.run(model_file(folder), {"image": IMAGE}).labels_zyx
        engine = pool.run(model_file(folder, trust="code"), {"image": IMAGE}).labels_zyx
    assert len(np.unique(pieces)) == 3
    np.testing.assert_array_equal(engine, pieces)


def test_four_channels_in_order_give_three_overlapping_labels_equal_to_the_command(tmp_path):
    folder = brats_form(tmp_path / "bundle")
    names = ["t1c", "t1", "t2", "flair"]
    images = [volume(blobs((20, 40, 36), seed=seed), AXIAL, modality="MR") for seed in range(4)]
    given = dict(zip(names, images, strict=True))
    change = {"inputs": roles(names), "overlapping": True, "labels": 3}
    model, trusted = model_file(folder, **change), model_file(folder, trust="code", **change)
    with Pool(tmp_path, device="cpu", threads=1, warm=1) as pool:
        pieces = pool.run(model, given).labels_zyx
        engine = pool.run(trusted, given).labels_zyx
        turned = pool.run(trusted, {**given, "t1": images[3], "flair": images[1]}).labels_zyx
    channels = saved_zyx(run_by_command(folder, images, tmp_path))
    assert channels.shape == (3, 20, 40, 36)
    expected = sum(channel.astype(int) << number for number, channel in enumerate(channels))
    assert len(np.unique(expected)) >= 6, "the comparison needs labels that overlap and labels that do not"
    np.testing.assert_array_equal(pieces, expected)
    np.testing.assert_array_equal(engine, expected)
    assert (turned != expected).mean() > 0.01, "the order of the inputs must matter"


def test_a_bundle_with_scripts_runs_by_its_own_code_and_equals_the_command(tmp_path):
    folder = scripted_form(tmp_path / "bundle")
    model = model_file(folder, trust="code")
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        first = pool.run(model, {"image": IMAGE})
        again = pool.run(model, {"image": IMAGE})
    expected = saved_zyx(run_by_command(folder, [IMAGE], tmp_path))
    assert len(np.unique(expected)) == 3
    np.testing.assert_array_equal(first.labels_zyx, expected)
    np.testing.assert_array_equal(again.labels_zyx, expected)
    assert again.seconds["load"] == 0.0


def test_the_boxes_of_a_scripted_retinanet_equal_those_that_the_command_saves(tmp_path):
    folder = retina_form(tmp_path / "bundle")
    model = model_file(folder, trust="code", task="detection")
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        found = pool.run(model, {"image": IMAGE}).boxes
    (saved,) = json.loads((run_by_command(folder, [IMAGE], tmp_path, run_id="evaluating") / "boxes.json").read_text())
    assert len(saved["box"]) == len(found) == 12
    assert len(set(saved["label"])) == 2
    np.testing.assert_array_equal([box.label - 1 for box in found], saved["label"])
    np.testing.assert_allclose([box.score for box in found], saved["label_scores"], atol=1e-6)
    for box, expected in zip(found, np.asarray(saved["box"]), strict=True):
        ends = np.array([IMAGE.stack.to_lps_mm(box.box_zyx[:3]), IMAGE.stack.to_lps_mm(box.box_zyx[3:])])
        np.testing.assert_allclose(ends.mean(axis=0), expected[:3], atol=BOX_TOLERANCE_MM)
        np.testing.assert_allclose(np.abs(ends[1] - ends[0]), expected[3:], atol=BOX_TOLERANCE_MM)
