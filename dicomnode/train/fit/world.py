"""Several processes that train one network: what torchrun says about them, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, TypeVar

import torch
from torch import distributed

Told = TypeVar("Told")
PATIENCE: Final = timedelta(hours=6)
"""The other processes wait this long while the first one validates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The place of this process among those that torchrun started; alone without torchrun."""

    device: torch.device
    rank: int = 0
    processes: int = 1

    @property
    def first(self) -> bool:
        """Whether this process validates, writes and speaks."""
        return self.rank == 0

    def tell(self, value: Told) -> Told:
        """Return the first process's value in every process."""
        if self.processes == 1:
            return value
        told: list[Told] = [value]
        distributed.broadcast_object_list(told, src=0)
        return told[0]

    def mean(self, value: float) -> float:
        """The mean of every process's value, in every process."""
        if self.processes == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64 if self.device.type == "cpu" else torch.float32,
                             device=self.device)
        distributed.all_reduce(total)
        return float(total) / self.processes

    def wrapped(self, module: torch.nn.Module) -> torch.nn.Module:
        """The module, its gradients averaged over all processes."""
        if self.processes == 1:
            return module
        ids = [self.device.index] if self.device.type == "cuda" else None
        return torch.nn.parallel.DistributedDataParallel(module, device_ids=ids)


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Join the other processes, if there are any, for as long as the block lasts.

    Parameters
    ----------
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; with torchrun, ``cuda`` is the GPU of this process.
    """
    processes, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    chosen = torch.device(device)
    if chosen.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, cuBLAS is not deterministic
        torch.cuda.set_device(chosen)
    if processes == 1:
        yield World(device=chosen)
        return
    distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo", timeout=PATIENCE)
    try:
        yield World(rank=rank, processes=processes, device=chosen)
    finally:
        distributed.destroy_process_group()
