"""One finding for one lesion, however many models of a route found it.

What two models found is the same where they mean the same type of lesion in the same Frame of Reference, be it on one
series or on two, and the middle of one lies inside the other, or their boxes overlap by more than a tenth. Nearest
pairs first, each finding in one pair.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.findings import Detection, ModelFindings, Provenance, Segmentation, listed
from dicomnode.domain.model import Label
from dicomnode.domain.volume import Volume
from dicomnode.infer.boxes import overlaps
from dicomnode.infer.elsewhere import box_elsewhere, place_elsewhere
from dicomnode.infer.midline import SIDES, left_right_axis, middle_mm, side, undisputed

SAME_IOU: Final = 0.1
"""Boxes that overlap by more than this (intersection over union) mark the same lesion."""
AROUND_FRACTION: Final = 0.1
"""A structure that fills less than this of a finding's surroundings does not say where it lies."""


def merged(findings: Sequence[ModelFindings], volumes: Mapping[str, Volume]) -> tuple[ModelFindings, ...]:
    """Return the findings of a route's models, those of one lesion under one Tracking UID.

    A finding with a mask keeps its size and gets the probability of the detector; that of the detector stays in its
    own model's findings, with the other's Tracking UID. Findings are numbered anew, largest first, so that no two
    share a name; the side of what only a detector found is told with the structures that the others found.

    Parameters
    ----------
    volumes:
        By SeriesInstanceUID, of the stacks.
    """
    if len(findings) < 2:  # noqa: PLR2004 - one model has nothing to share
        return tuple(findings)
    together = [_placed(one, findings, volumes) for one in findings]
    order = sorted(range(len(together)), key=lambda index: together[index].lesion_zyx is None)
    for place, index in enumerate(order):
        for other in order[:place]:
            alone = {found.tracking_uid for found in findings[index].detections}
            together[other], together[index] = _paired(together[other], together[index], alone)
    return _numbered(together)


def _paired(first: ModelFindings, second: ModelFindings, alone: AbstractSet[str]
            ) -> tuple[ModelFindings, ModelFindings]:
    """Give what both found the Tracking UID of the first and the probability of either.

    Parameters
    ----------
    alone:
        Tracking UIDs of the second model's own making: a finding with another one is paired already.
    """
    if first.stack.frame_of_reference_uid != second.stack.frame_of_reference_uid:
        return first, second
    ours, theirs = list(first.detections), list(second.detections)
    for a, b in _same(first, second, alone):
        ours[a], theirs[b] = _joined(ours[a], theirs[b], second.provenance)
    return replace(first, detections=tuple(ours)), replace(second, detections=tuple(theirs))


def _joined(one: Detection, other: Detection, by: Provenance) -> tuple[Detection, Detection]:
    shared = replace(other, tracking_uid=one.tracking_uid, tracking_id=one.tracking_id)
    if one.probability is None and other.probability is not None:
        return replace(one, probability=other.probability, probability_by=by), shared
    return one, shared


def _same(first: ModelFindings, second: ModelFindings, alone: AbstractSet[str]) -> Iterator[tuple[int, int]]:
    """Yield pairs of indices that mark one lesion, nearest first, each index and each Tracking UID once."""
    known = {other.tracking_uid for other in second.detections}
    candidates = sorted(
        (float(np.linalg.norm(np.subtract(one.centre_lps_mm, other.centre_lps_mm))), a, b)
        for a, one in enumerate(first.detections) for b, other in enumerate(second.detections)
        if other.tracking_uid in alone and one.tracking_uid not in known
        and _type(one.label) == _type(other.label) and _touch(first, one, second, other))
    taken_first, taken_second = set(), set()
    for _, a, b in candidates:
        if a not in taken_first and b not in taken_second:
            taken_first.add(a)
            taken_second.add(b)
            yield a, b


def _touch(first: ModelFindings, one: Detection, second: ModelFindings, other: Detection) -> bool:
    if one.box_zyx is None or other.box_zyx is None:
        return False
    there, here = (place_elsewhere(_middle(one), first.stack, second.stack),
                   place_elsewhere(_middle(other), second.stack, first.stack))
    if _holds(first, one, here) or _holds(second, other, there):
        return True
    boxes = np.array([one.box_zyx]), np.array([box_elsewhere(other.box_zyx, second.stack, first.stack)])
    return float(overlaps(*boxes)[0, 0]) > SAME_IOU


