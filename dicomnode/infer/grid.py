"""Where a bundle's resampled grid lies in the source grid, axis by axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from monai.transforms.compose import Compose
from monai.transforms.intensity.dictionary import (
    NormalizeIntensityd,
    ScaleIntensityd,
    ScaleIntensityRanged,
    ScaleIntensityRangePercentilesd,
    ThresholdIntensityd,
)
from monai.transforms.post.dictionary import Activationsd, AsDiscreted, Invertd, KeepLargestConnectedComponentd
from monai.transforms.spatial.dictionary import Orientationd, Spacingd
from monai.transforms.utility.dictionary import CastToTyped, EnsureTyped, ToTensord
from numpy.typing import NDArray

from dicomnode.infer.bundle import Bundle
from dicomnode.infer.standard import as_meta

POINTWISE: Final = (CastToTyped, EnsureTyped, NormalizeIntensityd, ScaleIntensityd, ScaleIntensityRanged,
                    ScaleIntensityRangePercentilesd, ThresholdIntensityd, ToTensord)
"""Transforms that leave every voxel where it is."""
TYPES_ONLY: Final = (CastToTyped, EnsureTyped, ToTensord)
ON_LABELS: Final = (KeepLargestConnectedComponentd,)
"""Transforms of a whole label map for which nothing counts that lies outside the box around all labels."""
SEPARABLE_TOLERANCE_VOXELS: Final = 1e-3
"""How far, at the far end of the volume, an axis may drift from being parallel to an axis of the source."""

INVERTED_AND_DISCRETE: Final = 2
"""Steps after which the prediction is labels on the source grid: Invertd and argmax, in either order."""
HALF: Final = 0.5
"""A voxel reaches this far from its centre."""


class NotFast(ValueError):
    """The bundle or the series has a form for which only the bundle's own path is right; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A bundle's chains, cut into the parts that the fast path replaces and those it keeps."""

    spatial: tuple[Any, ...]  # Orientationd and Spacingd, in order
    pointwise: Compose
    activation: tuple[Any, ...]  # on the network's output, before it is put back
    argmax_first: bool  # labels are put back by nearest neighbour, not probabilities by linear interpolation
    on_labels: tuple[Any, ...]  # on the labels, after they were put back


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TargetGrid:
    """The resampled grid, as positions along each axis of the source array.

    Parameters
    ----------
    first_zyx, step_zyx, count_zyx:
        For each source axis (slice, row, column): the source index of the first target sample along it,
        the distance to the next in source voxels (negative where the axis is flipped), how many there are.
    axes:
        For each target axis, the source array axis (0 slice, 1 row, 2 column) that it runs along.
    """

    affine_ras_mm: NDArray[np.float64]
    first_zyx: tuple[float, ...]
    step_zyx: tuple[float, ...]
    count_zyx: tuple[int, ...]
    axes: tuple[int, ...]

    def in_source(self, axis: int, size: int) -> NDArray[np.float64]:
        """Return the source index of each target sample along a source axis, held inside the source."""
        return np.clip(self.first_zyx[axis] + self.step_zyx[axis] * np.arange(self.count_zyx[axis]), 0, size - 1)

    def in_target(self, axis: int, size: int) -> NDArray[np.float64]:
        """Return the target index of each source sample along a source axis, held inside the target."""
        return np.clip((np.arange(size) - self.first_zyx[axis]) / self.step_zyx[axis], 0, self.count_zyx[axis] - 1)

    def cropped(self, box: Sequence[slice], shape_zyx: Sequence[int]) -> tuple[TargetGrid, tuple[slice, ...]]:
        """Return the grid of a box of target voxels, and the part of the source that this box covers.

        The grid's positions are those in that part of the source, not in the whole; ``box`` is in target axes.
        """
        start = [box[self.axes.index(axis)].start for axis in range(3)]
        count = [box[self.axes.index(axis)].stop - start[axis] for axis in range(3)]
        region = tuple(self._covered(axis, start[axis], count[axis], shape_zyx[axis]) for axis in range(3))
        first = tuple(self.first_zyx[axis] + self.step_zyx[axis] * start[axis] - region[axis].start
                      for axis in range(3))
        return replace(self, first_zyx=first, count_zyx=tuple(count)), region

    def _covered(self, axis: int, start: int, count: int, size: int) -> slice:
        step, at_first, at_last = self.step_zyx[axis], start == 0, start + count == self.count_zyx[axis]
        ends = (self.first_zyx[axis] + step * (start - HALF), self.first_zyx[axis] + step * (start + count - HALF))
        low = 0 if (at_first if step > 0 else at_last) else min(ends)
        high = size if (at_last if step > 0 else at_first) else max(ends)
        return slice(max(0, math.ceil(low)), min(size, math.ceil(high)))


def plan(bundle: Bundle) -> Plan:
    """Recognise the canonical form: orientation and spacing, then pointwise; softmax, Invertd, argmax.

    Raises
    ------
    NotFast
        For any other form.
    """
    if bundle.overlapping or not bundle.own_postprocessing or len(bundle.input_keys) > 1:
        msg = "labels overlap, or the bundle loads several images, or has no postprocessing of its own"
        raise NotFast(msg)
    chain = list(bundle.preprocessing.transforms)
    count = next((i for i, step in enumerate(chain) if not isinstance(step, Orientationd | Spacingd)), len(chain))
    spatial = tuple(chain[:count])
    rest = chain[count:]
    if len({type(step) for step in spatial}) != len(spatial) or not spatial:
        msg = "preprocessing does not begin with one orientation and one spacing"
        raise NotFast(msg)
    odd = [type(step).__name__ for step in rest if not isinstance(step, POINTWISE)]
    if odd:
        msg = f"preprocessing moves voxels by {', '.join(odd)}"
        raise NotFast(msg)
    _check_spacing(spatial)
    activation, argmax_first, on_labels = _inverse_form(bundle)
    return Plan(spatial=spatial, pointwise=Compose(rest), activation=activation, argmax_first=argmax_first,
                on_labels=on_labels)


def _check_spacing(spatial: Sequence[Any]) -> None:
    for step in spatial:
        if isinstance(step, Spacingd):
            modes = {str(getattr(mode, "value", mode)) for mode in step.mode}
            paddings = {str(getattr(mode, "value", mode)) for mode in step.padding_mode}
            if modes != {"bilinear"} or paddings != {"border"} or any(step.scale_extent):
                msg = f"spacing uses {modes}, {paddings}; the fast path knows bilinear, border"
                raise NotFast(msg)


def _inverse_form(bundle: Bundle) -> tuple[tuple[Any, ...], bool, tuple[Any, ...]]:
    before: list[Any] = []
    after: list[Any] = []
    seen: list[str] = []
    for step in bundle.postprocessing.transforms:
        if isinstance(step, Invertd):
            _check_invert(step, bundle)
            seen.append("nearest" if all(step.nearest_interp) else "linear")
        elif isinstance(step, AsDiscreted) and _is_argmax(step):
            seen.append("argmax")
        elif isinstance(step, Activationsd) and not seen:
            before.append(step)
        elif isinstance(step, ON_LABELS) and len(seen) == INVERTED_AND_DISCRETE:
            after.append(step)
        elif not isinstance(step, TYPES_ONLY):
            seen.append(type(step).__name__)
    if seen not in (["linear", "argmax"], ["argmax", "nearest"]):
        msg = f"postprocessing has the form {' → '.join(seen) or 'none'}; the fast path knows Invertd → argmax"
        raise NotFast(msg)
    return tuple(before), seen[0] == "argmax", tuple(after)


def _check_invert(step: Invertd, bundle: Bundle) -> None:
    if step.transform is not bundle.preprocessing or tuple(step.orig_keys) != (bundle.image_key,):
        msg = "Invertd inverts another chain than the preprocessing"
        raise NotFast(msg)


def _is_argmax(step: AsDiscreted) -> bool:
    return all(step.argmax) and all(value is None for value in (*step.to_onehot, *step.threshold, *step.rounding))


def target_grid(steps: Sequence[Any], image_key: str, affine_ras_mm: NDArray[np.float64],
                shape_zyx: Sequence[int]) -> TargetGrid:
    """Ask MONAI's own transforms, lazily and so without resampling, where the target grid lies.

    Raises
    ------
    NotFast
        If a target axis is not parallel to a source axis (a sheared stack).
    """
    shape_xyz = tuple(reversed(shape_zyx))
    data: dict[str, Any] = {image_key: as_meta(torch.zeros(1).expand(1, *shape_xyz), affine_ras_mm, shape_xyz)}
    for step in steps:
        data = step(data, lazy=True)
    image = data[image_key]
    affine = np.asarray(image.peek_pending_affine(), dtype=np.float64)
    return locate(affine, tuple(int(n) for n in image.peek_pending_shape()), affine_ras_mm)


def locate(affine: NDArray[np.float64], shape: Sequence[int], source_affine: NDArray[np.float64]) -> TargetGrid:
    """Express a target grid in source indices, axis by axis.

    Raises
    ------
    NotFast
        If that is impossible.
    """
    mapping = np.linalg.solve(source_affine, affine)
    along = np.abs(mapping[:3, :3]).argmax(axis=0)  # for each target axis, the source axis x, y or z
    off = np.abs(mapping[:3, :3]) * np.asarray(shape, dtype=float)
    off[along, np.arange(3)] = 0.0
    if sorted(along.tolist()) != [0, 1, 2] or off.max() > SEPARABLE_TOLERANCE_VOXELS:
        msg = f"the slices are sheared: a target axis drifts by {off.max():.2f} voxels"
        raise NotFast(msg)
    axes = tuple(int(2 - source) for source in along)
    order = [axes.index(axis) for axis in range(3)]
    return TargetGrid(
        affine_ras_mm=affine, axes=axes, count_zyx=tuple(int(shape[target]) for target in order),
        first_zyx=tuple(float(mapping[2 - axis, 3]) for axis in range(3)),
        step_zyx=tuple(float(mapping[2 - axis, target]) for axis, target in enumerate(order)))
