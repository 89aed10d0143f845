"""Findings for tests: stacks, masks, lesions and stamps over the series that ``tests.builders`` makes."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO

import numpy as np
from highdicom.seg import segread
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicomnode.domain.dicom import Code, InstanceRef
from dicomnode.domain.findings import (
    Detection,
    EncodedObject,
    Measurement,
    ModelFindings,
    Organ,
    Provenance,
    Segmentation,
)
from dicomnode.domain.model import Label
from dicomnode.domain.volume import SlicePlane, SliceStack
from dicomnode.encode.series import Stamp

CONTENT_TIME = datetime(2026, 3, 1, 8, 30, 15, tzinfo=UTC)
NODE_ID = uuid.UUID(int=0x1234)


def sct(value: str, meaning: str) -> Code:
    return Code(value=value, scheme="SCT", meaning=meaning)


STRUCTURE = sct("91723000", "Anatomical Structure")
LUNG = Label(value=1, name="Lung", category=STRUCTURE, type=sct("39607008", "Lung"), colour_rgb=(126, 200, 227))
HEART = Label(value=3, name="Heart", category=STRUCTURE, type=sct("80891009", "Heart"), colour_rgb=(200, 80, 80))
LEFT_KIDNEY = Label(value=4, name="Left kidney", category=STRUCTURE, type=sct("64033007", "Kidney"),
                    modifier=sct("7771000", "Left"), colour_rgb=(180, 120, 60))
NODULE = Label(value=2, name="Nodule", category=sct("49755003", "Morphologically Abnormal Structure"),
               type=sct("27925004", "Nodule"), region=sct("39607008", "Lung"), colour_rgb=(255, 170, 0), lesion=True)


def stack_of(series: Sequence[Dataset]) -> SliceStack:
    """Return the stack of single-frame images, or of the one multi-frame image, sorted along the normal."""
    first = series[0]
    many = "PerFrameFunctionalGroupsSequence" in first
    planes = _frames(first) if many else [_plane(one, one, one) for one in series]
    return SliceStack(
        study_uid=first.StudyInstanceUID, series_uid=first.SeriesInstanceUID,
        frame_of_reference_uid=first.FrameOfReferenceUID, rows=first.Rows, columns=first.Columns,
        planes=tuple(sorted(planes, key=lambda plane: plane.along_normal_mm)))


def _frames(image: Dataset) -> list[SlicePlane]:
    shared = image.SharedFunctionalGroupsSequence[0]
    return [
        _plane(image, shared.PlaneOrientationSequence[0], shared.PixelMeasuresSequence[0],
               position=group.PlanePositionSequence[0].ImagePositionPatient, frame=number)
        for number, group in enumerate(image.PerFrameFunctionalGroupsSequence, start=1)]


def _plane(image: Dataset, orientation: Dataset, measures: Dataset, *, position: Sequence[float] | None = None,
           frame: int = 1) -> SlicePlane:
    cosines = [float(value) for value in orientation.ImageOrientationPatient]
    place = image.ImagePositionPatient if position is None else position
    return SlicePlane(
        position_lps_mm=[float(value) for value in place], row_lps=cosines[:3], column_lps=cosines[3:],
        pixel_spacing_mm=(float(measures.PixelSpacing[0]), float(measures.PixelSpacing[1])),
        instance=InstanceRef(sop_class_uid=image.SOPClassUID, sop_instance_uid=image.SOPInstanceUID), frame=frame,
        thickness_mm=float(measures.SliceThickness or 0))


def provenance(name: str = "demo_chest", *, research: bool = True) -> Provenance:
    return Provenance(
        model_name=name, model_version="1.2", model_digest="sha256:" + "a" * 64, intended_use="Demonstration only.",
        device_uid="2.25.4711", node_version="0.1", content_time=CONTENT_TIME, research=research)


def stamp(*models: Provenance, job_key: str = "job", **changes: object) -> Stamp:
    own = {"provenance": models or (provenance(),), "local_zone": UTC, **changes}
    return Stamp(node_id=NODE_ID, job_key=job_key, content_time=CONTENT_TIME, **own)


def lesion(mask_zyx: NDArray[np.bool_], number: int = 1, *, side: str = "left", probability: float | None = 0.9,
           label: Label = NODULE) -> Detection:
    """Return the detection that outlines a mask of one lesion."""
    z, y, x = np.nonzero(mask_zyx)
    key = int(np.bincount(z).argmax())
    return Detection(
        label=label, number=number, centre_lps_mm=(0.0, 0.0, 0.0), key_slice=key, diameter_mm=6.5, volume_ml=0.25,
        box_yx=(int(y[z == key].min()), int(x[z == key].min()), int(y[z == key].max()), int(x[z == key].max())),
        tracking_uid=f"2.25.{1000 + number}", tracking_id=f"{label.name} {number}", probability=probability, side=side)


def organ(label: Label, mask_zyx: NDArray[np.generic]) -> Organ:
    voxels = int((mask_zyx == label.value).sum())
    volume = Measurement(name=sct("118565006", "Volume"), value=voxels * 0.002,
                         unit=Code(value="mL", scheme="UCUM", meaning="milliliter"))
    return Organ(label=label, voxels=voxels, measurements=(volume,))


def findings(stack: SliceStack, mask_zyx: NDArray[np.uint8], *, lesions: Sequence[NDArray[np.bool_]] = (),
             labels: tuple[Label, ...] = (LUNG, NODULE, HEART, LEFT_KIDNEY), model: Provenance | None = None,
             **changes: object
             ) -> ModelFindings:
    """Return the findings of a mask; each lesion is a boolean array, numbered from 1, drawn as the lesion label."""
    drawn = mask_zyx.copy()
    components = np.zeros(mask_zyx.shape, np.uint16)
    for number, one in enumerate(lesions, start=1):
        drawn[one], components[one] = NODULE.value, number
    own = {
        "segmentation": Segmentation(mask_zyx=drawn, stack=stack, labels=labels),
        "lesion_zyx": components if lesions else None,
        "detections": tuple(lesion(one, number) for number, one in enumerate(lesions, start=1)),
        "organs": tuple(organ(label, drawn) for label in labels if not label.lesion and (drawn == label.value).any()),
        "looked_for": tuple(label for label in labels if label.lesion),
        **changes}
    return ModelFindings(provenance=model or provenance(), stack=stack, **own)


def structure(value: int, name: str, group: str = "") -> Label:
    return replace(LUNG, value=value, name=name, colour_rgb=(value % 251, 2 * value % 251, 7), group=group)


def many_structures(count: int, series: Sequence[Dataset], shape_zyx: tuple[int, int, int]) -> ModelFindings:
    """Return findings of so many structures, ribs and muscles, on a map that is nowhere regular; slice 0 is empty."""
    stack = stack_of(series)
    kind = np.uint8 if count < 256 else np.uint16
    mask = np.random.default_rng(count).integers(0, count + 1, shape_zyx).astype(kind)
    mask[0] = 0
    labels = tuple(structure(value, f"rib_{value}" if value % 2 else f"muscle {value}")
                   for value in range(1, count + 1))
    return replace(findings(stack, np.zeros(shape_zyx, np.uint8)), organs=tuple(organ(one, mask) for one in labels),
                   segmentation=Segmentation(mask_zyx=mask, stack=stack, labels=labels))


def voxels_of(seg: EncodedObject | bytes, stack: SliceStack) -> NDArray[np.generic]:
    """Return the segment number of each voxel of a SEG, as highdicom's reader gives it, in the order of the stack."""
    read = segread(BytesIO(seg if isinstance(seg, bytes) else seg.payload))
    instances = [plane.instance.sop_instance_uid for plane in stack.planes]
    if len(set(instances)) == 1 and len(instances) > 1:
        return read.get_pixels_by_source_frame(
            instances[0], [plane.frame for plane in stack.planes], assert_missing_frames_are_empty=True,
            combine_segments=True)
    return read.get_pixels_by_source_instance(instances, assert_missing_frames_are_empty=True, combine_segments=True)


def block(shape_zyx: tuple[int, int, int], *corners: slice) -> NDArray[np.bool_]:
    """Return a boolean array that is true inside the slices, given as z, y, x."""
    inside = np.zeros(shape_zyx, dtype=bool)
    inside[corners] = True
    return inside


def parsed(encoded: EncodedObject) -> Dataset:
    return dcmread(BytesIO(encoded.payload))
