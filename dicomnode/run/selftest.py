"""A model's self-test: it must still solve the phantom it was published with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.findings import marked
from dicomnode.domain.model import ModelFile
from dicomnode.domain.settings import SelfTest
from dicomnode.domain.volume import SlicePlane, SliceStack, Volume
from dicomnode.errors import ModelFailed
from dicomnode.infer.output import RawBox, RawOutput
from dicomnode.infer.pool import Pool
from dicomnode.phantom.brain import BrainPhantom, brain_mr
from dicomnode.phantom.chest import ChestPhantom, chest_ct

PHANTOM_SHAPE_ZYX = (100, 192, 192)
NODULES = 6
NODULE_DIAMETERS_MM = (6.0, 15.0)
PHANTOMS = ("chest", "nodules", "brain")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    """What the model is given, in the order of its inputs, and what it must find."""

    volumes: tuple[Volume, ...]
    truth_zyx: NDArray[np.uint8]
    spacing_zyx_mm: tuple[float, float, float]
    findings: tuple[tuple[tuple[float, float, float], float], ...] = ()
    """Centre in voxels (z, y, x) and diameter in mm."""


def self_test(model: ModelFile, pool: Pool) -> dict[str, float]:
    """Run the model on its phantom; return each label's Dice, or the share of its findings that was found.

    Raises
    ------
    ModelFailed
        If one lies below what the model file promises, or the phantom is unknown or does not fit the model.
    """
    test = model.self_test
    if test is None:
        return {}
    task = _task(model, test)
    output = pool.run(model, {role.role: volume for role, volume in zip(model.inputs, task.volumes, strict=True)})
    found = {name: value for scores in (_dice_of(model, test, task, output), _found_of(model, test, task, output))
             for name, value in scores.items()}
    for name, least in (*test.dice_at_least.items(), *test.found_at_least.items()):
        if found[name] < least:
            raise ModelFailed(f"model {model.name}: self-test gives {found[name]:.3f} for {name}, promised {least:g}")
    return found


def volume_of(phantom: ChestPhantom) -> Volume:
    """Place a chest phantom in the patient frame: axial, head-first, supine."""
    return placed(phantom.hu_zyx, phantom.spacing_zyx_mm, modality="CT")


def volumes_of(phantom: BrainPhantom) -> tuple[Volume, ...]:
    """Place a brain phantom in the patient frame, one volume for each sequence."""
    return tuple(placed(values, phantom.spacing_zyx_mm, modality="MR") for values in phantom.mr_zyx.values())


def placed(values_zyx: NDArray[np.int16], spacing_zyx_mm: tuple[float, float, float], *, modality: str) -> Volume:
    """An array whose axes grow to the head, the back and the left, as a series of axial slices."""
    dz, dy, dx = spacing_zyx_mm
    ref = InstanceRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid="2.25.1")
    planes = tuple(
        SlicePlane(
            position_lps_mm=np.array([0.0, 0.0, z * dz]),
            row_lps=np.array([1.0, 0, 0]),
            column_lps=np.array([0, 1.0, 0]),
            pixel_spacing_mm=(dy, dx),
            instance=ref,
        )
        for z in range(values_zyx.shape[0])
    )
    stack = SliceStack(
        study_uid="2.25.2",
        series_uid="2.25.3",
        frame_of_reference_uid="2.25.4",
        planes=planes,
        rows=values_zyx.shape[1],
        columns=values_zyx.shape[2],
    )
    return Volume(values_zyx=values_zyx, stack=stack, modality=modality)


def _task(model: ModelFile, test: SelfTest) -> _Task:
    if test.phantom not in PHANTOMS:
        raise ModelFailed(f"self_test phantom = {test.phantom!r}: allowed are {', '.join(PHANTOMS)}")
    task = _brain(test.seed) if test.phantom == "brain" else _chest(test)
    if len(task.volumes) != len(model.inputs):
        raise ModelFailed(f"model {model.name}: self_test phantom = {test.phantom!r} gives {len(task.volumes)} series, "
                          f"the model takes {len(model.inputs)}")
    return task


def _brain(seed: int) -> _Task:
    phantom = brain_mr(seed, tumour=True)
    return _Task(volumes=volumes_of(phantom), truth_zyx=phantom.truth_zyx,
                 spacing_zyx_mm=phantom.spacing_zyx_mm)


def _chest(test: SelfTest) -> _Task:
    drawn: dict[str, Any] = {}
    if test.phantom == "nodules":
        drawn = {"nodules": NODULES, "nodule_diameters_mm": NODULE_DIAMETERS_MM}
    phantom = chest_ct(test.seed, shape_zyx=PHANTOM_SHAPE_ZYX, spacing_zyx_mm=(2.5, 1.9, 1.9), **drawn)
    return _Task(volumes=(volume_of(phantom),), truth_zyx=phantom.truth_zyx, spacing_zyx_mm=phantom.spacing_zyx_mm,
                 findings=tuple((nodule.centre_index_zyx, nodule.diameter_mm) for nodule in phantom.nodules))


def _dice_of(model: ModelFile, test: SelfTest, task: _Task, output: RawOutput) -> Mapping[str, float]:
    if not test.dice_at_least:
        return {}
    if output.labels_zyx is None:
        raise ModelFailed(f"model {model.name}: no label map came of the self-test")
    return {name: _dice(marked(output.labels_zyx, _value(model, name), overlapping=model.overlapping),
                        task.truth_zyx == _value(model, name))
            for name in test.dice_at_least}


def _found_of(model: ModelFile, test: SelfTest, task: _Task, output: RawOutput) -> Mapping[str, float]:
    if not test.found_at_least:
        return {}
    if output.boxes is None:
        raise ModelFailed(f"model {model.name}: no boxes came of the self-test")
    floor = model.detection.score_at_least
    return {name: _share_found(task, [box for box in output.boxes
                                      if box.label == _value(model, name) and box.score >= floor])
            for name in test.found_at_least}


def _value(model: ModelFile, name: str) -> int:
    return next(label.value for label in model.labels if label.name == name)


def _share_found(task: _Task, boxes: list[RawBox]) -> float:
    """The share of the findings in which the middle of a box lies."""
    middles = np.array([box.box_zyx for box in boxes]).reshape(-1, 2, 3).mean(axis=1)
    away = [np.linalg.norm((middles - centre) * task.spacing_zyx_mm, axis=1) < diameter / 2
            for centre, diameter in task.findings]
    return float(np.mean([inside.any() for inside in away])) if away else 1.0


def _dice(
    found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], truth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> float:
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else 1.0