def _holds(findings: ModelFindings, found: Detection, place_zyx: NDArray[np.float64]) -> bool:
    """Whether a place lies in a finding: in its voxels where it has any, else in its box."""
    if findings.lesion_zyx is not None:
        voxel, last = np.floor(place_zyx + 0.5), np.array(findings.stack.shape_zyx) - 1
        index = tuple(np.clip(voxel, 0, last).astype(int))
        beside = (voxel < -1) | (voxel > last + 1)
        layers = () if beside.any() else (findings.lesion_zyx, *findings.lesion_layers)
        return any(int(layer[index]) == found.number for layer in layers)
    edges = np.array(found.box_zyx)
    return bool((edges[:3] <= place_zyx).all() and (place_zyx <= edges[3:]).all())


def _middle(found: Detection) -> NDArray[np.float64]:
    edges = np.array(found.box_zyx)
    return np.asarray((edges[:3] + edges[3:]) / 2, dtype=np.float64)


def _type(label: Label) -> tuple[str, str]:
    return label.type.scheme, label.type.value


def _numbered(findings: Sequence[ModelFindings]) -> tuple[ModelFindings, ...]:
    """Name findings by size over all models, ``Nodule 1`` the largest."""
    counts: Counter[str] = Counter()
    names: dict[str, str] = {}
    for _, found in listed(findings):
        counts[found.label.name] += 1
        names[found.tracking_uid] = f"{found.label.name} {counts[found.label.name]}"
    return tuple(
        replace(one, detections=tuple(replace(found, tracking_id=names[found.tracking_uid])
                                      for found in one.detections))
        for one in findings)


def _placed(one: ModelFindings, findings: Sequence[ModelFindings], volumes: Mapping[str, Volume]) -> ModelFindings:
    """Tell side and site of findings by the structures that any model found on the same series."""
    drawn = [other.segmentation for other in findings
             if other.segmentation is not None and other.stack.series_uid == one.stack.series_uid and other.organs]
    if not drawn or not one.detections:
        return one
    detections: Sequence[Detection] = one.detections
    if one.segmentation is None:
        volume = volumes[one.stack.series_uid]
        middle = middle_mm(volume, np.sum([_profile(mask) for mask in drawn], axis=0))
        detections = [replace(found, side=side(found.centre_lps_mm[0], middle, found.label.modifier))
                      for found in detections]
    return replace(one, detections=tuple(_sited(found, _around(found, drawn)) for found in detections))


def _profile(segmentation: Segmentation) -> NDArray[np.int64]:
    """Return how many voxels of structures lie at each index from right to left."""
    axis = left_right_axis(segmentation.stack)
    across = tuple(other for other in range(3) if other != axis)
    organs = [label for label in segmentation.labels if not label.lesion]
    if segmentation.overlapping:
        each = [segmentation.voxels(label).sum(axis=across) for label in organs]
        return np.asarray(np.sum(each, axis=0), dtype=np.int64)
    is_organ = np.zeros(int(np.iinfo(segmentation.mask_zyx.dtype).max) + 1, dtype=bool)
    is_organ[[label.value for label in organs]] = True
    return np.asarray(is_organ[segmentation.mask_zyx].sum(axis=across), dtype=np.int64)


def _sited(found: Detection, around: Label | None) -> Detection:
    """Say which structure the finding lies in, and its side where the structure has one."""
    if around is None:
        return found
    told = SIDES.get(around.modifier.value, found.side) if around.modifier else found.side
    return replace(found, site=around.type, side=undisputed(told, found.label.modifier))


def _around(found: Detection, drawn: Sequence[Segmentation]) -> Label | None:
    """Return the structure that fills most of the finding's box and one voxel around it, at least a tenth."""
    if found.box_zyx is None:
        return None
    edges = np.array(found.box_zyx)
    low, high = np.floor(edges[:3]).astype(int), np.ceil(edges[3:]).astype(int) + 1
    part = tuple(slice(max(0, start), stop) for start, stop in zip(low, high, strict=True))
    sizes = [(float(segmentation.voxels_in(label, part).mean()), label)
             for segmentation in drawn for label in segmentation.labels if not label.lesion]
    most, label = max(sizes, key=lambda pair: pair[0])
    return label if most >= AROUND_FRACTION else None
