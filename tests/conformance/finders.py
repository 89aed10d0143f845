"""What models may find in a series: each takes what was read and returns findings, marked by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from dicomnode.domain.findings import (
    Classification,
    Detection,
    ModelFindings,
    ParametricMap,
    Presence,
    Segmentation,
)
from dicomnode.domain.model import Label
from dicomnode.domain.settings import ClassLabel
from dicomnode.domain.volume import SliceStack
from dicomnode.infer.measure import QUANTITY
from dicomnode.read.series import LoadedSeries
from tests.findings import (
    HEART,
    LEFT_KIDNEY,
    LUNG,
    NODULE,
    STRUCTURE,
    block,
    findings,
    lesion,
    organ,
    provenance,
    sct,
)

LIVER = Label(value=1, name="Liver", category=STRUCTURE, type=sct("10200004", "Liver"), colour_rgb=(150, 80, 40))
SPLEEN = Label(value=2, name="Spleen", category=STRUCTURE, type=sct("78961009", "Spleen"), colour_rgb=(90, 60, 160))
CLASSES = (("Pleural effusion", "60046008", Presence.PRESENT), ("Pneumothorax", "36118008", Presence.ABSENT),
           ("Normal", "17621005", Presence.UNDETERMINED))

Finder = Callable[[Sequence[LoadedSeries]], tuple[ModelFindings, ...]]


def organs_and_lesions(loaded: Sequence[LoadedSeries], **changes: object) -> tuple[ModelFindings, ...]:
    """Two organs and two nodules, one of them on a single slice, and the probability of each voxel."""
    stack = loaded[0].volume.stack
    changes.setdefault("parametric", _map(stack, "probability"))
    shape = stack.shape_zyx
    middle = min(5, shape[0] - 1)
    return (findings(stack, _organs(shape), **changes, lesions=[
        block(shape, slice(middle, middle + 3), slice(6, 9), slice(5, 8)),
        block(shape, slice(middle, middle + 1), slice(12, 15), slice(6, 10))]),)


def _map(stack: SliceStack, quantity: str) -> ParametricMap:
    """Return numbers that differ everywhere."""
    values = np.linspace(0, 1, num=int(np.prod(stack.shape_zyx)), dtype=np.float32).reshape(stack.shape_zyx)
    return ParametricMap(values_zyx=values, quantity=QUANTITY[quantity], labels=(NODULE,))


def uncertain(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """The uncertainty of two labels instead of a probability."""
    shown = replace(_map(loaded[0].volume.stack, "uncertainty"), labels=(LUNG, NODULE))
    return organs_and_lesions(loaded, parametric=shown)


def _organs(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[: max(1, shape[0] - 2), 3:20, 3:12] = LUNG.value
    mask[shape[0] // 3:, 3:18, 15:26] = LEFT_KIDNEY.value
    return mask


def organs_alone(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """Organs were marked, and no nodule that the model looked for."""
    stack = loaded[0].volume.stack
    return (findings(stack, _organs(stack.shape_zyx)),)


def nothing(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    stack = loaded[0].volume.stack
    return (findings(stack, np.zeros(stack.shape_zyx, np.uint8)),)


def overlapping(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """Two organs that share voxels."""
    stack = loaded[0].volume.stack
    bits = np.zeros(stack.shape_zyx, np.uint8)
    bits[2:9, 2:16, 2:18] |= 1
    bits[5:11, 8:22, 10:26] |= 2
    drawn = Segmentation(mask_zyx=bits, stack=stack, labels=(LIVER, SPLEEN), overlapping=True)
    organs = tuple(organ(label, drawn.voxels(label) * label.value) for label in drawn.labels)
    return (ModelFindings(provenance=provenance("overlapping"), stack=stack, segmentation=drawn, organs=organs),)


def detections_alone(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """Boxes of a detector, without masks; one lies at the very edge of the image."""
    stack = loaded[0].volume.stack
    shape = stack.shape_zyx
    found = [lesion(block(shape, slice(4, 7), slice(6, 11), slice(5, 9))),
             lesion(block(shape, slice(0, 2), slice(0, 3), slice(shape[2] - 2, shape[2])), 2, probability=0.31,
                    side="right")]
    boxes = tuple(replace(one, volume_ml=None, box_zyx=_edges(one)) for one in found)
    return (ModelFindings(provenance=provenance("detector"), stack=stack, detections=boxes, looked_for=(NODULE,)),)


def _edges(one: Detection) -> tuple[float, float, float, float, float, float]:
    top, left, bottom, right = one.box_yx
    return one.key_slice - 1.5, top - 0.5, left - 0.5, one.key_slice + 1.5, bottom + 0.5, right + 0.5


def classes(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """One class is present, one absent, one undetermined."""
    return (ModelFindings(
        provenance=provenance("chest_classes"), stack=loaded[0].volume.stack, classifications=tuple(
            Classification(of=ClassLabel(value=value, name=name, code=sct(code, name)), presence=presence,
                           probability=0.9 - 0.3 * value)
            for value, (name, code, presence) in enumerate(CLASSES))),)


def many_organs(loaded: Sequence[LoadedSeries], *, count: int = 104) -> tuple[ModelFindings, ...]:
    """As many organs as whole-body models mark."""
    stack = loaded[0].volume.stack
    names = sorted(code for code in codes.cid7192.concepts.values() if code.scheme_designator == "SCT")
    labels = tuple(
        Label(value=value, name=code.meaning.capitalize()[:64], category=STRUCTURE, type=sct(code.value, code.meaning),
              colour_rgb=(value * 2, 255 - value * 2, value * 5 % 256))
        for value, code in enumerate(names[:: len(names) // count][:count], start=1))
    mask = np.zeros(stack.shape_zyx, np.uint8)
    for label in labels:
        row, column = divmod(label.value - 1, 13)
        mask[2:5, row * 3:row * 3 + 2, column * 2:column * 2 + 2] = label.value
    return (findings(stack, mask, labels=labels, model=provenance("whole_body")),)


def two_models(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """A model that segments, one that detects and one that classifies; the last one's series where there are two."""
    stack = loaded[-1].volume.stack
    heart = np.zeros(stack.shape_zyx, np.uint8)
    heart[3:8, 4:14, 6:20] = HEART.value
    second = findings(stack, heart, labels=(HEART,), model=provenance("heart", research=False))
    return (*organs_and_lesions(loaded[:1]), second, *classes(loaded))
