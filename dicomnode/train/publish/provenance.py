"""Where a bundle comes from: the data it learned from, the code and recipe that made it, what it took."""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import monai
import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from dicomnode import __version__

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Case, Dataset
    from dicomnode.train.fit.checkpoint import Progress
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.world import World

QUANTILES: Final = (0.0, 0.005, 0.05, 0.25, 0.5, 0.75, 0.95, 0.995, 1.0)
VOXELS_PER_CASE: Final = 20_000
"""Quantiles are taken over about so many voxels of each case, evenly spread, so that no case weighs more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """What the training images are like: a study unlike them is one that the model never saw.

    Parameters
    ----------
    intensity_quantiles : per channel, of the values as stored (HU for CT), at ``QUANTILES``.
    spacing_mm, extent_mm, voxels : (least, middle, greatest) along the image's three axes.
    label_ml : per label, (least, middle, greatest) volume over the cases that show it.
    """

    cases: int
    intensity_quantiles: dict[str, dict[str, float]]
    spacing_mm: list[list[float]]
    extent_mm: list[list[float]]
    voxels: list[list[int]]
    label_ml: dict[str, list[float]]

    @property
    def coarsest_mm(self) -> tuple[float, float]:
        """The greatest distance of voxels along the coarsest axis, and along the finest two."""
        greatest = sorted(axis[2] for axis in self.spacing_mm)
        return greatest[2], greatest[1]


def reference_of(dataset: Dataset) -> Reference:
    """Measure the training images of a data set."""
    spacings, voxels = [], []
    values: list[list[NDArray[np.float32]]] = [[] for _ in dataset.channels]
    for case in dataset.training:
        spacing, shape = _measure(case, values)
        spacings.append(spacing)
        voxels.append(shape)
    return Reference(
        cases=len(dataset.training),
        intensity_quantiles={
            channel: {f"{share:g}": round(float(value), 3)
                      for share, value in zip(QUANTILES, np.quantile(np.concatenate(found), QUANTILES), strict=True)}
            for channel, found in zip(dataset.channels, values, strict=True)},
        spacing_mm=_spread(spacings), extent_mm=_spread([s * v for s, v in zip(spacings, voxels, strict=True)]),
        voxels=[[int(value) for value in axis] for axis in _spread(voxels)], label_ml=_volumes(dataset, spacings))


def _measure(case: Case, values: list[list[NDArray[np.float32]]]) -> tuple[NDArray[Any], NDArray[Any]]:
    spacing, shape = np.ones(3), np.ones(3)
    for channel, path in enumerate(case.images):
        image: Any = nibabel.load(path)
        flat = np.asarray(image.dataobj, np.float32).ravel()
        values[channel].append(flat[:: max(1, flat.size // VOXELS_PER_CASE)])
        spacing, shape = np.asarray(image.header.get_zooms()[:3], float), np.asarray(image.shape[:3], float)
    return spacing, shape


def _spread(rows: Sequence[NDArray[Any]]) -> list[list[float]]:
    table = np.stack(rows)
    return [[round(float(value), 3) for value in (axis.min(), np.median(axis), axis.max())] for axis in table.T]


def _volumes(dataset: Dataset, spacings: Sequence[NDArray[Any]]) -> dict[str, list[float]]:
    found = {}
    for label in dataset.labels:
        volumes = np.array([[case.voxels.get(label.value, 0) * float(np.prod(spacing)) / 1000]
                            for case, spacing in zip(dataset.training, spacings, strict=True)])
        if volumes.any():
            found[label.name] = _spread(list(volumes[volumes[:, 0] > 0]))[0]
    return found


def provenance(
    recipe: Recipe, dataset: Dataset, reference: Reference, progress: Progress, world: World, precision: str
) -> dict[str, Any]:
    """Everything that one needs to make the bundle again, and to know what it saw; no patient is named."""
    return {
        "recipe": {"name": recipe.name, "digest": recipe.digest, "seed": recipe.settings.seed},
        "data": {
            "name": dataset.name, "digest": dataset.digest, "made_by": dict(dataset.made_by),
            "cases": {split: len(dataset.split(split)) for split in ("training", "validation", "test")},
            "left_out": len(dataset.left_out),
        },
        "training": {
            "steps": progress.step, "kept_step": _kept_step(recipe, progress),
            "stopped_early": progress.stopped_early, "seconds": round(progress.seconds, 1),
            "device": world.device.type, "processes": world.processes, "threads": torch.get_num_threads(),
            "precision": precision, "deterministic": recipe.settings.deterministic,
        },
        "code": {
            "dicomnode": __version__, "revision": code_revision(), "torch": torch.__version__,
            "monai": monai.__version__, "numpy": np.__version__, "python": platform.python_version(),
            "machine": platform.machine(),
        },
        "reference": asdict(reference),
    }


def _kept_step(recipe: Recipe, progress: Progress) -> int:
    return progress.best_step or progress.step if recipe.settings.keep == "best" else progress.step


def code_revision() -> str:
    """The commit of the source tree that runs, with ``+changes`` where files differ from it; empty if installed."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return ""
    answers = []
    for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no", "--", "dicomnode")):
        try:
            done = subprocess.run(["git", "-C", str(root), *command], capture_output=True, text=True, check=True,  # noqa: S603, S607
                                  timeout=20, env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"})
        except (OSError, subprocess.SubprocessError):
            return ""
        answers.append(done.stdout.strip())
    return answers[0] + ("+changes" if answers[1] else "")
