"""What the training loop asks of a task, and what passes between them.

The loop knows steps, rates, checkpoints and devices; a task knows what a case is to its network. Two promises make a
training repeatable, resumable and independent of the number of workers: ``draw`` depends on nothing but its
arguments, and ``validate`` draws no random numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Case, Dataset

Sample = dict[str, Any]
"""One training sample. ``image``: float32 tensor (channel, x, y, z). Segmentation adds ``label``: uint8 tensor
(1, x, y, z). Detection adds ``box``: float32 tensor (n, 6), corners x0 y0 z0 x1 y1 z1 in voxels of ``image`` where
voxel k covers [k, k + 1], and ``box_label``: int64 tensor (n,)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A stretch of training with one patch size and one batch size.

    Parameters
    ----------
    steps : how many optimiser steps it lasts.
    batch_size : patches in one step, over all processes together.
    patch_size : voxels of a patch along x, y, z.
    learning_rate : the peak of the cycle that this stage belongs to; read where the cycle begins.
    restart : whether a new cycle begins here: fresh optimiser, rate from the bottom again.
    more : whatever else a task lets a recipe vary from stage to stage (``around``, ``class_weights``).
    """

    steps: int
    batch_size: int
    patch_size: tuple[int, int, int]
    learning_rate: float
    restart: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """One case after the deterministic preprocessing, small enough to keep in memory.

    Parameters
    ----------
    case : where it comes from.
    image : how the image is kept: see ``PackedImage``.
    affine_ras_mm : (4, 4), voxel centre (x, y, z) of the prepared grid to RAS millimetres.
    label_xyz : the label map on the prepared grid; None for detection.
    boxes : (n, 6) corners in voxels of the prepared grid where voxel k covers [k, k + 1]; None for segmentation.
    box_labels : (n,) classes from 0.
    places : voxels that patches may be centred on, (n, 3) each, by name.
    """

    case: Case
    image: PackedImage
    affine_ras_mm: NDArray[np.float64]
    label_xyz: NDArray[np.uint8] | None = None
    boxes: NDArray[np.float32] | None = None
    box_labels: NDArray[np.int64] | None = None
    places: Mapping[str, NDArray[np.int32]] = field(default_factory=dict)

    @property
    def shape_xyz(self) -> tuple[int, int, int]:
        """Voxels of the prepared grid."""
        x, y, z = self.image.values_cxyz.shape[1:]
        return x, y, z


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedImage:
    """A float image in two bytes a voxel: value = low + step * stored, per channel.

    Parameters
    ----------
    values_cxyz : uint16, (channel, x, y, z).
    low, step : (channel,) each.
    """

    values_cxyz: NDArray[np.uint16]
    low: NDArray[np.float32]
    step: NDArray[np.float32]

    @staticmethod
    def of(image_cxyz: NDArray[np.floating[Any]]) -> PackedImage:
        """Pack; the error is at most half of 1/65535 of the channel's range."""
        flat = image_cxyz.reshape(image_cxyz.shape[0], -1)
        low = flat.min(axis=1).astype(np.float32)
        step = np.maximum((flat.max(axis=1) - low) / np.iinfo(np.uint16).max, 1e-12).astype(np.float32)
        stored = np.rint((image_cxyz - low[:, None, None, None]) / step[:, None, None, None])
        values = np.clip(stored, 0, np.iinfo(np.uint16).max).astype(np.uint16)
        return PackedImage(values_cxyz=values, low=low, step=step)

    def cut(self, cut: tuple[slice, slice, slice]) -> NDArray[np.float32]:
        """Part of the image as float32, (channel, x, y, z)."""
        stored = self.values_cxyz[(slice(None), *cut)].astype(np.float32)
        return np.asarray(stored * self.step[:, None, None, None] + self.low[:, None, None, None], np.float32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one step trains on.

    Parameters
    ----------
    case_ids : of its samples, in order; named where a loss is not a number.
    samples : on the training device.
    """

    case_ids: tuple[str, ...]
    samples: tuple[Sample, ...]

    def stacked(self, key: str) -> torch.Tensor:
        """One tensor of all samples, batch first."""
        return torch.stack([sample[key] for sample in self.samples])


class TrainingTask(Protocol):
    """A kind of network and what it learns from."""

    better: str
    """The key of ``validate`` by which the best weights are chosen; higher is better."""

    @property
    def network(self) -> torch.nn.Module:
        """Whose weights are published."""
        ...

    @property
    def trainee(self) -> torch.nn.Module:
        """What ``loss`` calls, so that gradients are averaged between processes: the network, or what holds it."""
        ...

    def problems(self, dataset: Dataset) -> list[str]:
        """Every reason why this network cannot learn from this data set, found without reading an image."""
        ...

    def prepare(self, case: Case) -> Prepared:
        """Read a case and do everything to it that is not random."""
        ...

    def draw(self, prepared: Prepared, stage: Stage, rng: np.random.Generator) -> Sample:
        """One random, augmented patch: the same for the same generator state."""
        ...

    def loss(self, trainee: torch.nn.Module, batch: Batch, stage: Stage) -> torch.Tensor:
        """The scalar to minimise; ``trainee`` is this task's, perhaps wrapped for several processes."""
        ...

    def validate(self, cases: Sequence[Prepared]) -> Mapping[str, float]:
        """Scores on whole cases; the network is in eval mode on its device, gradients are off."""
        ...

    def published(self) -> Mapping[str, Any]:
        """The ids of ``configs/inference.json`` that make the bundle run: plain data, nothing left to evaluate.

        Always ``network_def``, ``preprocessing``, ``inferer``, ``postprocessing``; detection adds its own.
        """
        ...
