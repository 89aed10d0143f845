"""Run the network over a volume: progress, precision, and what is tried when memory does not suffice."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers.inferer import Inferer, SlidingWindowInferer
from monai.inferers.utils import _get_scan_interval

from dicomnode.errors import GpuOutOfMemory
from dicomnode.infer.bundle import Bundle

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """How numbers are held while the network runs."""

    bfloat16: bool

    @staticmethod
    def of(name: str, device: torch.device) -> Precision:
        """Return what ``runtime.precision`` means on this machine; ``auto`` is bfloat16 where it is native."""
        if name == "auto":
            supported = torch.cuda.is_bf16_supported if device.type == "cuda" \
                else torch.ops.mkldnn._is_mkldnn_bf16_supported  # noqa: SLF001 - the only question torch answers
            return Precision(bfloat16=bool(supported()))
        return Precision(bfloat16=name == "bfloat16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One rung of the ladder: how to run when the rung above ran out of memory."""

    note: str
    window_batch: int | None = None
    stitch_on_cpu: bool = False
    on_cpu: bool = False


def infer(bundle: Bundle, image: torch.Tensor, *, precision: Precision, roi: tuple[int, ...] | None,
          window_batch: int | None, progress: Progress) -> tuple[torch.Tensor, tuple[str, ...]]:
    """Run the inferer on (1, channel, …); return the output and the notes of what was tried.

    Raises
    ------
    GpuOutOfMemory
        When the last rung ran out of memory too.
    """
    notes: list[str] = []
    for attempt in _ladder(bundle.device, window_batch):
        if attempt.note:
            notes.append(attempt.note)
        try:
            return _attempt(bundle, image, attempt, precision, roi, progress), tuple(notes)
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
        _free(bundle.device)
    msg = (
        f"memory did not suffice for an image of {tuple(image.shape)}, after {len(notes)} smaller attempts: "
        "raise memory_limit_mb of the model file, or use a machine with more memory"
    )
    raise GpuOutOfMemory(msg)


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the GPU or in the processor's allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        said in str(error) for said in ("allocate memory", "out of memory", "bad_alloc"))


def _ladder(device: torch.device, window_batch: int | None) -> Iterator[Attempt]:
    yield Attempt(note="", window_batch=window_batch)
    yield Attempt(note="memory ran out: one window at a time", window_batch=1)
    if device.type != "cpu":
        yield Attempt(note="memory ran out: windows stitched on the CPU", window_batch=1, stitch_on_cpu=True)
        yield Attempt(note="memory ran out: run on the CPU", window_batch=1, on_cpu=True)


def _attempt(bundle: Bundle, image: torch.Tensor, attempt: Attempt, precision: Precision, roi: tuple[int, ...] | None,
             progress: Progress) -> torch.Tensor:
    device = torch.device("cpu") if attempt.on_cpu else bundle.device
    network = bundle.network.to(device)
    if precision.bfloat16 and image.ndim == 5:  # noqa: PLR2004 - batch, channel and three axes
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stub knows 4-D only
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode() if precision.bfloat16 else torch.no_grad())
        stack.enter_context(_adjusted(bundle.inferer, attempt, roi, device))
        stack.callback(network.register_forward_pre_hook(_channels_last if precision.bfloat16 else _unchanged).remove)
        expected = expected_windows(bundle.inferer, tuple(image.shape[2:]))
        stack.callback(network.register_forward_hook(_Counter(expected, progress, widen=precision.bfloat16)).remove)
        if precision.bfloat16:
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        output: torch.Tensor = bundle.inferer(inputs=image.to(device), network=network)
    return output


@contextlib.contextmanager
def _adjusted(inferer: Inferer, attempt: Attempt, roi: tuple[int, ...] | None, device: torch.device) -> Iterator[None]:
    """Set what this attempt changes of a sliding window, and set it back afterwards."""
    if not isinstance(inferer, SlidingWindowInferer):
        yield
        return
    changes: dict[str, Any] = {"sw_device": device}
    if attempt.window_batch is not None:
        changes["sw_batch_size"] = attempt.window_batch
    if attempt.stitch_on_cpu or attempt.on_cpu:
        changes["device"] = torch.device("cpu")
    if roi is not None:
        changes["roi_size"] = roi
    before = {key: getattr(inferer, key) for key in changes}
    try:
        for key, value in changes.items():
            setattr(inferer, key, value)
        yield
    finally:
        for key, value in before.items():
            setattr(inferer, key, value)


def _unchanged(_module: torch.nn.Module, _inputs: tuple[Any, ...]) -> None:
    return None


def _channels_last(_module: torch.nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    first, *rest = inputs
    return (first.contiguous(memory_format=torch.channels_last_3d) if first.ndim == 5 else first, *rest)  # noqa: PLR2004


class _Counter:
    """Counts windows as they leave the network; widens bfloat16 so that stitching and softmax are in float32."""

    def __init__(self, expected: int, progress: Progress, *, widen: bool) -> None:
        self._expected, self._progress, self._widen, self._done = expected, progress, widen, 0

    def __call__(self, _module: torch.nn.Module, inputs: tuple[Any, ...], output: object) -> object:
        self._done += int(inputs[0].shape[0])
        self._progress(min(1.0, self._done / self._expected))
        return output.float() if self._widen and isinstance(output, torch.Tensor) else output


def expected_windows(inferer: Inferer, image_size: tuple[int, ...]) -> int:
    """Return how many windows a sliding window inferer will run; 1 for any other."""
    if not isinstance(inferer, SlidingWindowInferer):
        return 1
    wanted = inferer.roi_size if isinstance(inferer.roi_size, list | tuple) else [inferer.roi_size] * len(image_size)
    if len(wanted) != len(image_size):
        return 1
    roi = tuple(size if want is None or want <= 0 else int(want) for want, size in zip(wanted, image_size, strict=True))
    padded = tuple(map(max, image_size, roi))
    overlap: Any = inferer.overlap if isinstance(inferer.overlap, list | tuple) else [inferer.overlap] * len(roi)
    step = _get_scan_interval(padded, roi, len(roi), overlap)
    return max(1, len(dense_patch_slices(padded, roi, step)))


def clamped_roi(inferer: Inferer, image_size: tuple[int, ...], divisor: int) -> tuple[int, ...] | None:
    """Return the window shrunk to the image, rounded up to what the network divides; None if nothing changes."""
    if not isinstance(inferer, SlidingWindowInferer) or not isinstance(inferer.roi_size, list | tuple):
        return None
    whole = tuple(math.ceil(size / divisor) * divisor for size in image_size)
    roi = tuple(limit if want is None or want <= 0 else min(int(want), limit)
                for want, limit in zip(inferer.roi_size, whole, strict=True))
    return None if roi == tuple(inferer.roi_size) else roi


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
