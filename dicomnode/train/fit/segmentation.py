"""Segmentation: patches of images and label maps, a loss on logits, Dice on whole cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import torch

from dicomnode.errors import ConfigError
from dicomnode.train.fit.augment import Augmentation
from dicomnode.train.fit.crops import around, around_problems, choose_start, cut_patch
from dicomnode.train.fit.prepare import Preparation

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Case, Dataset
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.tasks import Batch, Prepared, Sample, Stage

PUBLISHED: Final = ("network_def", "preprocessing", "inferer", "postprocessing")
CONVOLUTIONS: Final = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.ConvTranspose2d, torch.nn.ConvTranspose3d)


class SegmentationTask:
    """Learns a label map with one value per voxel; see ``TrainingTask``.

    Parameters
    ----------
    device : where the network computes.

    Raises
    ------
    ConfigError
        If a component of the recipe cannot be built.
    """

    better = "mean_dice"

    def __init__(self, recipe: Recipe, dataset: Dataset, device: torch.device) -> None:
        self._recipe, self._labels, self._device = recipe, dataset.labels, device
        self.ids = {"channels": len(dataset.channels), "classes": 1 + max(label.value for label in dataset.labels)}
        self.network: torch.nn.Module = recipe.build("network_def", **self.ids)
        set_rare_class_prior(self.network, self._priors(), self.ids["classes"])
        self.trainee = self.network.to(device, memory_format=torch.channels_last_3d)
        self._losses: dict[str, torch.nn.Module] = {}
        self._inferer = recipe.build("inferer", **self.ids)
        self._preparation = Preparation(recipe, dataset.labels)
        self._augmentation = Augmentation(recipe)

    def _priors(self) -> dict[int, float]:
        values = {label.name: label.value for label in self._labels}
        given = self._recipe.settings.rare_class_prior
        unknown = sorted(set(given) - set(values))
        if unknown:
            raise ConfigError(f"rare_class_prior names {', '.join(unknown)}; the data set has {', '.join(values)}")
        return {values[name]: prior for name, prior in given.items()}

    def problems(self, dataset: Dataset) -> list[str]:
        """Return what the recipe says that this data set cannot give."""
        found = [f"label {label.value} {label.name}: no training case shows it, so nothing can be learned of it; "
                 "add cases that do, or leave the label out of the data set" for label in dataset.unseen("training")]
        found += [f"the recipe has no {key}; segmentation needs one" for key in ("loss", "postprocessing")
                  if key not in self._recipe.config]
        found += around_problems(self._recipe, dataset.labels)
        return found + [problem for stage in self._recipe.stages for problem in self._unweighable(stage)]

    def _unweighable(self, stage: Stage) -> list[str]:
        names = [label.name for label in self._labels]
        given = self._recipe.settings.class_weights | stage.more.get("class_weights", {})
        return [f"class_weights names {name!r}; the data set has {', '.join(names)}" for name in given
                if name not in names]

    def prepare(self, case: Case) -> Prepared:
        """Read a case and run the recipe's preprocessing on it."""
        return self._preparation(case)

    def draw(self, prepared: Prepared, stage: Stage, rng: np.random.Generator) -> Sample:
        """One augmented patch."""
        shift = self._recipe.settings.shift
        start = choose_start(prepared, stage.patch_size, around(self._recipe, stage), shift, rng)
        image, label = cut_patch(prepared, start, stage.patch_size)
        if label is None:
            raise ConfigError(f"case {prepared.case.id} has no label map: this data set is not for segmentation")
        sample = {"image": torch.from_numpy(image), "label": torch.from_numpy(label[None])}
        varied = self._augmentation(sample, rng)
        return {"image": varied["image"].float().contiguous(), "label": varied["label"].to(torch.uint8).contiguous()}

    def loss(self, trainee: torch.nn.Module, batch: Batch, stage: Stage) -> torch.Tensor:
        """The recipe's loss on the logits, computed in float32."""
        images = batch.stacked("image").contiguous(memory_format=torch.channels_last_3d)
        logits = trainee(images)
        with torch.autocast(logits.device.type, enabled=False):
            result: torch.Tensor = self._loss_of(stage)(logits.float(), batch.stacked("label"))
        return result

    def _loss_of(self, stage: Stage) -> torch.nn.Module:
        """The recipe's loss, with the stage's own ``class_weights`` where it has some."""
        weights = self._recipe.settings.class_weights | stage.more.get("class_weights", {})
        listed = [1.0] * self.ids["classes"]
        for label in self._labels:
            listed[label.value] = float(weights.get(label.name, 1.0))
        key = str(listed)
        if key not in self._losses:
            self._losses[key] = self._recipe.build("loss", **self.ids, class_weights=listed).to(self._device)
        return self._losses[key]

    def validate(self, cases: Sequence[Prepared]) -> Mapping[str, float]:
        """Dice per label, pooled over all voxels of all cases on the network's own grid, and their mean.

        A label that no case shows and that is nowhere predicted has no Dice and does not count.
        """
        both, either = (np.zeros(self.ids["classes"], np.int64) for _ in range(2))
        for prepared in cases:
            found = self.predict(prepared)
            truth = torch.from_numpy(np.asarray(prepared.label_xyz)).to(found.device)
            for label in self._labels:
                mine, theirs = found == label.value, truth == label.value
                both[label.value] += int((mine & theirs).sum())
                either[label.value] += int(mine.sum()) + int(theirs.sum())
        dice = {f"dice_{label.name}": 2.0 * int(both[label.value]) / int(either[label.value])
                for label in self._labels if either[label.value]}
        return {"mean_dice": float(np.mean(list(dice.values()))) if dice else 0.0, **dice}

    def predict(self, prepared: Prepared) -> torch.Tensor:
        """The label map (x, y, z) of a whole case, by the recipe's inferer."""
        image = torch.from_numpy(prepared.image.cut((slice(None), slice(None), slice(None))))[None].to(self._device)
        with torch.inference_mode():
            logits = self._inferer(image, self.network)
            return torch.max(logits[0].float(), dim=0).indices

    def published(self) -> Mapping[str, Any]:
        """The pieces of the bundle, as plain data."""
        return self._recipe.pieces(PUBLISHED, **self.ids)


def set_rare_class_prior(network: torch.nn.Module, priors: Mapping[int, float], classes: int) -> None:
    """Make classes rare before the first step: set their bias in the last layer that has one bias per class.

    Raises
    ------
    ConfigError
        If the network has no such layer.

    Notes
    -----
    A class of a few voxels in a hundred thousand never starts otherwise: the loss first has to unlearn it everywhere.
    """
    if not priors:
        return
    for module in reversed(list(network.modules())):
        bias = getattr(module, "bias", None)
        if isinstance(module, CONVOLUTIONS) and bias is not None and bias.shape == (classes,):
            with torch.no_grad():
                for value, prior in priors.items():
                    bias[value] = prior
            return
    raise ConfigError(f"rare_class_prior: the network has no convolution with {classes} biased outputs to set it on; "
                      "leave rare_class_prior out")
