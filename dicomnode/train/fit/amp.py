"""In which precision a step is computed, and how gradients that would vanish in it are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, slots=True, kw_only=True)
class Precision:
    """Automatic mixed precision: ``dtype`` None computes in float32."""

    device: torch.device
    dtype: torch.dtype | None

    @staticmethod
    def of(amp: Literal["auto", True, False], device: torch.device) -> Precision:
        """Choose: on a GPU bfloat16 where it has it, else float16; on a CPU bfloat16 only where ``amp`` is true.

        Notes
        -----
        ``auto`` is float32 on a CPU, where half of the processors only imitate bfloat16; one that has it (AVX-512 BF16)
        takes a step of `demo_chest` in a quarter of the time.
        """
        if not amp or (amp == "auto" and device.type != "cuda"):
            return Precision(device=device, dtype=None)
        half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        return Precision(device=device, dtype=torch.float16 if half else torch.bfloat16)

    @property
    def least_map(self) -> int:
        """Voxels along the shortest edge of a map below which gradients of convolutions are wrong.

        Notes
        -----
        torch 2.13 on a CPU: the gradient of the weights of a bfloat16 convolution over maps of one or two voxels reads
        memory that nobody wrote. Maps of three and more gave the same gradients in every repetition.
        """
        return 3 if self.dtype is torch.bfloat16 and self.device.type == "cpu" else 1

    def __str__(self) -> str:
        """Name it as provenance does."""
        return str(self.dtype or torch.float32).removeprefix("torch.")

    def autocast(self) -> AbstractContextManager[object]:
        """Within it, operations run in this precision where that is safe."""
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler; it does nothing unless the precision is float16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)


@contextmanager
def deterministic(*, wanted: bool) -> Iterator[None]:
    """Within it, only deterministic algorithms, as far as torch has them: it warns of the others."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
