"""Detection: boxes in patches, MONAI's RetinaNet losses, FROC on whole cases."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import numpy as np
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.inferers.inferer import SlidingWindowInferer
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomnode.errors import ConfigError
from dicomnode.infer import borrowed
from dicomnode.infer.detect import aligned_windows
from dicomnode.train.fit.amp import Precision
from dicomnode.train.fit.augment import Augmentation
from dicomnode.train.fit.crops import around, around_problems, boxes_in_patch, choose_start, cut_patch
from dicomnode.train.fit.prepare import Preparation, spacing_mm
from dicomnode.train.score.froc import FALSE_MARKS_PER_SCAN, ScanHits, froc, scan_hits

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Case, Dataset
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.tasks import Batch, Prepared, Sample, Stage

PUBLISHED: Final = ("network_def", "anchor_generator", "detector", "preprocessing", "inferer")
LEAST_EDGE_VOXELS: Final = 0.5
"""Augmentation and the patch's edge may leave slivers of boxes; thinner ones teach nothing."""

Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Atss(_Strict):
    """Which anchors a true box is learned at: the nearest few of each level that overlap it unusually much."""

    num_candidates: int = Field(default=4, gt=0)
    center_in_gt: bool = False


class HardNegatives(_Strict):
    """Which anchors count in the loss of a patch: positives, and the background that looks most like them."""

    batch_size_per_image: int = Field(default=64, gt=0)
    positive_fraction: Share = 0.3
    min_neg: int = Field(default=16, gt=0)
    pool_size: float = Field(default=20, ge=1)


class DetectionSettings(_Strict):
    """``detection`` of a recipe; ``matcher`` and ``sampler`` teach, the rest is published in the bundle."""

    matcher: Atss = Atss()
    sampler: HardNegatives = HardNegatives()
    score_thresh: Share = 0.05
    nms_thresh: Share = 0.15
    topk_candidates_per_level: int = Field(default=1000, gt=0)
    detections_per_img: int = Field(default=100, gt=0)

    @property
    def published(self) -> dict[str, Any]:
        """The plain values that the bundle runs with."""
        return self.model_dump(exclude={"matcher", "sampler"})


