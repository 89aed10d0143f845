"""Maps of probability and uncertainty: what MONAI's own chain gives before its argmax, and never a guess."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, Lambdad, Orientationd, Spacingd

from dicomnode.infer import standard
from dicomnode.infer.bundle import Bundle
from dicomnode.infer.request import affine_ras_mm
from dicomnode.infer.segment import Asked, Outcome, Settings, segment
from tests.builders import affine_lps
from tests.bundles import blobs

VALUES = blobs((11, 23, 19), seed=2)
AFFINE = affine_ras_mm(affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3)))


def a_bundle(channels: int = 2, *, softmax: bool = True, nearest: bool = False, overlapping: bool = False,
             inner: tuple[object, ...] | None = None) -> Bundle:
    torch.manual_seed(5)
    network = torch.nn.Conv3d(1, channels, 3, padding=1).eval()
    network.weight.data /= float(np.abs(VALUES).max()) / 20
    before = Compose(list(inner) if inner is not None else [
        Orientationd(keys="image", axcodes="LPS", labels=None), Spacingd(keys="image", pixdim=(2, 2, 2))])
    invert = Invertd(keys="pred", transform=before, orig_keys="image", nearest_interp=nearest, to_tensor=True)
    rounding = AsDiscreted(keys="pred", threshold=0.5) if overlapping or channels == 1 else AsDiscreted(
        keys="pred", argmax=True)
    activation = [Activationsd(keys="pred", softmax=not overlapping and channels > 1,
                               sigmoid=overlapping or channels == 1)] if softmax else []
    after = [*activation, rounding, invert] if nearest else [*activation, invert, rounding]
    return Bundle(network=network, preprocessing=before, inferer=SimpleInferer(), postprocessing=Compose(after),
                  image_key="image", pred_key="pred", divisor=1, device=torch.device("cpu"), overlapping=overlapping)


def run(bundle: Bundle, quantity: str | None, *, fast: bool = False) -> tuple[np.ndarray, np.ndarray, Outcome]:
    labels, found = np.zeros(VALUES.shape, np.uint8), np.full(VALUES.shape, -1, np.float32)
    asked = None if quantity is None else Asked(quantity=quantity, map_zyx=found)
    outcome = segment(bundle, [VALUES], AFFINE, Settings(fast_resample=fast), out_zyx=labels, asked=asked,
                      progress=lambda _f: None)
    return labels, found, outcome


def probabilities(bundle: Bundle) -> np.ndarray:
    """What MONAI gives on the source grid: network, its activation, its inverse; class first, slices, rows, columns."""
    data = bundle.preprocessing({"image": standard.loaded_image([VALUES], AFFINE)})
    with torch.no_grad():
        scores = bundle.network(data["image"][None].as_tensor())[0]
    exclusive = scores.shape[0] > 1 and not bundle.overlapping
    data["pred"] = standard.MetaTensor(torch.softmax(scores, dim=0) if exclusive else torch.sigmoid(scores))
    back = Invertd(keys="pred", transform=bundle.preprocessing, orig_keys="image", nearest_interp=False)(data)
    return np.asarray(back["pred"]).transpose(0, 3, 2, 1)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("softmax", [True, False])
def test_the_probability_of_one_label_is_that_of_monais_own_chain(fast, softmax):
    bundle = a_bundle(softmax=softmax)
    _, found, outcome = run(bundle, "probability", fast=fast)
    assert outcome.no_map == ""
    assert outcome.notes == ()
    np.testing.assert_allclose(found, probabilities(bundle)[1], atol=2e-3)
    assert np.ptp(found) > 0.3


@pytest.mark.parametrize("fast", [False, True])
def test_of_several_labels_the_largest_probability_counts_and_background_does_not(fast):
    resampled, turned = a_bundle(4), a_bundle(4, inner=(Orientationd(keys="image", axcodes="LPS", labels=None),))
    _, found, _ = run(turned, "probability", fast=fast)
    np.testing.assert_allclose(found, probabilities(turned)[1:].max(axis=0), atol=1e-4)
    _, found, _ = run(resampled, "probability", fast=fast)
    assert (found >= probabilities(resampled)[1:].max(axis=0) - 2e-3).all()


@pytest.mark.parametrize("fast", [False, True])
def test_uncertainty_is_the_entropy_of_the_classes_as_a_fraction_of_the_largest(fast):
    bundle = a_bundle(3, inner=(Orientationd(keys="image", axcodes="LPS", labels=None),))
    _, found, _ = run(bundle, "uncertainty", fast=fast)
    each = np.clip(probabilities(bundle), 1e-30, 1)
    np.testing.assert_allclose(found, -(each * np.log(each)).sum(axis=0) / math.log(3), atol=1e-4)


def test_labels_that_share_voxels_are_each_probable_by_themselves():
    bundle = a_bundle(3, overlapping=True)
    _, found, _ = run(bundle, "probability")
    assert (found >= probabilities(bundle).max(axis=0) - 2e-3).all()


def test_one_channel_is_the_probability_of_the_one_label():
    bundle = a_bundle(1)
    _, found, _ = run(bundle, "probability")
    np.testing.assert_allclose(found, probabilities(bundle)[0], atol=2e-3)


@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("nearest", [False, True])
def test_labels_are_the_same_whether_a_map_is_asked_for_or_not(fast, nearest):
    bundle = a_bundle(4, nearest=nearest)
    without, untouched, _ = run(bundle, None, fast=fast)
    with_map, _, outcome = run(bundle, "probability", fast=fast)
    assert outcome.no_map == ""
    assert len(np.unique(without)) > 1
    np.testing.assert_array_equal(with_map, without)
    assert (untouched == -1).all()


def test_where_the_network_gives_labels_there_is_no_map_and_the_labels_remain():
    bundle = a_bundle(1, inner=())
    network = torch.nn.Conv3d(1, 1, 1).eval()
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.constant_(network.bias, 2.0)
    plain = Compose([Lambdad(keys="pred", func=lambda pred: pred)])
    labels, _, outcome = run(Bundle(
        network=network, preprocessing=bundle.preprocessing, inferer=SimpleInferer(), postprocessing=plain,
        image_key="image", pred_key="pred", divisor=1, device=torch.device("cpu")), "probability")
    assert outcome.no_map == "the network gives labels, not probabilities"
    assert (labels == 2).all()
