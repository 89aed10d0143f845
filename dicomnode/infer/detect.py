"""A detection bundle by its pieces: preprocessing, windows, boxes, and back to the source grid.

The bundle's config has ``network_def`` (a RetinaNet), ``anchor_generator``, ``detector`` (a RetinaNetDetector of
the two), ``preprocessing``, and ``detection``, a table of plain values.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from monai.apps.detection.networks.retinanet_detector import RetinaNetDetector
from monai.inferers.inferer import SlidingWindowInferer
from monai.transforms.compose import Compose

from dicomnode.errors import GpuOutOfMemory, ModelFailed
from dicomnode.infer import borrowed, boxes, standard, windows
from dicomnode.infer.bundle import audited, chain, image_keys
from dicomnode.infer.clock import Clock
from dicomnode.infer.job import Answer, Job, Loading
from dicomnode.infer.memory import lacks_memory
from dicomnode.infer.parse import build, config_of
from dicomnode.infer.weights import load_weights, weights_of

ROOTS: Final = ("network_def", "anchor_generator", "detector", "preprocessing", "detection")
FOREIGN_ERRORS: Final = (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """``detection`` of a bundle's config.

    Parameters
    ----------
    roi_size:
        The window, (column, row, slice) of the preprocessed image.
    overlap:
        Share of a window that it has in common with its neighbour.
    """

    roi_size: tuple[int, int, int] = (96, 96, 96)
    overlap: float = 0.25
    score_thresh: float = 0.05
    nms_thresh: float = 0.15
    topk_candidates_per_level: int = 1000
    detections_per_img: int = 100

    @staticmethod
    def of(values: object) -> Table:
        """Read the table.

        Raises
        ------
        ModelFailed
            If it is no table, or has a key that is not known.
        """
        if not isinstance(values, Mapping) or set(values) - set(Table.__slots__):
            met = sorted(set(values) - set(Table.__slots__)) if isinstance(values, Mapping) else type(values).__name__
            msg = f"detection of the bundle has {met}; allowed is a table of {', '.join(Table.__slots__)}"
            raise ModelFailed(msg)
        try:
            given = {**values, "roi_size": tuple(int(size) for size in values["roi_size"])} \
                if "roi_size" in values else dict(values)
            return Table(**given)
        except (TypeError, ValueError) as error:
            msg = f"detection of the bundle: {error}"
            raise ModelFailed(msg) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionRunner:
    """A loaded detection bundle."""

    detector: RetinaNetDetector
    preprocessing: Compose
    image_key: str
    table: Table
    labels: tuple[int, ...]
    device: torch.device

    def run(self, job: Job) -> Answer:
        """Detect in one volume.

        Raises
        ------
        ModelFailed
            If the bundle raises, or names a class that has no label.
        GpuOutOfMemory
            If memory does not suffice, after every smaller attempt.
        """
        clock = Clock()
        try:
            image = standard.loaded_image(job.channels_zyx, job.affine_ras_mm)
            image = self.preprocessing({self.image_key: image})[self.image_key]
            clock.lap("preprocess")
            found, notes = self._infer(image, job)
            clock.lap("inference")
            answers = _answers(found, self.labels, np.asarray(image.affine, dtype=np.float64), job.affine_ras_mm)
        except FOREIGN_ERRORS as error:
            raise _as_ours(error, job) from error
        clock.lap("postprocess")
        return Answer(seconds=clock.seconds, notes=notes, found={"boxes": answers})

    def _infer(self, image: torch.Tensor, job: Job) -> tuple[Mapping[str, torch.Tensor], tuple[str, ...]]:
        precision = windows.Precision.of(job.settings["precision"], self.device)
        notes: list[str] = []
        for attempt in _ladder(self.device, job.settings["sw_batch_size"]):
            if attempt.note:
                notes.append(attempt.note)
            try:
                return _attempt(self, image.as_subclass(torch.Tensor), attempt, precision, job), tuple(notes)
            except (RuntimeError, MemoryError) as error:
                if not lacks_memory(error):
                    raise
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
        msg = f"memory did not suffice for an image of {tuple(image.shape)}, after {len(notes)} smaller attempts"
        raise GpuOutOfMemory(msg)


def load(loading: Loading) -> DetectionRunner:
    """Audit the config, build detector and preprocessing, load the weights.

    Raises
    ------
    ModelRefused
        If the config names anything that is not allowed.
    ModelFailed
        If it is unreadable, a piece is missing or cannot be built, or the weights do not fit the network.
    """
    borrowed.lend()
    config = config_of(loading)
    parser = audited(config, ROOTS)
    detector = build(parser, "detector")
    if not isinstance(detector, RetinaNetDetector):
        msg = f"detector gives {type(detector).__name__}; expected is a RetinaNetDetector"
        raise ModelFailed(msg)
    load_weights(detector.network, weights_of(config, loading.files))
    table = Table.of(build(parser, "detection") or {})
    detector.set_target_keys("box", "label")
    detector.set_box_selector_parameters(
        score_thresh=min(table.score_thresh, float(loading.model.get("score_at_least", 1.0))),
        topk_candidates_per_level=table.topk_candidates_per_level, nms_thresh=table.nms_thresh,
        detections_per_img=table.detections_per_img)
    return DetectionRunner(
        detector=detector.to(loading.device).eval(), preprocessing=chain(build(parser, "preprocessing")),
        image_key=image_keys(config)[0], table=table, labels=tuple(loading.model["labels"]), device=loading.device)


def aligned_windows(roi_size: Sequence[int], overlap: float, image_size: Sequence[int], divisor: Sequence[int]
                    ) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Return window and overlap per axis such that every window starts on the coarsest feature map's grid.

    Parameters
    ----------
    image_size:
        Of the image, already a multiple of ``divisor``.
    divisor:
        Stride of the coarsest feature map.

    Notes
    -----
    MONAI stitches feature maps at the window's start divided by the stride, rounded down: a window that starts
    between two cells moves its boxes by up to a stride. An image smaller than the window is not padded on both
    sides, for the same reason: the window shrinks to it.
    """
    roi = tuple(min(-(-want // step) * step, size) for want, size, step in zip(roi_size, image_size, divisor,
                                                                               strict=True))
    strides = [max(step, int(window * (1 - overlap)) // step * step)
               for window, step in zip(roi, divisor, strict=True)]
    # Half a voxel less than exact: MONAI rounds window * (1 - overlap) down.
    return roi, tuple(max(0.0, 1 - (stride + 0.5) / window) for stride, window in zip(strides, roi, strict=True))


def _ladder(device: torch.device, window_batch: int | None) -> Iterator[windows.Attempt]:
    yield windows.Attempt(note="", window_batch=window_batch)
    yield windows.Attempt(note="memory ran out: one window at a time", window_batch=1)
    if device.type != "cpu":
        yield windows.Attempt(note="memory ran out: windows stitched on the CPU", window_batch=1, stitch_on_cpu=True)
        yield windows.Attempt(note="memory ran out: run on the CPU", window_batch=1, on_cpu=True)


def _attempt(runner: DetectionRunner, image: torch.Tensor, attempt: windows.Attempt, precision: windows.Precision,
             job: Job) -> Mapping[str, torch.Tensor]:
    # MONAI keeps a volume's anchors for the next of its shape, on the device of this attempt: they go with it.
    compute = torch.device("cpu") if attempt.on_cpu else runner.device
    stitch = torch.device("cpu") if attempt.stitch_on_cpu else compute
    detector, table = runner.detector, runner.table
    detector.network.to(compute)
    steps = [int(step) for step in detector.size_divisible]
    padded = [-(-size // step) * step for size, step in zip(image.shape[1:], steps, strict=True)]
    roi, overlap = aligned_windows(table.roi_size, table.overlap, padded, steps)
    detector.inferer = SlidingWindowInferer(roi, sw_batch_size=attempt.window_batch or 1, overlap=overlap,
                                            sw_device=compute, device=stitch)
    counter = _Counter(windows.expected_windows(detector.inferer, tuple(padded)), job)
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.callback(setattr, detector, "anchors", None)
        stack.callback(detector.network.register_forward_hook(counter).remove)
        if precision.bfloat16:
            stack.enter_context(torch.autocast(compute.type, dtype=torch.bfloat16))
        found: list[Mapping[str, torch.Tensor]] = detector([image.to(stitch)], use_inferer=True)
    return found[0]


class _Counter:
    """Counts windows as they leave the network; widens their maps, so that boxes keep their precision."""

    def __init__(self, expected: int, job: Job) -> None:
        self._expected, self._job, self._done = expected, job, 0

    def __call__(self, _module: torch.nn.Module, inputs: tuple[Any, ...], output: object) -> object:
        self._done += int(inputs[0].shape[0])
        self._job.progress(min(1.0, self._done / self._expected))
        if isinstance(output, Mapping):
            return {key: [level.float() for level in maps] for key, maps in output.items()}
        return [level.float() for level in output] if isinstance(output, list | tuple) else output


def _answers(found: Mapping[str, torch.Tensor], labels: Sequence[int], grid_affine_ras_mm: boxes.Affine,
             source_affine_ras_mm: boxes.Affine) -> list[dict[str, object]]:
    values = {key: value.detach().cpu().double().numpy() for key, value in found.items()}
    classes = values["label"].astype(int)
    if classes.size and int(classes.max()) >= len(labels):
        msg = (f"the detector gives class {int(classes.max())}, and the model file has {len(labels)} [[labels]]: class "
               "0 is the first of them")
        raise ModelFailed(msg)
    placed = boxes.to_source(values["box"], grid_affine_ras_mm, source_affine_ras_mm)
    return [{"box_zyx": box.tolist(), "label": labels[klass], "score": float(score)}
            for box, klass, score in zip(placed, classes, values["label_scores"], strict=True)]


def _as_ours(error: Exception, job: Job) -> ModelFailed | GpuOutOfMemory:
    cause = error.__cause__ or error
    if lacks_memory(cause):
        where = f"before or after the network, for a volume of {job.channels_zyx[0].shape}"
        return GpuOutOfMemory(f"memory ran out {where}: raise memory_limit_mb of the model file")
    return ModelFailed(f"the bundle raised {type(cause).__name__}: {str(cause)[:500]}")