class DetectionTask:
    """Learns boxes; see ``TrainingTask``. The classes are the data set's labels, counted from 0.

    Parameters
    ----------
    device : where the network computes.

    Raises
    ------
    ConfigError
        If a component of the recipe cannot be built, or is not what detection needs.
    """

    better = "cpm"

    def __init__(self, recipe: Recipe, dataset: Dataset, device: torch.device) -> None:
        borrowed.lend()
        self._recipe, self._labels, self._device = recipe, dataset.labels, device
        self._settings = settings_of(recipe)
        self.ids = {"channels": len(dataset.channels), "classes": len(dataset.labels)}
        detector = recipe.build("detector", **self.ids)
        inferer = recipe.build("inferer", **self.ids)
        if not isinstance(detector, RetinaNetDetector) or not isinstance(inferer, SlidingWindowInferer):
            raise ConfigError(f"recipe {recipe.name}: detector gives {type(detector).__name__} and inferer "
                              f"{type(inferer).__name__}; needed are RetinaNetDetector and SlidingWindowInferer")
        self._inferer, self._precision = inferer, Precision.of(recipe.settings.amp, device)
        self.trainee = _equipped(detector, self._settings).to(device)
        self.network: torch.nn.Module = detector.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.network.register_forward_hook(_widen)
        self._preparation = Preparation(recipe, dataset.labels)
        self._augmentation = Augmentation(recipe)

    def problems(self, dataset: Dataset) -> list[str]:
        """Return what the recipe says that this data set cannot give, or that the network cannot take."""
        found = [f"label {label.value} {label.name}: no training case has a box of it, so nothing can be learned of "
                 "it; add cases that do, or leave the label out of the data set"
                 for label in dataset.unseen("training")]
        found += around_problems(self._recipe, dataset.labels)
        steps = [int(step) for step in self.trainee.size_divisible]
        for number, stage in enumerate(self._recipe.stages):
            if any(size % step for size, step in zip(stage.patch_size, steps, strict=True)):
                found.append(f"patch_size of stage {number} is {list(stage.patch_size)}; the network takes multiples "
                             f"of {steps}")
        return found

    def prepare(self, case: Case) -> Prepared:
        """Read a case and run the recipe's preprocessing on it."""
        return self._preparation(case)

    def draw(self, prepared: Prepared, stage: Stage, rng: np.random.Generator) -> Sample:
        """One augmented patch with the boxes whose centres lie in it."""
        start = choose_start(prepared, stage.patch_size, around(self._recipe, stage), self._recipe.settings.shift, rng)
        image, _ = cut_patch(prepared, start, stage.patch_size)
        boxes, labels = boxes_in_patch(prepared, start, stage.patch_size)
        sample = {"image": torch.from_numpy(image), "box": torch.from_numpy(boxes),
                  "box_label": torch.from_numpy(labels)}
        varied = self._augmentation(sample, rng)
        kept = ((varied["box"][:, 3:] - varied["box"][:, :3]) >= LEAST_EDGE_VOXELS).all(dim=1)
        return {"image": varied["image"].float().contiguous(), "box": varied["box"][kept].float().contiguous(),
                "box_label": varied["box_label"][kept].long()}

    def loss(self, trainee: torch.nn.Module, batch: Batch, stage: Stage) -> torch.Tensor:  # noqa: ARG002 - no stage of its own
        """Classification plus box regression over the anchors that count; nan where the network's output is none."""
        images = batch.stacked("image").contiguous(memory_format=torch.channels_last_3d)
        targets = [{"box": sample["box"], "label": sample["box_label"]} for sample in batch.samples]
        try:
            losses: Mapping[str, torch.Tensor] = trainee(images, targets)
        except ValueError as error:
            if "NaN" in str(error):  # MONAI's sentence; the loop names the batch
                return torch.full((), float("nan"), device=images.device)
            raise
        return torch.stack([part.to(images.device) for part in losses.values()]).sum()

    def validate(self, cases: Sequence[Prepared]) -> Mapping[str, float]:
        """Sensitivity at 1/8 to 8 false marks per scan and their mean (CPM), each averaged over the classes."""
        found = [self.detect(prepared) for prepared in cases]
        curves = [froc([_hits(prepared, marks, klass) for prepared, marks in zip(cases, found, strict=True)])
                  for klass in range(self.ids["classes"])]
        curves = [curve for curve in curves if curve.findings]
        if not curves:
            return {"cpm": 0.0}
        at = {f"sensitivity_at_{rate:g}": float(np.mean([curve.at(rate) for curve in curves]))
              for rate in FALSE_MARKS_PER_SCAN}
        return {"cpm": float(np.mean([curve.cpm for curve in curves])), **at}

    def detect(self, prepared: Prepared) -> Mapping[str, NDArray[np.float64]]:
        """Boxes of a whole case: ``box`` (n, 6) in voxels as ``Prepared.boxes``, ``label`` and ``label_scores``."""
        everywhere = slice(None)
        image = torch.from_numpy(prepared.image.cut((everywhere, everywhere, everywhere))).to(self._device)
        steps = [int(step) for step in self.trainee.size_divisible]
        padded = [-(-size // step) * step for size, step in zip(image.shape[1:], steps, strict=True)]
        roi, overlap = aligned_windows(self._roi_size(), self._overlap(), padded, steps)
        self.trainee.inferer = SlidingWindowInferer(roi, sw_batch_size=1, overlap=overlap)
        with torch.no_grad(), self._precision.autocast():
            found: list[Mapping[str, torch.Tensor]] = self.trainee([image], use_inferer=True)
        return {key: value.detach().cpu().double().numpy() for key, value in found[0].items()}

    def _roi_size(self) -> tuple[int, ...]:
        size = self._inferer.roi_size
        return (size,) * 3 if isinstance(size, int) else tuple(int(one) for one in size)

    def _overlap(self) -> float:
        overlap = self._inferer.overlap
        return float(overlap if isinstance(overlap, float | int) else min(overlap))

    def published(self) -> Mapping[str, Any]:
        """The pieces of the bundle, as plain data; ``detection`` says how windows are laid and boxes chosen."""
        pieces = {key: self._recipe.plain(key, **self.ids) for key in PUBLISHED}
        window = {"roi_size": list(self._roi_size()), "overlap": self._overlap()}
        return {**pieces, "postprocessing": [], "detection": {**self._settings.published, **window}}


def settings_of(recipe: Recipe) -> DetectionSettings:
    """Read ``detection`` of a recipe.

    Raises
    ------
    ConfigError
        With every value that is not allowed.
    """
    try:
        return DetectionSettings.model_validate(recipe.settings.detection)
    except ValidationError as error:
        raise ConfigError(*(f"recipe {recipe.name}: detection#{'#'.join(str(part) for part in found['loc'])} = "
                            f"{found['input']!r}: {found['msg']}" for found in error.errors())) from error


def _equipped(detector: RetinaNetDetector, settings: DetectionSettings) -> RetinaNetDetector:
    """Give a detector what it learns and chooses by."""
    detector.set_target_keys("box", "label")
    detector.set_atss_matcher(**settings.matcher.model_dump())
    detector.set_hard_negative_sampler(**settings.sampler.model_dump())
    detector.set_box_selector_parameters(**settings.published)
    return detector


def _widen(_module: torch.nn.Module, _inputs: object, output: object) -> object:
    """Maps of half precision place boxes no finer than a quarter voxel: losses and boxes are computed in float32."""
    if isinstance(output, Mapping):
        return {key: [level.float() for level in maps] for key, maps in output.items()}
    return [level.float() for level in output] if isinstance(output, list | tuple) else output


def _hits(prepared: Prepared, marks: Mapping[str, NDArray[np.float64]], klass: int) -> ScanHits:
    """Match the marks of one class with its boxes, in millimetres along the prepared grid's axes."""
    spacing = np.array(spacing_mm(prepared.affine_ras_mm))
    mine, theirs = marks["label"] == klass, np.asarray(prepared.box_labels) == klass
    found, truth = marks["box"][mine], np.asarray(prepared.boxes, np.float64)[theirs]
    return scan_hits(
        (found[:, :3] + found[:, 3:]) / 2 * spacing, marks["label_scores"][mine],
        (truth[:, :3] + truth[:, 3:]) / 2 * spacing, (truth[:, 3:] - truth[:, :3]) * spacing)
