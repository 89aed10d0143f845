"""Masks as they should be, and as highdicom reads them from segmentations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import highdicom as hd
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from dicomnode.domain.findings import ModelFindings
from tests.conformance.cases import Result

Masks = dict[int, NDArray[np.bool_]]
"""Segment number → voxels, in the shape of the stack."""


def segmentations(result: Result) -> list[tuple[Path, ModelFindings, Masks]]:
    """Return each segmentation's file, the findings that it shows, and what its segments should hold."""
    found = []
    for one, path in zip(result.objects, result.paths, strict=True):
        if one.kind in {"SEG", "LABELMAP"}:
            header = dcmread(path, stop_before_pixels=True)
            items = [item for item in header.SegmentSequence if item.SegmentNumber > 0]
            model = items[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName
            owner = next(found for found in result.findings if found.provenance.model_name == model)
            found.append((path, owner, {int(item.SegmentNumber): _voxels_of(item, owner) for item in items}))
    return found


def _voxels_of(item: Dataset, findings: ModelFindings) -> NDArray[np.bool_]:
    if item.get("TrackingUID"):
        number = next(one.number for one in findings.detections if one.tracking_uid == item.TrackingUID)
        return np.asarray(findings.lesion_zyx == number)
    assert findings.segmentation is not None
    label = next(one for one in findings.segmentation.labels if one.name == item.SegmentLabel)
    return findings.segmentation.voxels(label)


def drawn_on_sources(path: Path, findings: ModelFindings, expected: Mapping[int, object]) -> Masks:
    """Return what highdicom reads frame by frame, each put on the slice of the source that it names."""
    planes = {(plane.instance.sop_instance_uid, plane.frame): k for k, plane in enumerate(findings.stack.planes)}
    read = hd.seg.segread(path)
    drawn = {number: np.zeros(findings.stack.shape_zyx, bool) for number in expected}
    for index, group in enumerate(read.PerFrameFunctionalGroupsSequence, start=1):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        k = planes[source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber") or 1)]
        stored = read.get_stored_frame(index)
        identified = group.get("SegmentIdentificationSequence")
        own = [int(identified[0].ReferencedSegmentNumber)] if identified and read.SegmentationType == "BINARY" \
            else list(expected)
        for number in own:
            drawn[number][k] |= (stored > 0) if read.SegmentationType == "BINARY" else (stored == number)
    return drawn
