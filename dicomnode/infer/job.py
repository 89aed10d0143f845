"""What a child is given and what it answers: the same for every task and both modes.

Each way to run a bundle is one module with ``load(loading) -> Runner``; ``runner_of`` chooses it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

MODULES: Final = {
    ("pieces", "segmentation"): "dicomnode.infer.segment",
    ("pieces", "detection"): "dicomnode.infer.detect",
    ("pieces", "classification"): "dicomnode.infer.classify",
    ("code", "segmentation"): "dicomnode.infer.engine",
    ("code", "detection"): "dicomnode.infer.engine",
    ("code", "classification"): "dicomnode.infer.engine",
}
"""(trust, task) → the module that runs it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loading:
    """A bundle's bytes, and what the model file says about running them.

    Parameters
    ----------
    files:
        Path inside the bundle → its bytes.
    model:
        What ``request.described`` says of the model file, as JSON data.
    """

    files: Mapping[str, bytes]
    overrides: Mapping[str, object]
    device: torch.device
    model: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One study's volumes.

    Parameters
    ----------
    channels_zyx:
        One array per input role, in the model file's order, all on one grid, in slice, row, column order.
    affine_ras_mm:
        Index (column, row, slice) → RAS millimetres, rounded to float32.
    settings:
        The model file's ``[runtime]`` as far as it concerns a run.
    out_zyx:
        Where a segmentation writes its labels; others leave it alone.
    quantity, map_zyx:
        What a segmentation writes of each voxel, and where; empty and None: nobody asks.
    """

    channels_zyx: Sequence[NDArray[Any]]
    affine_ras_mm: NDArray[np.float64]
    settings: Mapping[str, Any]
    out_zyx: NDArray[Any]
    progress: Callable[[float], None]
    quantity: str = ""
    map_zyx: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a run gave besides labels: JSON data only.

    Parameters
    ----------
    found:
        ``{"boxes": [...]}`` of a detection, ``{"probabilities": {...}}`` of a classification; empty otherwise.
    no_map:
        Why no map was written although one was asked for.
    """

    seconds: Mapping[str, float]
    notes: tuple[str, ...] = ()
    found: Mapping[str, Any] = field(default_factory=dict)
    no_map: str = ""


class Runner(Protocol):
    """A loaded bundle."""

    @property
    def device(self) -> torch.device:
        """Where it runs."""

    def run(self, job: Job) -> Answer:
        """Run one job; raise ModelFailed or GpuOutOfMemory."""


def runner_of(loading: Loading) -> Runner:
    """Load the bundle with the module that its trust and task ask for."""
    module = importlib.import_module(MODULES[loading.model["trust"], loading.model["task"]])
    runner: Runner = module.load(loading)
    return runner
