"""Writes the weights that a training made into a bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from pathlib import Path


def save_weights(network: torch.nn.Module, path: Path) -> int:
    """Store the weights as ``stored_weights`` gives them; return the file's size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(stored_weights(network), path)
    return path.stat().st_size


def stored_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every weight as float16 on the CPU, each tensor once.

    Notes
    -----
    DynUNet names each tensor twice in its state dict. Names that share a tensor keep sharing it here, so the file
    holds it once; ``load_state_dict`` widens to float32 as it copies. Integer counters stay as they are, and so does
    a tensor with a value that float16 cannot hold.
    """
    stored: dict[tuple[int, torch.Size], torch.Tensor] = {}
    state: dict[str, torch.Tensor] = {}
    for name, tensor in network.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in stored:
            stored[key] = _halved(tensor)
        state[name] = stored[key]
    return state


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.detach().cpu().clone()
    fits = not tensor.is_floating_point() or bool(torch.isfinite(half).all())
    return half.contiguous() if fits else tensor.detach().cpu().clone()
