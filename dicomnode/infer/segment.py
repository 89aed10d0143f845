"""One segmentation: the bundle's own path, or the fast path where the model file allows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dicomnode.errors import GpuOutOfMemory, ModelFailed
from dicomnode.infer import backend, maps, resample, standard, windows
from dicomnode.infer import grid as grids
from dicomnode.infer.body import body_box
from dicomnode.infer.bundle import Bundle, load_pieces
from dicomnode.infer.clock import Clock
from dicomnode.infer.job import Answer, Job, Loading


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to run: the model file's ``[runtime]``, as far as it concerns a segmentation."""

    precision: str = "float32"
    fast_resample: bool = False
    clamp_roi: bool = False
    crop_to_body: bool = False
    sw_batch_size: int | None = None

    @staticmethod
    def of(message: Mapping[str, Any]) -> Settings:
        """Read the parent's message."""
        return Settings(precision=message["precision"], fast_resample=message["fast_resample"],
                        clamp_roi=message["clamp_roi"], crop_to_body=message.get("crop_to_body", False),
                        sw_batch_size=message["sw_batch_size"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What was done; the labels are in the array that the caller gave."""

    seconds: dict[str, float]
    notes: tuple[str, ...]
    highest: int
    no_map: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """A map that somebody asks for besides the labels: what it shows, and where it is written."""

    quantity: str
    map_zyx: NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmenter:
    """A segmentation bundle, run by its pieces."""

    bundle: Bundle

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return self.bundle.device

    def run(self, job: Job) -> Answer:
        """Write the labels of one volume."""
        asked = None if job.map_zyx is None else Asked(quantity=job.quantity, map_zyx=job.map_zyx)
        outcome = segment(self.bundle, job.channels_zyx, job.affine_ras_mm, Settings.of(job.settings),
                          out_zyx=job.out_zyx, progress=job.progress, asked=asked)
        return Answer(seconds=outcome.seconds, notes=outcome.notes, no_map=outcome.no_map)


def load(loading: Loading) -> Segmenter:
    """Load a segmentation bundle by its pieces and ready its network; raises as ``load_pieces``."""
    bundle = load_pieces(loading)
    wanted = loading.model.get("backend")
    return Segmenter(bundle=_with_backend(bundle, wanted, len(loading.model["roles"])) if wanted else bundle)


def _with_backend(bundle: Bundle, wanted: Mapping[str, Any], channels: int) -> Bundle:
    precision = windows.Precision.of(wanted["precision"], bundle.device)
    network = backend.accelerated(bundle.network, wanted["name"], bfloat16=precision.bfloat16, device=bundle.device)
    shape = windows.window_shape(bundle.inferer, channels, wanted["window_batch"])
    if shape is not None:
        backend.warm_up(network, shape, bundle.device)
    return replace(bundle, network=network)


def segment(bundle: Bundle, channels_zyx: Sequence[NDArray[Any]], affine_ras_mm: NDArray[np.float64],
            settings: Settings, *, out_zyx: NDArray[Any], progress: Callable[[float], None],
            asked: Asked | None = None) -> Outcome:
    """Segment one volume and write its labels into ``out_zyx``, and the map where one is asked for.

    Parameters
    ----------
    channels_zyx:
        One array per input role, all on the same grid, in slice, row, column order.
    affine_ras_mm:
        Index (column, row, slice) → RAS millimetres.

    Raises
    ------
    ModelFailed
        If the bundle's transforms or network raise, or give something else than labels.
    GpuOutOfMemory
        If memory does not suffice, after every smaller attempt.
    """
    notes: list[str] = []
    try:
        if settings.fast_resample:
            try:
                return _fast(bundle, channels_zyx, affine_ras_mm, settings, out_zyx, progress, asked)
            except grids.NotFast as reason:
                notes.append(f"fast_resample not used: {reason}")
        outcome = _standard(bundle, channels_zyx, affine_ras_mm, settings, out_zyx, progress, asked)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError) as error:
        cause = error.__cause__ or error
        if windows.lacks_memory(cause):
            msg = (
                f"memory ran out before or after the network, for a volume of {out_zyx.shape}: raise memory_limit_mb "
                "of the model file, or switch fast_resample on"
            )
            raise GpuOutOfMemory(msg) from error
        msg = f"the bundle raised {type(cause).__name__}: {str(cause)[:500]}"
        raise ModelFailed(msg) from error
    return replace(outcome, notes=(*notes, *outcome.notes))


def _standard(bundle: Bundle, channels_zyx: Sequence[NDArray[Any]], affine_ras_mm: NDArray[np.float64],
              settings: Settings, out_zyx: NDArray[Any], progress: Callable[[float], None], asked: Asked | None
              ) -> Outcome:
    clock = Clock()
    image = standard.loaded_image(channels_zyx, affine_ras_mm)
    data = standard.preprocess(bundle, image)
    del image
    clock.lap("preprocess")
    output, notes = _infer(bundle, data[bundle.image_key][None], settings, progress)
    clock.lap("inference")
    no_map = "" if asked is None else _mapped(
        lambda: maps.on_source(bundle, data, output, asked.quantity, asked.map_zyx))
    labels = standard.labels_zyx(standard.postprocess(bundle, data, output), out_zyx.shape)
    highest = standard.write_labels(labels, out_zyx)
    clock.lap("postprocess")
    return Outcome(seconds=clock.seconds, notes=notes, highest=highest, no_map=no_map)


def _mapped(write: Callable[[], None]) -> str:
    """Write a map; return why that cannot be: the labels do not suffer for it."""
    try:
        write()
    except ModelFailed as error:
        return str(error)
    except (RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, MemoryError) as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return ""


def _fast(bundle: Bundle, channels_zyx: Sequence[NDArray[Any]], affine_ras_mm: NDArray[np.float64],
          settings: Settings, out_zyx: NDArray[Any], progress: Callable[[float], None], asked: Asked | None
          ) -> Outcome:
    clock = Clock()
    plan = grids.plan(bundle)
    target = grids.target_grid(plan.spatial, bundle.image_key, affine_ras_mm, channels_zyx[0].shape)
    values = torch.stack([resample.resample(channel, target) for channel in channels_zyx])
    box = _box(bundle, values[0], target) if settings.crop_to_body else tuple(slice(0, n) for n in values.shape[1:])
    image = standard.as_meta(values, target.affine_ras_mm, values.shape[1:])
    del values
    data = plan.pointwise({bundle.image_key: image})
    del image
    clock.lap("preprocess")
    output, notes = _infer(bundle, data[bundle.image_key][(None, slice(None), *box)], settings, progress)
    clock.lap("inference")
    del data
    inner, region = target.cropped(box, out_zyx.shape)
    out_zyx[...] = 0
    no_map = "" if asked is None else _mapped(lambda: resample.put_back_values(
        maps.on_network_grid(output[0], plan.activation, bundle, asked.quantity), inner, asked.map_zyx[region]))
    highest = _put_back(bundle, plan, inner, output, out_zyx[region])
    standard.on_labels(plan.on_labels, bundle.pred_key, out_zyx)
    clock.lap("postprocess")
    return Outcome(seconds=clock.seconds, notes=notes, highest=highest, no_map=no_map)


def _box(bundle: Bundle, hu: torch.Tensor, target: grids.TargetGrid) -> tuple[slice, ...]:
    """The box around the body, no smaller than a window."""
    window = windows.window_shape(bundle.inferer, 1, None)
    least = window[2:] if window else (bundle.divisor,) * 3
    spacing_mm = np.linalg.norm(target.affine_ras_mm[:3, :3], axis=0)
    return body_box(hu, spacing_mm.tolist(), least)


def _put_back(bundle: Bundle, plan: grids.Plan, target: grids.TargetGrid, output: torch.Tensor,
              out_zyx: NDArray[Any]) -> int:
    scores: Any = output[0]
    for step in plan.activation:
        scores = step({bundle.pred_key: scores})[bundle.pred_key]
    scores = torch.as_tensor(scores).as_subclass(torch.Tensor)
    highest = int(scores.shape[0]) - 1
    if highest > np.iinfo(out_zyx.dtype).max:
        wide = np.zeros(out_zyx.shape, dtype=np.uint16)
        _put_labels(plan, target, scores, wide)
        return standard.write_labels(wide, out_zyx)
    _put_labels(plan, target, scores, out_zyx)
    return highest


def _put_labels(plan: grids.Plan, target: grids.TargetGrid, scores: torch.Tensor, out_zyx: NDArray[Any]) -> None:
    if plan.argmax_first:
        resample.put_back_labels(resample.largest(scores.float().cpu()).to(torch.int32), target, out_zyx)
    else:
        resample.put_back_argmax(scores, target, out_zyx)


def _infer(bundle: Bundle, image: torch.Tensor, settings: Settings,
           progress: Callable[[float], None]) -> tuple[torch.Tensor, tuple[str, ...]]:
    roi = windows.clamped_roi(bundle.inferer, tuple(image.shape[2:]), bundle.divisor) if settings.clamp_roi else None
    return windows.infer(bundle, image, precision=windows.Precision.of(settings.precision, bundle.device), roi=roi,
                         window_batch=settings.sw_batch_size, progress=progress)
