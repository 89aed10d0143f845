"""The truth of one case: a label map or boxes from everything that was marked on its images."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode.domain.volume import SliceStack
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import Box, Structure
from dicomnode.read.marks import boxes_of, structures_of
from dicomnode.read.onto import index_zyx
from dicomnode.train.dataset.gather_labels import Labels
from dicomnode.train.dataset.gather_match import Mark

SAME_LESION: Final = 0.5
"""Two boxes of one label that share this much of their union are one lesion."""
MOST_NOTES: Final = 5
"""Pairs of overlapping labels that are named one by one."""


@dataclass(slots=True, kw_only=True)
class Truth:
    """What is known about one case.

    Parameters
    ----------
    label_zyx:
        uint16; None for boxes.
    boxes:
        Each with the place of its label among the data set's.
    notes:
        What a person should know: overlaps, slices without contours.
    refused:
        File and reason for each annotation that could not be used.
    """

    label_zyx: NDArray[np.uint16] | None = None
    boxes: list[tuple[Box, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    refused: list[tuple[Mark, str]] = field(default_factory=list)


def label_map(marks: Sequence[Mark], stack: SliceStack, labels: Labels) -> Truth:
    """Return the label map of everything that was asked for; where two labels meet, the higher value stays."""
    truth, drawn = Truth(), np.zeros(stack.shape_zyx, np.uint16)
    over: dict[str, int] = {}
    for structure in _structures(marks, stack, truth, labels):
        label = labels.of(structure)
        if label is None:
            continue
        truth.notes += [f"{label.name}: {note}" for note in structure.notes]
        counts = np.bincount(drawn[structure.mask_zyx])
        for other in np.flatnonzero(counts):
            if other and other != label.value:
                names = " and ".join(one.name for one in labels.found if one.value in {other, label.value})
                over[names] = over.get(names, 0) + int(counts[other])
        np.maximum(drawn, np.uint16(label.value), out=drawn, where=structure.mask_zyx)
    truth.notes += [f"{count} voxels have two labels ({names}): the higher value stays"
                    for names, count in sorted(over.items(), key=lambda pair: -pair[1])[:MOST_NOTES]]
    if len(over) > MOST_NOTES:
        truth.notes.append(f"{len(over) - MOST_NOTES} more pairs of labels share voxels")
    truth.label_zyx = drawn
    return truth


def boxes(marks: Sequence[Mark], tabled: Sequence[Box], stack: SliceStack, labels: Labels) -> Truth:
    """Return the boxes of everything that was asked for.

    Reports and tables say where findings are; a segment with the same tracking UID says it to the voxel and replaces
    the report's box. Where there is neither report nor table, each component of a marked structure is a finding.
    """
    truth = Truth()
    stated = [*tabled, *_reported(marks, stack, truth)]
    traced: dict[str, Box] = {}
    components: list[tuple[Box, int]] = []
    known = {box.tracking_uid for box in stated if box.tracking_uid}
    for structure in _structures(marks, stack, truth, labels):
        label = None if structure.tracking_uid in known else labels.of(structure)
        if structure.tracking_uid in known or (label and structure.tracking_uid):
            if structure.mask_zyx.any():
                traced[structure.tracking_uid] = _bounding(_extent(structure.mask_zyx), structure, stack)
        elif label and not stated:
            components += [(box, labels.index(label)) for box in _components(structure, stack)]
    listed = [traced.get(box.tracking_uid, box) for box in stated]
    listed += [box for uid, box in traced.items() if uid not in known]
    truth.boxes = [(box, labels.index(label)) for box in listed if (label := labels.of(box)) is not None]
    _refuse_outside(truth.boxes, stack)
    truth.boxes = _distinct(truth.boxes + components, truth)
    return truth


def _refuse_outside(found: Sequence[tuple[Box, int]], stack: SliceStack) -> None:
    """Refuse findings whose middle lies beside the images: nobody could learn or find them there."""
    for box, _ in found:
        index = index_zyx(box.centre_lps_mm[None], stack)[0]
        if not ((index > -1) & (index < np.array(stack.shape_zyx))).all():
            raise UnusableAnnotation(
                f"a finding at {np.round(box.centre_lps_mm, 1).tolist()} mm lies outside the images: are its "
                "coordinates LPS, and are all slices of the series there?")


def _distinct(found: Sequence[tuple[Box, int]], truth: Truth) -> list[tuple[Box, int]]:
    """Return each lesion once: two readers, or a result and the one that replaced it, mark the same place."""
    kept: list[tuple[Box, int]] = []
    for box, place in found:
        if not any(place == other and _shared(box, one) >= SAME_LESION for one, other in kept):
            kept.append((box, place))
    twice = len(found) - len(kept)
    if twice:
        words = "findings were marked twice and count" if twice > 1 else "finding was marked twice and counts"
        truth.notes.append(f"{twice} {words} once")
    return kept


def _shared(one: Box, other: Box) -> float:
    """Return intersection over union of two boxes."""
    low = np.maximum(one.centre_lps_mm - one.size_lps_mm / 2, other.centre_lps_mm - other.size_lps_mm / 2)
    high = np.minimum(one.centre_lps_mm + one.size_lps_mm / 2, other.centre_lps_mm + other.size_lps_mm / 2)
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / (float(np.prod(one.size_lps_mm)) + float(np.prod(other.size_lps_mm)) - both)


def _structures(marks: Sequence[Mark], stack: SliceStack, truth: Truth, labels: Labels) -> Iterator[Structure]:
    """Yield what each file marks; a file that cannot be used is written down, the others still count.

    Raises
    ------
    UnusableAnnotation
        At the end, if two masks without names hold one value, and the value decides what it means.
    """
    holding, decided = Counter[int](), set[int]()
    for mark in marks:
        try:
            for structure in structures_of(mark.path, mark.kind, stack):
                one = structure if structure.name else replace(structure, file_names=mark.names)
                if one.file_names:
                    holding[one.number] += 1
                    decided |= {one.number} if labels.by_value(one) else set()
                yield one
        except UnusableAnnotation as error:
            truth.refused.append((mark, error.reason))
    twice = [number for number in sorted(decided) if holding[number] > 1]
    if twice:
        raise UnusableAnnotation(f"the value {twice[0]} stands in {holding[twice[0]]} masks without names: say what "
                                 "each is by the name of its file, as in --label 'Liver=1:liver*' --label "
                                 "'Spleen=2:spleen*'")


def _reported(marks: Sequence[Mark], stack: SliceStack, truth: Truth) -> list[Box]:
    found: list[Box] = []
    for mark in marks:
        try:
            found += boxes_of(mark.path, mark.kind, stack)
        except UnusableAnnotation as error:
            truth.refused.append((mark, error.reason))
    return _once(found)


def _once(found: Sequence[Box]) -> list[Box]:
    """Return each finding once: a report comes in several forms (Comprehensive, Comprehensive 3D) of one content."""
    kept: list[Box] = []
    for box in found:
        twin = any(box.tracking_uid and box.tracking_uid == one.tracking_uid for one in kept)
        if not twin:
            kept.append(box)
    return kept


def _components(structure: Structure, stack: SliceStack) -> list[Box]:
    """Return a box for each connected component; voxels that touch by a corner are connected."""
    numbered, _ = ndimage.label(structure.mask_zyx, structure=np.ones((3, 3, 3)))
    return [_bounding([(one.start, one.stop - 1) for one in place], structure, stack)
            for place in ndimage.find_objects(numbered)]


def _extent(mask_zyx: NDArray[np.bool_]) -> list[tuple[int, int]]:
    ends = (np.flatnonzero(mask_zyx.any(axis=tuple({0, 1, 2} - {axis})))[[0, -1]] for axis in range(3))
    return [(int(low), int(high)) for low, high in ends]


def _bounding(extent: Sequence[tuple[int, int]], structure: Structure, stack: SliceStack) -> Box:
    """Return the box round the outer voxel edges of an extent of indices, along the patient's axes."""
    corners = np.array([stack.to_lps_mm(index) for index in itertools.product(
        *((low - 0.5, high + 0.5) for low, high in extent))])
    low, high = corners.min(axis=0), corners.max(axis=0)
    return Box(centre_lps_mm=(low + high) / 2, size_lps_mm=high - low, name=structure.name, type=structure.type,
               tracking_uid=structure.tracking_uid)
