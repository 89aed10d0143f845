"""How much of a GPU a sliding window may take: measured on one window, chosen before the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

USABLE: Final = 0.8
"""Share of the free memory that is planned with; the rest is for what the allocator cannot hand out whole."""
FLOAT_BYTES: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """How to run in the memory that is free."""

    window_batch: int
    stitch_on_cpu: bool
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one window was seen to take."""

    bytes_: int
    channels_out: int


def fit(window: Window, *, free_bytes: int, image_shape: Sequence[int], wanted: int) -> Fit:
    """Return the largest window batch up to ``wanted`` that fits, stitched on the GPU where the whole output fits too.

    Parameters
    ----------
    image_shape:
        (batch, channel, …) of the network's input, padded to the window.
    """
    usable = int(free_bytes * USABLE)
    stitched = stitched_bytes(image_shape, window.channels_out)
    on_cpu = stitched + window.bytes_ > usable
    left = usable if on_cpu else usable - stitched
    batch = max(1, min(wanted, left // max(1, window.bytes_)))
    said = [f"{batch} of {wanted} windows at a time"] if batch < wanted else []
    said += ["windows stitched on the CPU"] if on_cpu else []
    note = f"{free_bytes >> 20} MB of GPU memory were free: {', '.join(said)}" if said else ""
    return Fit(window_batch=batch, stitch_on_cpu=on_cpu, note=note)


def stitched_bytes(image_shape: Sequence[int], channels_out: int) -> int:
    """Return what image, sums of scores and counts of windows take while they are stitched."""
    batch, channels_in, *size = image_shape
    return batch * (channels_in + channels_out + 1) * int(np.prod(size, dtype=np.int64)) * FLOAT_BYTES


def seen(network: torch.nn.Module, shape: Sequence[int], device: torch.device) -> Window:
    """Run one window of zeros on the GPU and return what it took at its peak."""
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    output = network(torch.zeros(tuple(shape), device=device))
    torch.cuda.synchronize(device)
    channels = int(output.shape[1]) if isinstance(output, torch.Tensor) else 1
    return Window(bytes_=torch.cuda.max_memory_allocated(device) - before, channels_out=channels)


def free_bytes(device: torch.device) -> int:
    """Return what the GPU has left, torch's own unused reserve included."""
    free, _total = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def lacks_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out, on the GPU or in the processor's allocator."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(
        said in str(error) for said in ("allocate memory", "out of memory", "bad_alloc"))
