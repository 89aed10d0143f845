"""Another engine runs the network, or torch does and a note says why."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch
from monai.inferers import SlidingWindowInferer
from monai.transforms import Compose

from dicomnode.infer.backend import MOST_SHAPES, Accelerated, Unfit, accelerated, notes_of, own_precision, warm_up
from dicomnode.infer.bundle import Bundle
from dicomnode.infer.windows import Precision, infer

CPU = torch.device("cpu")
needs_openvino = pytest.mark.skipif(not importlib.util.find_spec("openvino"),
                                    reason="the extra is not installed: pip install dicomnode-monai[openvino]")


def network(seed: int = 0) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv3d(4, 2, 1)).eval()


class Counting:
    """An engine that runs the network itself and counts what it compiles."""

    own_precision = True

    def __init__(self, failure: Exception | None = None) -> None:
        self.shapes, self._failure = [], failure

    def compile(self, network: torch.nn.Module, example: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
        if self._failure:
            raise self._failure
        self.shapes.append(tuple(example.shape))
        return network


@needs_openvino
@pytest.mark.parametrize(("bfloat16", "tolerance"), [(False, 1e-5), (True, 3e-2)])
def test_openvino_gives_what_torch_gives_in_the_precision_that_was_asked_for(bfloat16, tolerance):
    plain = network()
    fast = accelerated(plain, "openvino", bfloat16=bfloat16, device=CPU)
    images = [torch.randn(1, 1, 16, 16, 16) for _ in range(3)]
    with torch.no_grad():
        given, expected = [fast(image) for image in images], [plain(image) for image in images]
    assert notes_of(fast) == ()
    for one, other in zip(given, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


@needs_openvino
def test_openvino_windows_are_stitched_as_torchs_own_are():
    plain = network()
    outputs = [
        infer(Bundle(network=one, preprocessing=Compose([]), postprocessing=Compose([]), image_key="image",
                     inferer=SlidingWindowInferer(roi_size=(16, 16, 16), sw_batch_size=2, overlap=0.25),
                     pred_key="pred", divisor=8, device=CPU),
              torch.linspace(-1, 1, 20 * 24 * 20).view(1, 1, 20, 24, 20), precision=Precision(bfloat16=False),
              roi=None, window_batch=None, progress=lambda _: None)
        for one in (plain, accelerated(plain, "openvino", bfloat16=False, device=CPU))]
    torch.testing.assert_close(outputs[0][0], outputs[1][0], atol=1e-5, rtol=0)
    assert outputs[1][1] == ()


def test_torch_is_the_network_itself():
    plain = network()
    assert accelerated(plain, "torch", bfloat16=True, device=CPU) is plain


@pytest.mark.parametrize("backend", ["compile", "tensorrt"])
def test_what_needs_a_gpu_is_run_by_torch_on_the_processor_and_it_is_said(backend):
    plain = network()
    fast = accelerated(plain, backend, bfloat16=False, device=CPU)
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(fast(image), plain(image))
    assert len(notes_of(fast)) == 1
    assert notes_of(fast)[0].startswith(f"backend {backend} not used: ")
    assert "GPU" in notes_of(fast)[0]


def test_openvino_is_not_tried_on_a_gpu():
    fast = accelerated(network(), "openvino", bfloat16=False, device=torch.device("cuda:0"))
    assert notes_of(fast) == ("backend openvino not used: it runs on the processor, and the model runs on cuda:0",)


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openvino", None)
    plain = network()
    fast = accelerated(plain, "openvino", bfloat16=False, device=CPU)
    image = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        assert torch.equal(fast(image), plain(image))
    assert "package openvino is not installed" in notes_of(fast)[0]


def test_after_a_failure_torch_runs_the_network_and_takes_its_own_precision_again():
    fast = Accelerated(network(), Counting(Unfit("an unknown layer")), "openvino")
    assert own_precision(fast)
    fast(torch.randn(1, 1, 8, 8, 8))
    assert not own_precision(fast)
    assert notes_of(fast) == ("backend openvino not used: an unknown layer",)


def test_lack_of_memory_is_left_to_the_ladder():
    fast = Accelerated(network(), Counting(torch.OutOfMemoryError("CUDA out of memory")), "tensorrt")
    with pytest.raises(torch.OutOfMemoryError):
        fast(torch.randn(1, 1, 8, 8, 8))
    assert notes_of(fast) == ()


def test_a_shape_is_compiled_once_and_few_are_kept():
    engine = Counting()
    fast = Accelerated(network(), engine, "openvino")
    warm_up(fast, (1, 1, 8, 8, 8), CPU)
    sizes = [8, 10, 12, 14, 8]
    for size in sizes:
        fast(torch.randn(1, 1, size, size, size))
    assert [shape[2] for shape in engine.shapes] == [8, 10, 12, 14, 8], "the first was dropped for the fourth"
    assert len(fast._compiled) == MOST_SHAPES
