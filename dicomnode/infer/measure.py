"""From a label map to findings: volumes of structures; place, size and side of each lesion.

Volumes use the true distances between slices; places are patient millimetres (LPS). The definitions of
diameter and side are those of ``extent`` and of ``midline``: they are said in the report's documentation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import (
    Detection,
    Measurement,
    ModelFindings,
    Organ,
    ParametricMap,
    Provenance,
    Segmentation,
)
from dicomnode.domain.model import Label, ModelFile
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.errors import ModelFailed
from dicomnode.infer.boxed import box_findings, numbered
from dicomnode.infer.classified import classified
from dicomnode.infer.drawn import Box, Drawn
from dicomnode.infer.extent import centre_lps_mm, longest_axis_mm, mean_value, millilitres
from dicomnode.infer.midline import left_right_axis, middle_mm, side
from dicomnode.infer.output import RawOutput

VOLUME: Final = Code(value="118565006", scheme="SCT", meaning="Volume")  # CID 7472
ATTENUATION: Final = Code(value="112031", scheme="DCM", meaning="Attenuation Coefficient")
DIAMETER: Final = Code(value="81827009", scheme="SCT", meaning="Diameter")  # CID 7470
MILLILITRE: Final = Code(value="ml", scheme="UCUM", meaning="ml")
HOUNSFIELD: Final = Code(value="[hnsf'U]", scheme="UCUM", meaning="Hounsfield unit")
QUANTITY: Final = MappingProxyType({
    "probability": Code(value="122157", scheme="DCM", meaning="Probability", meaning_zh="概率"),
    "uncertainty": Code(value="ENTROPY", scheme="99DICOMNODE", meaning="Normalized entropy of class probabilities",
                        meaning_zh="类别概率的归一化熵"),
})
"""What a map shows, by ``[outputs] quantity``; the standard has no code for the entropy of a classifier."""
MILLIMETRE: Final = Code(value="mm", scheme="UCUM", meaning="mm")

TOUCHING: Final = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a face, an edge or a corner belong to one lesion."""
ALWAYS: Final = frozenset({"volume_ml", "diameter_mm"})
"""What every lesion is measured by, whatever its label's ``measure`` says: a finding without size is none."""
MOST_LESIONS: Final = int(np.iinfo(np.uint16).max)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Lesion:
    """One connected component: its box in the volume and its voxels inside the box."""

    label: Label
    box: Box
    voxels: NDArray[np.bool_]
    volume_ml: float


def model_findings(
    model: ModelFile, volume: Volume, output: RawOutput, *, provenance: Provenance,
    tracking_uid: Callable[[str], str],
) -> ModelFindings:
    """Measure what a model found: in a label map, or by ``box_findings`` what a detector's boxes say.

    Structures below a label's ``min_ml`` and lesions below its ``min_ml`` or ``min_diameter_mm`` are no
    findings: they leave the mask too, so that SEG and report say the same.

    Parameters
    ----------
    tracking_uid:
        Gives the UID of a lesion from its name, e.g. ``Nodule 1``; the same name, the same UID.

    Raises
    ------
    ModelFailed
        If the output is no label map on the volume's grid.
    """
    if output.boxes is not None:
        return box_findings(model, volume, output, provenance=provenance, tracking_uid=tracking_uid)
    if model.task == "classification":
        return classified(model, volume, output, provenance=provenance)
    if output.labels_zyx is None or output.labels_zyx.shape != volume.stack.shape_zyx:
        met = None if output.labels_zyx is None else output.labels_zyx.shape
        msg = f"model {model.name} gave labels of shape {met}; expected is {volume.stack.shape_zyx}"
        raise ModelFailed(msg)
    drawn = Drawn.of(output.labels_zyx.copy(), overlapping=model.overlapping)
    organs = tuple(_organs(model, drawn, volume))
    lesions, too_small = _lesions(model, drawn, volume.stack)
    profile = _organ_profile(model, drawn, left_right_axis(volume.stack))
    middle = middle_mm(volume, profile) if lesions else None
    names = numbered([lesion.label for lesion in lesions])
    detections = tuple(_detection(lesion, (number, name), volume, middle, tracking_uid)
                       for number, (lesion, name) in enumerate(zip(lesions, names, strict=True), start=1))
    layers = _layers(lesions, drawn)
    return ModelFindings(
        provenance=provenance, stack=volume.stack,
        segmentation=Segmentation(mask_zyx=drawn.mask_zyx, stack=volume.stack, labels=model.labels,
                                  overlapping=model.overlapping),
        lesion_zyx=layers[0] if layers else None, lesion_layers=layers[1:],
        organs=organs, detections=detections, parametric=_map(model, output),
        looked_for=tuple(label for label in model.labels if label.lesion),
        warnings=_warnings(too_small), seconds=output.seconds)


def _map(model: ModelFile, output: RawOutput) -> ParametricMap | None:
    if output.map_zyx is None:
        return None
    return ParametricMap(values_zyx=output.map_zyx, quantity=QUANTITY[model.outputs.quantity], labels=model.labels)


