"""Run the network over a volume: progress, precision, and what is tried when memory does not suffice."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
from monai.data.utils import dense_patch_slices
from monai.inferers.inferer import Inferer, SliceInferer, SlidingWindowInferer
from monai.inferers.utils import _get_scan_interval

from dicomnode.errors import GpuOutOfMemory
from dicomnode.infer.backend import notes_of, own_precision
from dicomnode.infer.bundle import Bundle
from dicomnode.infer.memory import fit, free_bytes, lacks_memory, seen

__all__ = ["Attempt", "Precision", "Progress", "clamped_roi", "expected_windows", "infer", "lacks_memory",
           "window_shape"]

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
    for attempt in _ladder(bundle, image, window_batch, roi, precision):
        if attempt.note:
            notes.append(attempt.note)
        try:
            output = _attempt(bundle, image, attempt, precision, roi, progress)
            return output, (*notes, *notes_of(bundle.network))
        except (RuntimeError, MemoryError) as error:
            if not lacks_memory(error):
                raise
        _free(bundle.device)
    msg = (
        f"memory did not suffice for an image of {tuple(image.shape)}, after {len(notes)} smaller attempts: "
        "raise memory_limit_mb of the model file, or use a machine with more memory"
    )
    raise GpuOutOfMemory(msg)


def _ladder(bundle: Bundle, image: torch.Tensor, window_batch: int | None, roi: tuple[int, ...] | None,
            precision: Precision) -> Iterator[Attempt]:
    device = bundle.device
    try:
        yield _first(bundle, image, window_batch, roi, precision)
    except RuntimeError as error:
        if not lacks_memory(error):
            raise
        _free(device)
    yield Attempt(note="memory ran out: one window at a time", window_batch=1)
    if device.type != "cpu":
        yield Attempt(note="memory ran out: windows stitched on the CPU", window_batch=1, stitch_on_cpu=True)
        yield Attempt(note="memory ran out: run on the CPU", window_batch=1, on_cpu=True)


def _first(bundle: Bundle, image: torch.Tensor, window_batch: int | None, roi: tuple[int, ...] | None,
           precision: Precision) -> Attempt:
    """The first rung: as the bundle or the model file says, or less where the GPU has less free than that takes."""
    inferer, device = bundle.inferer, bundle.device
    sizes = roi or getattr(inferer, "roi_size", None)
    if device.type != "cuda" or not _lays_windows(inferer) or not isinstance(sizes, list | tuple):
        return Attempt(note="", window_batch=window_batch)
    window = [want if want and want > 0 else size for want, size in zip(sizes, image.shape[2:], strict=True)]
    network = bundle.network.to(device)
    with _numbers(network, precision, device, image.ndim):
        taken = seen(network, (1, image.shape[1], *window), device)
    padded = (*image.shape[:2], *map(max, image.shape[2:], window))
    chosen = fit(taken, free_bytes=free_bytes(device), image_shape=padded,
                 wanted=window_batch or inferer.sw_batch_size)
    return Attempt(note=chosen.note, window_batch=chosen.window_batch, stitch_on_cpu=chosen.stitch_on_cpu)


def _attempt(bundle: Bundle, image: torch.Tensor, attempt: Attempt, precision: Precision, roi: tuple[int, ...] | None,
             progress: Progress) -> torch.Tensor:
    device = torch.device("cpu") if attempt.on_cpu else bundle.device
    network = bundle.network.to(device)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_adjusted(bundle.inferer, attempt, roi, device))
        expected = expected_windows(bundle.inferer, tuple(image.shape[2:]))
        stack.enter_context(_numbers(network, precision, device, image.ndim))
        counter = _Counter(expected, progress, widen=precision.bfloat16)
        stack.callback(network.register_forward_hook(counter).remove)
        source = image.cpu() if attempt.stitch_on_cpu and _lays_windows(bundle.inferer) else image.to(device)
        output: torch.Tensor = bundle.inferer(inputs=source, network=network)
    return output


@contextlib.contextmanager
def _numbers(network: torch.nn.Module, precision: Precision, device: torch.device, axes: int) -> Iterator[None]:
    """Hold numbers as the model file says while the network runs."""
    if not precision.bfloat16 or own_precision(network):
        with torch.no_grad():
            yield
        return
    if axes == 5:  # noqa: PLR2004 - batch, channel and three axes
        network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]  # torch's stub knows 4-D only
    hook = network.register_forward_pre_hook(_channels_last)
    try:
        with torch.inference_mode(), torch.autocast(device.type, dtype=torch.bfloat16):
            yield
    finally:
        hook.remove()


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


def window_shape(inferer: Inferer, channels: int, window_batch: int | None) -> tuple[int, ...] | None:
    """Return the shape of what the network is given, (batch, channel, …); None where the image decides it."""
    if not _lays_windows(inferer) or not isinstance(inferer.roi_size, list | tuple) \
            or any(want is None or want <= 0 for want in inferer.roi_size):
        return None
    return (window_batch or inferer.sw_batch_size, channels, *map(int, inferer.roi_size))


def _lays_windows(inferer: Inferer) -> TypeGuard[SlidingWindowInferer]:
    """Whether the inferer gives the network windows with as many axes as the image: slice by slice it does not."""
    return isinstance(inferer, SlidingWindowInferer) and not isinstance(inferer, SliceInferer)


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
