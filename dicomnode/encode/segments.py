"""Which segments a SEG of some findings has: one per structure, one per lesion. SEG and SR both ask here."""

from __future__ import annotations

from dataclasses import dataclass

import highdicom as hd
import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.findings import Detection, ModelFindings, Provenance
from dicomnode.domain.model import Label
from dicomnode.encode.codes import ARTIFICIAL_INTELLIGENCE, SIDES, concept

Mask = NDArray[np.uint8] | NDArray[np.uint16]


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
    structures = [label for label in findings.segmentation.present() if not label.lesion] \
        if findings.segmentation is not None else []
    drawn = np.zeros(1, np.intp) if findings.lesion_zyx is None else np.bincount(findings.lesion_zyx.ravel())
    lesions = [found for found in sorted(findings.detections, key=lambda one: one.number)
               if found.number < len(drawn) and drawn[found.number]]
    pairs: list[tuple[Label, Detection | None]] = [*((label, None) for label in structures),
                                                   *((found.label, found) for found in lesions)]
    return tuple(Segment(number=number, label=label, lesion=lesion)
                 for number, (label, lesion) in enumerate(pairs, start=1))


def label_map(findings: ModelFindings, segments: tuple[Segment, ...]) -> Mask:
    """Return the segment number of each voxel, shape ``stack.shape_zyx``; where both lie, the lesion wins."""
    kind = np.uint8 if len(segments) <= np.iinfo(np.uint8).max else np.uint16
    numbers: Mask
    if findings.segmentation is None:
        numbers = np.zeros(findings.stack.shape_zyx, dtype=kind)
    else:
        numbers = _looked_up(findings.segmentation.mask_zyx,
                             {one.label.value: one.number for one in segments if one.lesion is None}, kind)
    lesions = {one.lesion.number: one.number for one in segments if one.lesion is not None}
    if findings.lesion_zyx is not None and lesions:
        for k, plane in enumerate(findings.lesion_zyx):
            if plane.any():
                drawn = _looked_up(plane, lesions, kind)
                np.copyto(numbers[k], drawn, where=drawn > 0)
    return numbers


def describe(segment: Segment, provenance: Provenance) -> hd.seg.SegmentDescription:
    """Return a segment's codes, colour, algorithm and, for a lesion, its tracking identifiers (PS3.3 C.8.20.2)."""
    label, lesion = segment.label, segment.lesion
    description = hd.seg.SegmentDescription(
        segment_number=segment.number,
        segment_label=(lesion.tracking_id if lesion else label.name)[:64],
        segmented_property_category=concept(label.category),
        segmented_property_type=concept(label.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=provenance.model_name, family=concept(ARTIFICIAL_INTELLIGENCE), version=provenance.model_version),
        tracking_uid=lesion.tracking_uid if lesion else None,
        tracking_id=lesion.tracking_id if lesion else None,
        anatomic_regions=[concept(label.region)] if label.region else None,
        display_color=hd.color.CIELabColor.from_rgb(*label.colour_rgb))
    if label.modifier:
        type_item = description.SegmentedPropertyTypeCodeSequence[0]
        type_item.SegmentedPropertyTypeModifierCodeSequence = [concept(label.modifier)]
    if lesion and label.region and lesion.side in SIDES:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [concept(SIDES[lesion.side])]
    return description


def _looked_up(values: NDArray[np.uint8] | NDArray[np.uint16], numbers: dict[int, int], kind: type[np.unsignedinteger]
               ) -> Mask:
    if kind is values.dtype.type and all(value == number for value, number in numbers.items()) \
            and int(values.max(initial=0)) <= len(numbers):
        return values.copy()
    table = np.zeros(int(values.max(initial=0)) + 1, dtype=kind)
    for value, number in numbers.items():
        if value < len(table):
            table[value] = number
    looked_up: Mask = table[values]
    return looked_up
