"""Running the network: windows counted, memory running out, precision, window size."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from monai.inferers import SimpleInferer, SliceInferer, SlidingWindowInferer
from monai.transforms import Compose

from dicomnode.errors import GpuOutOfMemory
from dicomnode.infer.bundle import Bundle
from dicomnode.infer.windows import Precision, clamped_roi, expected_windows, infer, window_shape

FLOAT32, BFLOAT16 = Precision(bfloat16=False), Precision(bfloat16=True)


class Hungry(torch.nn.Module):
    """A network that runs out of memory while a window batch is larger than it can hold."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.batches = most, []
        self.conv = torch.nn.Conv3d(1, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.batches.append(int(x.shape[0]))
        if x.shape[0] > self.most:
            msg = "CUDA out of memory"
            raise torch.OutOfMemoryError(msg)
        return self.conv(x)


def bundle(network: torch.nn.Module, inferer: object) -> Bundle:
    return Bundle(network=network.eval(), preprocessing=Compose([]), inferer=inferer, postprocessing=Compose([]),
                  image_key="image", pred_key="pred", divisor=8, device=torch.device("cpu"))


def run(network: torch.nn.Module, inferer: object, *, precision: Precision = FLOAT32,
        told: list[float] | None = None) -> tuple[torch.Tensor, tuple[str, ...]]:
    seen = told if told is not None else []
    return infer(bundle(network, inferer), torch.randn(1, 1, 40, 40, 24), precision=precision, roi=None,
                 window_batch=None, progress=seen.append)


def windows(batch: int = 4) -> SlidingWindowInferer:
    return SlidingWindowInferer(roi_size=(16, 16, 16), sw_batch_size=batch, overlap=0.25)


def test_every_window_is_counted_and_the_last_one_completes_the_progress():
    told: list[float] = []
    network = Hungry(most=4)
    run(network, windows(), told=told)
    assert sum(network.batches) == expected_windows(windows(), (40, 40, 24))
    assert told == sorted(told)
    assert told[-1] == 1.0
    assert max(told[:-1]) < 1.0


def test_when_memory_runs_out_windows_go_one_at_a_time_and_it_is_said():
    network, inferer = Hungry(most=1), windows()
    output, notes = run(network, inferer)
    assert output.shape == (1, 2, 40, 40, 24)
    assert notes == ("memory ran out: one window at a time",)
    assert inferer.sw_batch_size == 4, "the bundle's own setting stays for the next study"


def test_when_even_one_window_is_too_much_the_error_says_what_to_do():
    with pytest.raises(GpuOutOfMemory, match="raise memory_limit_mb"):
        run(Hungry(most=0), windows())


def test_another_runtime_error_is_not_taken_for_lack_of_memory():
    class Wrong(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            msg = f"Sizes of tensors must match, got {tuple(x.shape)}"
            raise RuntimeError(msg)

    with pytest.raises(RuntimeError, match="Sizes of tensors"):
        run(Wrong(), windows())


def test_bfloat16_windows_are_stitched_in_float32():
    output, _notes = run(Hungry(most=4), windows(), precision=BFLOAT16)
    assert output.dtype == torch.float32


def test_an_inferer_without_windows_counts_as_one():
    told: list[float] = []
    run(Hungry(most=1), SimpleInferer(), told=told)
    assert told == [1.0]


@pytest.mark.parametrize(("image", "roi"), [
    ((40, 40, 24), None), ((10, 40, 24), (16, 16, 16)), ((5, 5, 5), (8, 8, 8))])
def test_the_window_shrinks_to_the_image_in_steps_that_the_network_divides(image, roi):
    expected = None if roi == (16, 16, 16) else roi
    assert clamped_roi(windows(), image, 8) == expected


@pytest.mark.parametrize(("inferer", "shape"), [
    (windows(batch=4), (4, 2, 16, 16, 16)),
    (SlidingWindowInferer(roi_size=(16, -1, 16)), None),
    (SliceInferer(roi_size=(16, 16), spatial_dim=2), None),
    (SimpleInferer(), None),
])
def test_what_the_network_will_be_given_is_known_ahead_only_for_windows_of_fixed_size(inferer, shape):
    assert window_shape(inferer, 2, None) == shape


def test_precision_is_what_the_model_file_says():
    assert Precision.of("bfloat16", torch.device("cpu")).bfloat16
    assert not Precision.of("float32", torch.device("cpu")).bfloat16


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
@pytest.mark.parametrize("precision", [FLOAT32, BFLOAT16])
def test_a_gpu_that_is_nearly_full_gives_the_same_output_and_says_what_it_did(precision):
    device = torch.device("cuda:0")
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 16, 3, padding=1), torch.nn.Conv3d(16, 8, 1)).eval().to(device)
    image = torch.randn(1, 1, 160, 160, 160)
    roomy = replace(bundle(network, SlidingWindowInferer(roi_size=(64, 64, 64), sw_batch_size=8)), device=device)
    whole, notes = infer(roomy, image, precision=precision, roi=None, window_batch=None, progress=lambda _: None)
    assert notes == ()
    free, total = torch.cuda.mem_get_info(device)
    held = torch.empty(free - (300 << 20), dtype=torch.uint8, device=device)
    try:
        tight, said = infer(roomy, image, precision=precision, roi=None, window_batch=None, progress=lambda _: None)
    finally:
        del held
        torch.cuda.empty_cache()
    assert said
    assert total > free
    torch.testing.assert_close(tight.cpu(), whole.cpu(), atol=2e-2 if precision.bfloat16 else 1e-4, rtol=0)
