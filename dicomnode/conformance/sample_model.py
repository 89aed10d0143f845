"""Two made-up models of each task, and what they answer on the two studies: nothing that both have is the same."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, Label, ModelFile
from dicomnode.domain.settings import ClassLabel
from dicomnode.infer.output import RawBox, RawOutput

SEGMENTATION, DETECTION, CLASSIFICATION = "segmentation", "detection", "classification"
ROLE: Final = InputRole(role="ct")
ORGANS: Final = ((("Lung", "39607008"),), (("Liver", "10200004"), ("Spleen", "78961009")))
ORGAN: Final = 1
"""The label of the first structure; that of a lesion comes last."""
LESIONS: Final = (("Nodule", "27925004"), ("Mass", "4147007"))
CLASSES: Final = ((("Fracture", "125605004"), ("Effusion", "60046008")), (("Atelectasis", "46621007"),
                                                                       ("Pneumothorax", "36118008")))


def a_model(variant: int, task: str) -> ModelFile:
    """Return the model file of one of the two studies."""
    labels = _labels(variant) if task != CLASSIFICATION else ()
    return ModelFile(
        name=f"example_{variant}", version=("1.0", "2.1")[variant], task=task, bundle="example",
        digest="sha256:" + ("1a", "2b")[variant] * 32, intended_use=("Example only.", "A sample.")[variant],
        research=variant == 0, inputs=(ROLE,),
        labels=tuple(label for label in labels if label.lesion or task == SEGMENTATION),
        classes=tuple(ClassLabel(value=channel, name=name, code=_sct(value, name))
                      for channel, (name, value) in enumerate(CLASSES[variant]) if task == CLASSIFICATION))


def _labels(variant: int) -> tuple[Label, ...]:
    structure = (_sct("91723000", "Anatomical Structure"), _sct("85756007", "Tissue"))[variant]
    abnormal = (_sct("49755003", "Morphologically Abnormal Structure"), _sct("260787004", "Physical object"))[variant]
    organs = [Label(value=number, name=name, category=structure, type=_sct(value, name),
                    colour_rgb=(10 * number, 90 + variant, 200), measure=("volume_ml", "mean_hu"))
              for number, (name, value) in enumerate(ORGANS[variant], start=1)]
    name, value = LESIONS[variant]
    lesion = Label(value=len(organs) + 1, name=name, category=abnormal, type=_sct(value, name),
                   colour_rgb=(255, 170, variant), region=organs[0].type, lesion=True)
    return (*organs, lesion)


def an_output(model: ModelFile, shape_zyx: tuple[int, int, int], *, organs: bool, lesions: bool) -> RawOutput:
    """Return what the model answers on its study: with structures or without, with lesions or without."""
    drawn = _drawn(shape_zyx, len(model.labels)) if organs else np.zeros(shape_zyx, np.uint8)
    lesion = max((label.value for label in model.labels), default=0)
    if not lesions:
        drawn[drawn == lesion] = ORGAN
    boxes = tuple(RawBox(box_zyx=(1.5, 9.5, 4.5 + 9 * place, 3.5, 14.5 + place, 9.5 + 9 * place), label=lesion,
                         score=0.9 - 0.1 * place) for place in range(lesion if lesions else 0))
    return RawOutput(
        labels_zyx=drawn if model.task == SEGMENTATION else None, boxes=boxes if model.task == DETECTION else None,
        probabilities={one.value: 0.9 - 0.7 * one.value for one in model.classes} or None,
        map_zyx=np.full(shape_zyx, 0.01 * lesion, np.float32) if model.task == SEGMENTATION else None,
        seconds={}, peak_mb=0.0, device="cpu")


def _drawn(shape_zyx: tuple[int, int, int], lesion: int) -> NDArray[np.uint8]:
    """Return a label map: organs side by side, each of another outline, with a larger lesion than the one before."""
    labels = np.zeros(shape_zyx, np.uint8)
    for organ in range(1, lesion):
        left = 4 + 20 * (organ - 1)
        labels[1:-1, 6:-6, left:left + 18] = organ
        for step in range(1, lesion):
            labels[1:-1, 6:6 + 2 * step, left:left + 8 - 2 * step] = 0
        labels[2:4, 10:12 + organ, left + 4:left + 6 + organ] = lesion
    return labels


def _sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)
