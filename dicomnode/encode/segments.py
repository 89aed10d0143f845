"""Which segments a SEG of some findings has: one per structure, one per lesion. SEG and SR both ask here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import (
    Detection,
    Mask,
    ModelFindings,
    Segmentation,
    marked,
    values_present,
)
from dicomnode.domain.model import Label
from dicomnode.encode.codes import ARTIFICIAL_INTELLIGENCE, SIDES, concept
from dicomnode.encode.place import place_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One segment: a whole structure, or one lesion of it."""

    number: int
    label: Label
    lesion: Detection | None = None


def segments_of(findings: ModelFindings) -> tuple[Segment, ...]:
    """Return the segments in the order of their numbers, 1 to n without gaps; only what has voxels.

    Structures come first, in the model file's order, then lesions by number. A lesion is a segment of its own,
    so that its TrackingUID is the same in SEG and SR.
    """
    structures: list[Label] = []
    if findings.segmentation is not None:
        possible = [label for label in findings.segmentation.labels if not label.lesion]
        present = _present(findings.segmentation, {label.value for label in possible})
        structures = [label for label in possible if label.value in present]
    lesions: list[Detection] = []
    if findings.lesion_zyx is not None:
        wanted = {found.number for found in findings.detections}
        drawn = {number for layer in _layers(findings) for number in _found(layer, wanted)}
        lesions = sorted((one for one in findings.detections if one.number in drawn), key=lambda one: one.number)
    pairs: list[tuple[Label, Detection | None]] = [*((label, None) for label in structures),
                                                   *((found.label, found) for found in lesions)]
    return tuple(Segment(number=number, label=label, lesion=lesion)
                 for number, (label, lesion) in enumerate(pairs, start=1))


def numbers_of(model_name: str, segments: tuple[Segment, ...]) -> dict[tuple[str, int], int]:
    """Return the segment number of each structure, by model and label value; lesions have tracking UIDs instead."""
    return {(model_name, one.label.value): one.number for one in segments if one.lesion is None}


def label_map(findings: ModelFindings, segments: tuple[Segment, ...]) -> Mask:
    """Return the segment number of each voxel; where a structure and a lesion both lie, the lesion wins."""
    shape = findings.stack.shape_zyx
    numbers: Mask = np.zeros(shape, np.uint8) if len(segments) < 256 else np.zeros(shape, np.uint16)  # noqa: PLR2004
    if findings.segmentation is not None:
        structures = {one.label.value: one.number for one in segments if one.lesion is None}
        for k, drawn in enumerate(findings.segmentation.mask_zyx):
            if drawn.any():
                numbers[k] = _looked_up(drawn, structures)
    if findings.lesion_zyx is not None:
        lesions = {one.lesion.number: one.number for one in segments if one.lesion is not None}
        for k, drawn in enumerate(findings.lesion_zyx):
            if drawn.any():
                marks = _looked_up(drawn, lesions)
                np.copyto(numbers[k], marks, where=marks > 0, casting="unsafe")
    return numbers


def drawn_on(findings: ModelFindings, segment: Segment, k: int) -> NDArray[np.bool_]:
    """Return which pixels of slice ``k`` belong to a segment."""
    if segment.lesion is not None:
        number = segment.lesion.number
        return np.asarray(np.any([layer[k] == number for layer in _layers(findings)], axis=0))
    drawn = findings.segmentation
    if drawn is None:
        return np.zeros(findings.stack.shape_zyx[1:], dtype=bool)
    return marked(drawn.mask_zyx[k], segment.label.value, overlapping=drawn.overlapping)


def describe(segment: Segment, findings: ModelFindings) -> hd.seg.SegmentDescription:
    """Return a segment's codes, colour, algorithm and, for a lesion, its tracking identifiers (PS3.3 C.8.20.2).

    Where a lesion lies, and on which side, is said as its report says it.
    """
    label, lesion, provenance = segment.label, segment.lesion, findings.provenance
    place, side = place_of(lesion, findings) if lesion else (label.region, None)
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=(lesion.tracking_id if lesion else label.name)[:64],
        segmented_property_category=concept(label.category),
        segmented_property_type=concept(label.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=provenance.model_name, family=concept(ARTIFICIAL_INTELLIGENCE), version=provenance.model_version,
            parameters={"weights": provenance.model_digest}),
        tracking_uid=lesion.tracking_uid if lesion else None,
        tracking_id=lesion.tracking_id if lesion else None,
        anatomic_regions=[concept(place)] if place else None,
        display_color=hd.color.CIELabColor.from_rgb(*label.colour_rgb))
    if label.modifier and not _contradicts(lesion, label.modifier):
        type_item = description.SegmentedPropertyTypeCodeSequence[0]
        type_item.SegmentedPropertyTypeModifierCodeSequence = [concept(label.modifier)]
    if side:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(side)]
    return description


def _contradicts(lesion: Detection | None, modifier: Code) -> bool:
    """Whether a label names a side of which its lesion does not lie: then none is claimed."""
    sides = {side.value: name for name, side in SIDES.items()}
    return lesion is not None and modifier.value in sides and sides[modifier.value] != lesion.side


def _layers(findings: ModelFindings) -> tuple[NDArray[np.uint16], ...]:
    return (*(() if findings.lesion_zyx is None else (findings.lesion_zyx,)), *findings.lesion_layers)


def _present(segmentation: Segmentation, wanted: set[int]) -> set[int]:
    if segmentation.overlapping:
        return wanted & values_present(segmentation.mask_zyx, overlapping=True)
    return _found(segmentation.mask_zyx, wanted)


def _found(values_zyx: Mask, wanted: set[int]) -> set[int]:
    """Return those of ``wanted`` that the array holds; stops at the slice where the last of them is found."""
    missing = set(wanted)
    for plane in values_zyx:
        if not missing:
            break
        if plane.any():
            missing -= set(np.flatnonzero(np.bincount(plane.ravel())).tolist())
    return wanted - missing


def _looked_up(values_yx: Mask, numbers: Mapping[int, int]) -> Mask:
    """Return the segment number of each value, 0 for values without one."""
    if values_yx.dtype == np.uint8 and max(numbers.values(), default=0) <= np.iinfo(np.uint8).max:
        table = bytes(numbers.get(value, 0) for value in range(256))
        return np.frombuffer(values_yx.tobytes().translate(table), np.uint8).reshape(values_yx.shape)
    lookup = np.zeros(int(values_yx.max(initial=0)) + 1, dtype=np.uint16)
    for value, number in numbers.items():
        if value < len(lookup):
            lookup[value] = number
    return lookup[values_yx]