def _organs(model: ModelFile, drawn: Drawn, volume: Volume) -> Iterator[Organ]:
    for label in model.labels:
        box = drawn.boxes.get(label.value)
        if label.lesion or box is None:
            continue
        inside = drawn.inside(label)
        volume_ml = millilitres(inside, box, volume.stack)
        if volume_ml < label.min_ml:
            drawn.erase(label, box, inside)
            continue
        yield Organ(label=label, voxels=int(inside.sum()),
                    measurements=tuple(_measurements(label.measure, inside, box, volume, volume_ml)))


def _measurements(asked: Sequence[str], inside: NDArray[np.bool_], box: Box, volume: Volume,
                  volume_ml: float) -> Iterator[Measurement]:
    for name in asked:
        if name == "volume_ml":
            yield Measurement(name=VOLUME, value=volume_ml, unit=MILLILITRE)
        elif name == "mean_hu" and volume.modality == "CT":
            mean = mean_value(volume.values_zyx[box], inside, box, volume.stack)
            yield Measurement(name=ATTENUATION, value=mean, unit=HOUNSFIELD)
        elif name == "diameter_mm":
            yield Measurement(name=DIAMETER, value=longest_axis_mm(inside, volume.stack)[0], unit=MILLIMETRE)


def _asked_besides(label: Label) -> tuple[str, ...]:
    """Return what is measured of a lesion besides the diameter and the volume that each has."""
    return tuple(name for name in label.measure if name not in ALWAYS)


def _lesions(model: ModelFile, drawn: Drawn, stack: SliceStack) -> tuple[list[_Lesion], int]:
    """Return the lesions, largest first, and how many components were too small; those leave the mask."""
    kept: list[_Lesion] = []
    too_small = 0
    for label in model.labels:
        if not label.lesion or label.value not in drawn.boxes:
            continue
        for lesion in _components(label, drawn, stack):
            if lesion.volume_ml >= label.min_ml and longest_axis_mm(lesion.voxels, stack)[0] >= label.min_diameter_mm:
                kept.append(lesion)
            else:
                drawn.erase(label, lesion.box, lesion.voxels)
                too_small += 1
    kept.sort(key=lambda lesion: -lesion.volume_ml)
    return kept[:MOST_LESIONS], too_small


def _components(label: Label, drawn: Drawn, stack: SliceStack) -> Iterator[_Lesion]:
    box = drawn.boxes[label.value]
    numbers, _count = ndimage.label(drawn.inside(label), structure=TOUCHING)
    for number, inner in enumerate(ndimage.find_objects(numbers), start=1):
        whole = tuple(slice(o.start + i.start, o.start + i.stop) for o, i in zip(box, inner, strict=True))
        voxels = numbers[inner] == number
        yield _Lesion(label=label, box=whole, voxels=voxels, volume_ml=millilitres(voxels, whole, stack))


def _detection(lesion: _Lesion, called: tuple[int, str], volume: Volume, middle_mm: float | None,
               tracking_uid: Callable[[str], str]) -> Detection:
    stack = volume.stack
    centre = centre_lps_mm(lesion.voxels, lesion.box, stack)
    diameter, key = longest_axis_mm(lesion.voxels, stack)
    rows, columns = (np.flatnonzero(lesion.voxels[key].any(axis=axis)) for axis in (1, 0))
    row, column = lesion.box[1].start, lesion.box[2].start
    number, name = called
    return Detection(
        label=lesion.label, number=number, centre_lps_mm=(float(centre[0]), float(centre[1]), float(centre[2])),
        key_slice=int(lesion.box[0].start) + key,
        box_yx=(int(row + rows[0]), int(column + columns[0]), int(row + rows[-1]), int(column + columns[-1])),
        diameter_mm=diameter, volume_ml=lesion.volume_ml, tracking_uid=tracking_uid(name), tracking_id=name,
        side=side(float(centre[0]), middle_mm, lesion.label.modifier),
        measurements=tuple(_measurements(_asked_besides(lesion.label), lesion.voxels, lesion.box, volume,
                                         lesion.volume_ml)),
        box_zyx=(*(part.start - 0.5 for part in lesion.box), *(part.stop - 0.5 for part in lesion.box)))


def _layers(lesions: Sequence[_Lesion], drawn: Drawn) -> tuple[NDArray[np.uint16], ...]:
    """Return arrays of lesion numbers: one, or where labels overlap one for each label, in the order of its first."""
    layers: dict[int, NDArray[np.uint16]] = {}
    for number, lesion in enumerate(lesions, start=1):
        key = lesion.label.value if drawn.overlapping else 0
        if key not in layers:
            layers[key] = np.zeros(drawn.mask_zyx.shape, dtype=np.uint16)
        layers[key][lesion.box][lesion.voxels] = number
    return tuple(layers.values())


def _organ_profile(model: ModelFile, drawn: Drawn, axis: int) -> NDArray[np.int64]:
    """Return how many voxels of structures lie at each index along ``axis``."""
    profile = np.zeros(drawn.mask_zyx.shape[axis], dtype=np.int64)
    for label in model.labels:
        box = drawn.boxes.get(label.value)
        if not label.lesion and box is not None:
            profile[box[axis]] += drawn.inside(label).sum(axis=tuple(i for i in range(3) if i != axis))
    return profile


def _warnings(too_small: int) -> tuple[str, ...]:
    return (f"{too_small} components below the smallest size of their label were left out",) if too_small else ()
