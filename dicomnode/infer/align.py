"""The inputs of one model on the grid of the first: in one frame of reference, and where they lie on each other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.errors import MixedFrameOfReference, ModelFailed, UnalignedInputs
from dicomnode.infer.onto import HALF, on_one_grid, onto
from dicomnode.infer.straight import straightened

AIR_HU: Final = -1000
COVERED_FRACTION: Final = 0.9
"""An input that covers less of the first is filled up so far that a reader must know."""
SAMPLED_PLACES: Final = 32
"""Rows and columns of a slice at which the cover is looked up."""


def channels(model: ModelFile, volumes: Mapping[str, Volume]) -> list[Volume]:
    """Return one volume for each input of a model, all on the grid of the first; that upright and in equal steps.

    Raises
    ------
    MixedFrameOfReference
        If an input lies in another frame than the first, and its ``any_frame`` is false.
    UnalignedInputs
        If an input lies on another grid and its ``resample`` is false, or shares no place with the first.
    ModelFailed
        If a required input has no volume.
    """
    missing = [role.role for role in model.inputs if role.role not in volumes and role.required]
    if missing or model.inputs[0].role not in volumes:
        msg = f"model {model.name}: no volume for the input {', '.join(missing) or model.inputs[0].role}"
        raise ModelFailed(msg)
    first = volumes[model.inputs[0].role].stack
    for role in model.inputs[1:]:
        if role.role in volumes:
            _check(model, role, volumes[role.role].stack, first)
    straight = straightened(first)
    given = [volumes[role.role] if role.role in volumes else _empty(role, first) for role in model.inputs]
    return [volume if straight is first and on_one_grid(volume.stack, first) else onto(volume, straight)
            for volume in given]


def cover_warnings(model: ModelFile, volumes: Mapping[str, Volume]) -> Iterator[str]:
    """Say which inputs cover so little of the first that much of them was filled up."""
    name, *_ = (role.role for role in model.inputs)
    for role in model.inputs[1:]:
        if role.role not in volumes or on_one_grid(volumes[role.role].stack, volumes[name].stack):
            continue
        share = covered(volumes[role.role].stack, volumes[name].stack)
        if share < COVERED_FRACTION:
            yield f"input {role.role} covers {100 * share:.0f} % of {name}: the rest was filled with its lowest value"


def covered(source: SliceStack, target: SliceStack) -> float:
    """Return which fraction of the target's voxels has its centre in a voxel of the source."""
    there = np.linalg.inv(source.affine_lps_mm) @ target.affine_lps_mm
    z = np.arange(target.shape_zyx[0], dtype=np.float64)
    y, x = (np.arange(0, size, max(1, size // SAMPLED_PLACES), dtype=np.float64) for size in target.shape_zyx[1:])
    inside = np.ones((z.size, y.size, x.size), dtype=bool)
    for axis, size in enumerate(source.shape_zyx):
        along = there[axis, 0] * z[:, None, None] + there[axis, 1] * y[:, None] + there[axis, 2] * x + there[axis, 3]
        inside &= (along >= -HALF) & (along <= size - 1 + HALF)
    return float(inside.mean())


def _check(model: ModelFile, role: InputRole, stack: SliceStack, first: SliceStack) -> None:
    name = model.inputs[0].role
    if stack.frame_of_reference_uid != first.frame_of_reference_uid and not role.any_frame:
        msg = (f"model {model.name}: inputs {name} and {role.role} lie in different Frames of Reference "
               f"(…{first.frame_of_reference_uid[-8:]}, …{stack.frame_of_reference_uid[-8:]}): their places cannot be "
               "compared; register them, or say any_frame = true for the input where the UIDs alone differ")
        raise MixedFrameOfReference(msg)
    if on_one_grid(stack, first):
        return
    where = (f"model {model.name}: input {role.role} lies on another grid than {name}: "
             f"{stack.shape_zyx} against {first.shape_zyx}")
    if not role.resample:
        msg = f"{where}; say resample = true in its [[inputs]] where the network was made for interpolated inputs"
        raise UnalignedInputs(msg)
    if covered(stack, first) == 0:
        msg = f"{where}, and covers nothing of it: send series of the same part of the body"
        raise UnalignedInputs(msg)


def _empty(role: InputRole, stack: SliceStack) -> Volume:
    """Return what stands for an input that may be absent and is: air in CT, nothing in all else."""
    value = AIR_HU if role.modality == "CT" else 0
    return Volume(values_zyx=np.full(stack.shape_zyx, value, dtype=np.int16), stack=stack, modality=role.modality)
