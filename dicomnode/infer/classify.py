"""A classification bundle by its pieces: one probability per class for a whole volume.

The bundle's postprocessing runs up to where it rounds (``AsDiscreted``): what it has then are the probabilities.
What it needs only to be scored - a ``label`` beside the prediction - is passed over where it is absent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms.compose import Compose
from monai.transforms.post.array import AsDiscrete
from monai.transforms.post.dictionary import AsDiscreted
from monai.transforms.transform import MapTransform

from dicomnode.errors import GpuOutOfMemory, ModelFailed
from dicomnode.infer import standard, windows
from dicomnode.infer.bundle import Bundle, load_pieces
from dicomnode.infer.clock import Clock
from dicomnode.infer.job import Answer, Job, Loading
from dicomnode.infer.memory import lacks_memory

FOREIGN_ERRORS: Final = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError)
ROUNDING: Final = 1e-3
"""How far probabilities may lie outside 0 to 1, and their sum from 1: half precision has three digits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """A loaded classification bundle.

    Parameters
    ----------
    classes:
        ``value`` of each class of the model file: channels of the output.
    """

    bundle: Bundle
    classes: tuple[int, ...]
    activation: str
    exclusive: bool

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.bundle.device

    def run(self, job: Job) -> Answer:
        """Classify one volume.

        Raises
        ------
        ModelFailed
            If the bundle raises, or gives something else than one probability for each class.
        GpuOutOfMemory
            If memory does not suffice.
        """
        clock = Clock()
        try:
            data = standard.preprocess(self.bundle, standard.loaded_image(job.channels_zyx, job.affine_ras_mm))
            clock.lap("preprocess")
            output, notes = self._infer(data[self.bundle.image_key][None], job)
            clock.lap("inference")
            probabilities = self._probabilities(before_rounding(self.bundle, data, output))
        except FOREIGN_ERRORS as error:
            raise _as_ours(error, job) from error
        clock.lap("postprocess")
        job.progress(1.0)
        return Answer(seconds=clock.seconds, notes=notes, found={"probabilities": probabilities})

    def _infer(self, image: torch.Tensor, job: Job) -> tuple[torch.Tensor, tuple[str, ...]]:
        precision = windows.Precision.of(job.settings["precision"], self.device)
        try:
            return _run(self.bundle, image, self.device, precision), ()
        except (RuntimeError, MemoryError) as error:
            if self.device.type == "cpu" or not lacks_memory(error):
                raise
        torch.cuda.empty_cache()
        return _run(self.bundle, image, torch.device("cpu"), precision), ("memory ran out: run on the CPU",)

    def _probabilities(self, values: torch.Tensor) -> dict[str, float]:
        if self.activation == "softmax":
            values = torch.softmax(values, dim=0)
        elif self.activation == "sigmoid":
            values = torch.sigmoid(values)
        given = [float(value) for value in values]
        self._refuse_other(given)
        return {str(value): min(1.0, max(0.0, given[value])) for value in self.classes}

    def _refuse_other(self, given: Sequence[float]) -> None:
        if set(self.classes) != set(range(len(given))):
            msg = (f"the bundle gives {len(given)} values; the model file has [[classes]] for {list(self.classes)}: "
                   "one is needed for each value, counted from 0")
            raise ModelFailed(msg)
        if not all(-ROUNDING <= value <= 1 + ROUNDING for value in given):
            msg = (f"the bundle gives {min(given):.3g} to {max(given):.3g}, which are no probabilities: say "
                   '[classification] activation = "softmax" or "sigmoid" in the model file, as the network was trained')
            raise ModelFailed(msg)
        if self.exclusive and abs(sum(given) - 1) > ROUNDING * len(given):
            msg = (f"the probabilities add up to {sum(given):.3g}: where classes do not exclude each other, say "
                   "[classification] exclusive = false in the model file")
            raise ModelFailed(msg)


def load(loading: Loading) -> Classifier:
    """Load a classification bundle by its pieces; raises as ``load_pieces``."""
    bundle = load_pieces(loading)
    for step in _steps(bundle):
        if isinstance(step, MapTransform):
            step.allow_missing_keys = True
    said = loading.model
    return Classifier(bundle=bundle, classes=tuple(said["classes"]), activation=said["activation"],
                      exclusive=said["exclusive"])


def before_rounding(bundle: Bundle, data: Mapping[str, Any], output: torch.Tensor) -> torch.Tensor:
    """Return the prediction, one value per class, as it is before the bundle's own rounding.

    Raises
    ------
    ModelFailed
        If it is no list of values.
    """
    values: dict[str, Any] = {**data, bundle.pred_key: output[0]}
    for step in _steps(bundle):
        if _rounds(step, bundle.pred_key):
            break
        values = Compose([step])(values)
    found = values[bundle.pred_key]
    found = found.as_tensor() if isinstance(found, MetaTensor) else torch.as_tensor(found)
    if found.numel() != max(found.shape, default=1):
        msg = f"the bundle gives an array of shape {tuple(found.shape)}; expected is one value per class"
        raise ModelFailed(msg)
    return found.detach().float().cpu().flatten()


def _steps(bundle: Bundle) -> list[Any]:
    flat: Compose = bundle.postprocessing.flatten()  # type: ignore[no-untyped-call]  # MONAI leaves it untyped
    return list(flat.transforms)


def _rounds(step: object, key: str) -> bool:
    return isinstance(step, AsDiscrete) or (isinstance(step, AsDiscreted) and key in step.keys)


def _run(bundle: Bundle, image: torch.Tensor, device: torch.device, precision: windows.Precision) -> torch.Tensor:
    bundle.network.to(device)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        if precision.bfloat16:
            stack.enter_context(torch.autocast(device.type, dtype=torch.bfloat16))
        output = bundle.inferer(image.to(device), bundle.network)
    if not isinstance(output, torch.Tensor):
        msg = f"the network gives {type(output).__name__}; expected is one tensor of shape (1, classes)"
        raise ModelFailed(msg)
    return output.float()


def _as_ours(error: Exception, job: Job) -> ModelFailed | GpuOutOfMemory:
    cause = error.__cause__ or error
    if lacks_memory(cause):
        shape = job.channels_zyx[0].shape
        return GpuOutOfMemory(f"memory ran out for a volume of {shape}: raise memory_limit_mb of the model file")
    return ModelFailed(f"the bundle raised {type(cause).__name__}: {str(cause)[:500]}")
