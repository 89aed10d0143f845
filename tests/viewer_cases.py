"""Studies for a real viewer: drawn patients in every geometry that clinics send, and all that the node says of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from scipy import ndimage

from dicomnode.domain.findings import (
    Classification,
    Detection,
    EncodedObject,
    ModelFindings,
    NotAnalysed,
    ParametricMap,
    Presence,
    Segmentation,
)
from dicomnode.domain.model import InputRole, Label, ModelFile
from dicomnode.domain.node import TAKES
from dicomnode.domain.settings import ClassLabel
from dicomnode.domain.volume import Volume
from dicomnode.encode.text import encode_notice
from dicomnode.infer.measure import QUANTITY
from dicomnode.run.encoding import Material, encode_all
from tests.builders import affine_lps, enhanced_ct, mr_series
from tests.drawn_patients import AXIAL, BRAIN, LUNGS, SHAPE, TILTED, TUMOUR, brain, chest, ct
from tests.findings import NODULE, STRUCTURE, findings, organ, provenance, sct, stack_of, stamp

PLACED = ("SEG", "SR3D", "RTSTRUCT")
"""What shows where something is: enough for a geometry."""
CHINESE_NAME = "Wang^XiaoDong=王^小东"
Planes = dict[tuple[str, int], NDArray[np.bool_]]
"""Where one segment is: source SOP Instance UID and frame to a plane of rows and columns."""


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Case:
    """One study: its images, what a model found in them, and the objects that say so."""

    images: Sequence[Dataset]
    found: ModelFindings
    objects: tuple[EncodedObject, ...]
    language: str = "en"

    @property
    def study_uid(self) -> str:
        return str(self.images[0].StudyInstanceUID)

    def of(self, kind: str, group: str = "") -> tuple[EncodedObject, ...]:
        return tuple(one for one in self.objects if one.kind == kind and one.group.startswith(group))

    def place_of(self, lesion: Detection) -> tuple[str, int]:
        plane = self.found.stack.planes[lesion.key_slice]
        return plane.instance.sop_instance_uid, plane.frame

    def named(self) -> Mapping[str, Label]:
        """Return the label of every segment by the name that a viewer shows."""
        structures = {} if self.found.segmentation is None else {
            label.name: label for label in self.found.segmentation.present() if not label.lesion}
        return structures | {one.tracking_id: one.label for one in self.found.detections}

    def planes(self, name: str) -> Planes:
        """Return the voxels of a structure or lesion by its name, only slices that have any."""
        inside = self._inside(name)
        places = ((one.instance.sop_instance_uid, one.frame) for one in self.found.stack.planes)
        return {place: drawn for place, drawn in zip(places, inside, strict=True) if drawn.any()}

    def _inside(self, name: str) -> NDArray[np.bool_]:
        for lesion in self.found.detections:
            if lesion.tracking_id == name and self.found.lesion_zyx is not None:
                return self.found.lesion_zyx == lesion.number
        if self.found.segmentation is None:
            raise KeyError(name)
        return self.found.segmentation.voxels(self.named()[name])


def case(images: Sequence[Dataset], found: ModelFindings, values_zyx: NDArray[np.int16], *, language: str = "en",
         kinds: tuple[str, ...] = PLACED) -> Case:
    """Encode everything that the node can say of some findings."""
    volume = Volume(values_zyx=values_zyx, stack=found.stack, modality=images[0].Modality)
    model = ModelFile(name=found.provenance.model_name, task="segmentation", bundle="none", digest="sha256:" + "0" * 64,
                      intended_use="Tests.", labels=(NODULE,),
                      inputs=(InputRole(role="image", modality=images[0].Modality),))
    uid = found.stack.series_uid
    objects = encode_all(Material(
        findings=(found,), models=(model,), volumes={uid: volume}, sources={uid: images},
        stamp=stamp(found.provenance, job_key=found.stack.study_uid, language=language), audiences=(kinds,)))
    return Case(images=images, found=found, objects=objects, language=language)


def chest_case(images: Sequence[Dataset], picked: Sequence[int] | None = None, **changes: object) -> Case:
    """Return the findings of the drawn chest over its images, of which some slices may be left out."""
    kept = list(range(SHAPE[0]) if picked is None else picked)
    hu, lungs, nodules = chest()
    own = [one[kept] for one in nodules if one[kept].any()]
    chance = np.max([ndimage.gaussian_filter(one.astype(np.float32), (0.5, 2, 2)) for one in own], axis=0)
    found = findings(
        stack_of(images), lungs[kept], lesions=own, labels=(*LUNGS, NODULE), warnings=("drawn",),
        parametric=ParametricMap(values_zyx=chance, quantity=QUANTITY["probability"], labels=(NODULE,)))
    return case(images, found, hu[kept], **changes)  # type: ignore[arg-type]


def axial() -> Case:
    return chest_case(ct("axial"), kinds=TAKES)


def moved() -> Case:
    """What must not pass for right: objects of a mask that lies one column beside what was found."""
    right = chest_case(ct("moved"))
    mask = right.found.segmentation
    if mask is None or right.found.lesion_zyx is None:
        raise ValueError("the drawn chest has lungs and nodules")
    beside = replace(right.found, segmentation=replace(mask, mask_zyx=np.roll(mask.mask_zyx, 1, axis=2)),
                     lesion_zyx=np.roll(right.found.lesion_zyx, 1, axis=2), detections=tuple(
                         replace(one, box_yx=tuple(np.add(one.box_yx, (0, 6, 0, 6)).tolist()))
                         for one in right.found.detections))
    return replace(right, objects=case(right.images, beside, chest()[0]).objects)


def feet_last() -> Case:
    """Slices stored from the head down: the stack sorts them, the mask follows."""
    return chest_case(list(reversed(ct("feet-last", InstanceNumber=lambda k: SHAPE[0] - k))))


def tilted() -> Case:
    return chest_case(ct("tilted", TILTED))


def with_a_gap() -> Case:
    kept = [k for k in range(SHAPE[0]) if k not in {3, 6, 7}]
    images = ct("gap")
    return chest_case([images[k] for k in kept], kept)


def one_slice() -> Case:
    images = ct("one-slice")
    key = int(np.argmax(sum(one.sum(axis=(1, 2)) for one in chest()[2])))
    return chest_case([images[key]], [key])


def multi_frame() -> Case:
    order = [*range(1, SHAPE[0], 2), *range(0, SHAPE[0], 2)]
    image = enhanced_ct(chest()[0], affine=AXIAL, seed="frames", order=order, PatientID="VIEWER-frames")
    return chest_case([image], kinds=TAKES)


def chinese_name() -> Case:
    images = ct("name", SpecificCharacterSet="GB18030", PatientName=CHINESE_NAME, StudyDescription="胸部CT")
    return chest_case(images, language="zh-CN", kinds=TAKES)


def sagittal() -> Case:
    return _brain_case(affine_lps(spacing_zyx_mm=(12.0, 3.0, 3.0), row=(0, 1, 0), column=(0, 0, -1),
                                  origin_mm=(-80, -100, 90)), "sagittal")


def oblique() -> Case:
    return _brain_case(affine_lps(spacing_zyx_mm=(12.0, 3.0, 3.0), row=(0.6, 0.8, 0), column=(0.48, -0.36, -0.8),
                                  origin_mm=(-80, -100, 90)), "oblique", kinds=("SEG", "LABELMAP", "SR3D"))


def _brain_case(affine: NDArray[np.float64], seed: str, kinds: tuple[str, ...] = PLACED) -> Case:
    signal, structures, tumours = brain()
    images = mr_series(signal, affine=affine, seed=seed, PatientID=f"VIEWER-{seed}",
                       WindowCenter="400", WindowWidth="900")
    found = findings(stack_of(images), structures, lesions=tumours[:1], labels=(*BRAIN, NODULE))
    lesions = tuple(replace(one, label=TUMOUR, tracking_id="Tumour 1", side="") for one in found.detections)
    return case(images, replace(found, detections=lesions, looked_for=()), signal, kinds=kinds)


def overlapping() -> Case:
    """Labels that share voxels: both lungs, and what lies between them drawn too wide."""
    hu, lungs, _ = chest()
    images = ct("overlap")
    middle = Label(value=2, name="Mediastinum", category=STRUCTURE, type=sct("72410000", "Mediastinum"),
                   colour_rgb=(210, 180, 90))
    bits = np.where(lungs == 1, 1, 0) | np.where(lungs == 3, 4, 0)
    bits[2:9, 34:70, 30:70] |= 2
    stack = stack_of(images)
    mask = Segmentation(mask_zyx=bits.astype(np.uint8), stack=stack, labels=(*LUNGS, middle), overlapping=True)
    organs = tuple(organ(label, np.where(mask.voxels(label), label.value, 0)) for label in mask.labels)
    found = ModelFindings(provenance=provenance(), stack=stack, segmentation=mask, organs=organs)
    return case(images, found, hu, kinds=("SEG", "LABELMAP"))


def many_labels(count: int = 30) -> Case:
    """So many structures that one SEG holds them no more."""
    images = ct("many")
    mask = np.zeros(SHAPE, np.uint8)
    labels = []
    for number in range(count):
        row, column = 8 + 14 * (number // 6), 6 + 15 * (number % 6)
        mask[1 + number % 4:8 + number % 5, row:row + 10, column:column + 11] = number + 1
        colour = (40 + 7 * number, 250 - 6 * number, (90 * number) % 256)
        labels.append(Label(value=number + 1, name=f"Rib {number + 1}", category=STRUCTURE,
                            type=sct("113197003", "Rib"), colour_rgb=colour))
    return case(images, findings(stack_of(images), mask, labels=tuple(labels)), chest()[0], kinds=("SEG", "LABELMAP"))


def nothing_found() -> Case:
    images = ct("nothing")
    found = replace(findings(stack_of(images), np.zeros(SHAPE, np.uint8)), organs=())
    return case(images, found, chest()[0], kinds=("SR3D", "SR", "TEXT"))


def not_analysed() -> Case:
    """No result but the report that says so, in both languages."""
    images = ct("refused")
    found = findings(stack_of(images), np.zeros(SHAPE, np.uint8))
    reason = NotAnalysed(reason="MissingSlices", text="gap of 7.0 mm after slice 12", study_uid=found.stack.study_uid)
    notices = tuple(encode_notice(reason, images, stamp(job_key=f"refused {language}", language=language))
                    for language in ("en", "zh"))
    return Case(images=images, found=found, objects=notices)


def classified() -> Case:
    images = ct("classes")
    of = (("60046008", "Pleural effusion", Presence.PRESENT), ("36118008", "Pneumothorax", Presence.ABSENT))
    found = ModelFindings(provenance=provenance("chest_classes"), stack=stack_of(images), classifications=tuple(
        Classification(of=ClassLabel(value=value, name=name, code=sct(code, name)), probability=0.9 - 0.8 * value,
                       presence=presence) for value, (code, name, presence) in enumerate(of)))
    return case(images, found, chest()[0], kinds=("SR3D", "SR", "TEXT"))


SEGMENTED: Mapping[str, Callable[[], Case]] = {
    "axial": axial, "sagittal": sagittal, "oblique": oblique, "tilted": tilted, "gap": with_a_gap,
    "feet_last": feet_last, "one_slice": one_slice, "multi_frame": multi_frame, "chinese_name": chinese_name,
    "overlapping": overlapping, "many_labels": many_labels,
}
IN_WORDS: Mapping[str, Callable[[], Case]] = {
    "nothing_found": nothing_found, "not_analysed": not_analysed, "classified": classified,
}
