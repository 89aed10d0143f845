"""One segmentation: what goes wrong inside a bundle has a name and a sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.inferers import SimpleInferer
from monai.transforms import AsDiscreted, Compose, Invertd, KeepLargestConnectedComponentd, Lambdad, Orientationd

from dicomnode.errors import GpuOutOfMemory, ModelFailed
from dicomnode.infer.bundle import Bundle
from dicomnode.infer.segment import Outcome, Settings, segment

SHAPE = (4, 6, 8)


def failing(error: Exception) -> object:
    def fail(_image: object) -> object:
        raise error
    return fail


def run(*, pre: tuple[object, ...] = (), post: tuple[object, ...] = (), classes: int = 2,
        out: np.ndarray | None = None) -> Outcome:
    bundle = Bundle(
        network=torch.nn.Conv3d(1, classes, 1).eval(), preprocessing=Compose(list(pre)), inferer=SimpleInferer(),
        postprocessing=Compose(list(post)), image_key="image", pred_key="pred", divisor=1, device=torch.device("cpu"))
    labels = np.zeros(SHAPE, np.uint8) if out is None else out
    return segment(bundle, [np.zeros(SHAPE, np.int16)], np.eye(4), Settings(), out_zyx=labels, progress=lambda _f: None)


def test_labels_are_written_in_the_order_of_slices_rows_and_columns():
    index = torch.arange(8 * 6 * 4, dtype=torch.float32).reshape(1, 8, 6, 4)
    out = np.zeros(SHAPE, np.uint8)
    outcome = run(post=(Lambdad(keys="pred", func=lambda _p: index),), out=out)
    assert out[3, 2, 7] == int(index[0, 7, 2, 3])
    assert outcome.highest == 8 * 6 * 4 - 1
    assert set(outcome.seconds) == {"preprocess", "inference", "postprocess"}


def test_a_transform_that_raises_is_a_failure_with_its_own_words():
    with pytest.raises(ModelFailed, match="ValueError: no such axis"):
        run(pre=(Lambdad(keys="image", func=failing(ValueError("no such axis"))),))


@pytest.mark.parametrize("error", [MemoryError("no"), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_lack_of_memory_outside_the_network_is_not_called_a_fault_of_the_model(error):
    with pytest.raises(GpuOutOfMemory, match="fast_resample"):
        run(pre=(Lambdad(keys="image", func=failing(error)),))


def test_fractions_are_no_labels():
    with pytest.raises(ModelFailed, match="fractions where labels are expected"):
        run(post=(Lambdad(keys="pred", func=lambda p: p[:1] * 0 + 0.5),))


def test_negative_values_are_no_labels():
    with pytest.raises(ModelFailed, match="allowed are labels"):
        run(post=(Lambdad(keys="pred", func=lambda p: p[:1] * 0 - 1),))


def test_a_label_too_large_for_the_model_file_is_named():
    with pytest.raises(ModelFailed, match="label 700"):
        run(post=(Lambdad(keys="pred", func=lambda p: p[:1] * 0 + 700),))


def test_several_channels_are_no_label_map():
    with pytest.raises(ModelFailed, match=r"shape \(2, 8, 6, 4\)"):
        run()


def test_the_largest_class_becomes_the_label():
    out = np.full(SHAPE, 9, np.uint8)
    run(post=(AsDiscreted(keys="pred", argmax=True),), out=out)
    assert set(np.unique(out)) <= {0, 1}


class Slabs(torch.nn.Module):
    """Class 1 where the image is bright; a channel for it and one for the rest."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([100.0 - image, image - 100.0], dim=1)


@pytest.mark.parametrize("path", ["fast", "own"])
def test_only_the_largest_components_are_kept_where_the_bundle_says_so(path):
    bright = np.zeros((6, 12, 16), np.int16)
    bright[1:5, 2:9, 1:5] = 200
    bright[1:5, 2:8, 8:11] = 200
    bright[2, 10, 14:16] = 200
    before = Compose([Orientationd(keys="image", axcodes="RAS", labels=None)])
    after = Compose([Invertd(keys="pred", transform=before, orig_keys="image", nearest_interp=False),
                     AsDiscreted(keys="pred", argmax=True),
                     KeepLargestConnectedComponentd(keys="pred", applied_labels=[1], num_components=2)])
    bundle = Bundle(network=Slabs(), preprocessing=before, inferer=SimpleInferer(), postprocessing=after,
                    image_key="image", pred_key="pred", divisor=1, device=torch.device("cpu"))
    out = np.zeros(bright.shape, np.uint8)
    outcome = segment(bundle, [bright], np.eye(4), Settings(fast_resample=path == "fast"), out_zyx=out,
                      progress=lambda _f: None)
    assert outcome.notes == ()
    expected = bright > 100
    expected[2, 10] = False
    assert (out == expected).all()


def fast(channels: int, out: np.ndarray) -> Outcome:
    network = torch.nn.Conv3d(1, channels, 1).eval()
    torch.nn.init.zeros_(network.weight)
    torch.nn.init.zeros_(network.bias)
    network.bias.data[-1] = 1.0
    before = Compose([Orientationd(keys="image", axcodes="RAS", labels=None)])
    after = Compose([Invertd(keys="pred", transform=before, orig_keys="image", nearest_interp=False),
                     AsDiscreted(keys="pred", argmax=True)])
    bundle = Bundle(network=network, preprocessing=before, inferer=SimpleInferer(), postprocessing=after,
                    image_key="image", pred_key="pred", divisor=1, device=torch.device("cpu"))
    return segment(bundle, [np.zeros(SHAPE, np.int16)], np.eye(4), Settings(fast_resample=True), out_zyx=out,
                   progress=lambda _f: None)


def test_a_label_above_255_is_not_cut_to_a_byte_by_the_fast_path():
    wide = np.zeros(SHAPE, np.uint16)
    assert fast(301, wide).notes == ()
    assert set(np.unique(wide)) == {300}
    with pytest.raises(ModelFailed, match="label 300, which no"):
        fast(301, np.zeros(SHAPE, np.uint8))
