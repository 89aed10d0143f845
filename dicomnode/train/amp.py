"""In which precision a step is computed, and how gradients that would vanish in it are scaled."""

from __future__ import annotations

from contextlib import AbstractContextManager
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
        trains the small shipped networks in four fifths of the time.
        """
        if not amp or (amp == "auto" and device.type != "cuda"):
            return Precision(device=device, dtype=None)
        half = device.type == "cuda" and not torch.cuda.is_bf16_supported()
        return Precision(device=device, dtype=torch.float16 if half else torch.bfloat16)

    def __str__(self) -> str:
        """Name it as provenance does."""
        return str(self.dtype or torch.float32).removeprefix("torch.")

    def autocast(self) -> AbstractContextManager[object]:
        """Within it, operations run in this precision where that is safe."""
        return torch.autocast(self.device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """A gradient scaler; it does nothing unless the precision is float16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)
