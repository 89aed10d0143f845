"""A model's self-test: it must still solve the phantom it was published with."""

from __future__ import annotations

import numpy as np

from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.model import ModelFile, SelfTest
from dicomnode.domain.volume import SlicePlane, SliceStack, Volume
from dicomnode.errors import ModelFailed
from dicomnode.infer.pool import Pool
from dicomnode.phantom.chest import ChestPhantom, chest_ct

PHANTOM_SHAPE_ZYX = (100, 192, 192)


def self_test(model: ModelFile, pool: Pool) -> dict[str, float]:
    """Run the model on its phantom and return each label's Dice.

    Raises
    ------
    ModelFailed
        If a Dice lies below what the model file promises, or the phantom is unknown.
    """
    test = model.self_test
    if test is None:
        return {}
    phantom = _phantom(test)
    output = pool.run(model, {model.inputs[0].role: volume_of(phantom)})
    if output.labels_zyx is None:
        raise ModelFailed(f"model {model.name}: no label map came of the self-test")
    scores = {}
    for name, least in test.dice_at_least.items():
        value = next(label.value for label in model.labels if label.name == name)
        scores[name] = _dice(output.labels_zyx == value, phantom.truth_zyx == value)
        if scores[name] < least:
            raise ModelFailed(f"model {model.name}: self-test Dice of {name} is {scores[name]:.3f}, promised {least:g}")
    return scores


def volume_of(phantom: ChestPhantom) -> Volume:
    """Place a phantom in the patient frame: axial, head-first, supine."""
    dz, dy, dx = phantom.spacing_zyx_mm
    ref = InstanceRef(sop_class_uid="1.2.840.10008.5.1.4.1.1.2", sop_instance_uid="2.25.1")
    planes = tuple(
        SlicePlane(
            position_lps_mm=np.array([0.0, 0.0, z * dz]),
            row_lps=np.array([1.0, 0, 0]),
            column_lps=np.array([0, 1.0, 0]),
            pixel_spacing_mm=(dy, dx),
            instance=ref,
        )
        for z in range(phantom.hu_zyx.shape[0])
    )
    stack = SliceStack(
        study_uid="2.25.2",
        series_uid="2.25.3",
        frame_of_reference_uid="2.25.4",
        planes=planes,
        rows=phantom.hu_zyx.shape[1],
        columns=phantom.hu_zyx.shape[2],
    )
    return Volume(values_zyx=phantom.hu_zyx, stack=stack, modality="CT")


def _phantom(test: SelfTest) -> ChestPhantom:
    if test.phantom != "chest":
        raise ModelFailed(f"self_test phantom = {test.phantom!r}: allowed is 'chest'")
    return chest_ct(test.seed, shape_zyx=PHANTOM_SHAPE_ZYX, spacing_zyx_mm=(2.5, 1.9, 1.9))


def _dice(
    found: np.ndarray[tuple[int, ...], np.dtype[np.bool_]], truth: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> float:
    total = int(found.sum()) + int(truth.sum())
    return 2.0 * int((found & truth).sum()) / total if total else 1.0
