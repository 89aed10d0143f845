"""The fast path gives what MONAI's own transforms give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from monai.transforms import Compose, Invertd, Orientationd, Spacingd

from dicomnode.infer import grid, resample, standard
from dicomnode.infer.request import affine_ras_mm
from tests.builders import affine_lps
from tests.bundles import blobs

COSINES = {
    "axial": ((1, 0, 0), (0, 1, 0)), "feet first": ((-1, 0, 0), (0, 1, 0)), "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "oblique": ((0.9961946980917455, 0, -0.08715574274765817),
                (0.007596123493895969, 0.9961946980917455, 0.08682408883346517)),
}
CASES = list(itertools.product(COSINES, ["RAS", "LPS", "LIA"], [(2.0, 2.0, 2.0), (0.7, 1.9, 3.1)]))


def chain(axcodes: str, spacing: tuple[float, ...]) -> Compose:
    return Compose([Orientationd(keys="image", axcodes=axcodes),
                    Spacingd(keys="image", pixdim=spacing, mode="bilinear")])


def source(cosines: str) -> np.ndarray:
    row, column = COSINES[cosines]
    return affine_ras_mm(affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3), row=row, column=column))


@pytest.mark.parametrize(("cosines", "axcodes", "spacing"), CASES)
def test_forward_and_inverse_equal_those_of_monai(cosines, axcodes, spacing):
    affine, values, steps = source(cosines), blobs((11, 23, 19), seed=2), chain(axcodes, spacing)
    data = steps({"image": standard.loaded_image([values], affine)})
    target = grid.target_grid(steps.transforms, "image", affine, values.shape)
    ours = resample.resample(values, target)
    assert target.affine_ras_mm == pytest.approx(np.asarray(data["image"].affine), abs=1e-6)
    assert ours.shape == data["image"].shape[1:]
    assert float((ours - data["image"][0]).abs().max()) < 1e-2 * np.abs(values).max() / 100

    scores = torch.nn.functional.avg_pool3d(torch.randn(1, 3, *ours.shape), 3, 1, 1)[0]
    inverse = Invertd(keys="pred", transform=steps, orig_keys="image", nearest_interp=False)
    theirs = inverse({**data, "pred": standard.MetaTensor(scores.clone())})["pred"]
    expected = np.asarray(theirs).argmax(axis=0).transpose(2, 1, 0)
    out = np.zeros(values.shape, np.uint8)
    resample.put_back_argmax(scores, target, out)
    assert (out != expected).mean() < 1e-4


def test_labels_put_back_onto_their_own_grid_are_unchanged():
    affine, values = source("axial"), blobs((5, 7, 9))
    steps = [Orientationd(keys="image", axcodes="LPS")]
    target = grid.target_grid(steps, "image", affine, values.shape)
    labels = torch.randint(0, 300, (9, 7, 5), dtype=torch.int32)
    out = np.zeros(values.shape, np.uint16)
    resample.put_back_labels(labels, target, out)
    assert np.array_equal(out, labels.numpy().transpose(2, 1, 0))


def test_a_single_slice_keeps_its_place():
    affine, values = source("axial"), blobs((1, 23, 19))
    target = grid.target_grid(chain("RAS", (2.0, 2.0, 2.0)).transforms, "image", affine, values.shape)
    scores = torch.zeros(2, *resample.resample(values, target).shape)
    scores[1, 3:] = 1.0
    out = np.zeros(values.shape, np.uint8)
    resample.put_back_argmax(scores, target, out)
    assert 0 < out.mean() < 1


def test_a_sheared_stack_is_not_for_the_fast_path():
    affine = affine_ras_mm(affine_lps(spacing_zyx_mm=(3.0, 1.0, 1.0), tilt_deg=15))
    with pytest.raises(grid.NotFast, match="sheared"):
        grid.target_grid(chain("RAS", (2.0, 2.0, 2.0)).transforms, "image", affine, (20, 30, 30))


def test_the_first_of_two_equal_scores_wins_as_argmax_does():
    scores = torch.tensor([[1.0, 0.0, 2.0], [1.0, 3.0, 2.0], [0.0, 3.0, 2.0]])
    assert resample.largest(scores).tolist() == scores.argmax(0).tolist() == [0, 1, 0]
