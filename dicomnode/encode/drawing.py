"""What is drawn where: the voxels of segments, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.findings import Mask, ModelFindings
from dicomnode.encode.segments import Segment, drawn_on, label_map


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """The segments of some findings and their voxels.

    Parameters
    ----------
    numbers_zyx:
        The segment number of each voxel; None where segments may share voxels.
    present:
        For each slice of the stack the numbers of the segments that have voxels there.
    """

    findings: ModelFindings
    segments: tuple[Segment, ...]
    numbers_zyx: Mask | None
    present: tuple[frozenset[int], ...]

    def voxels(self, segment: Segment, k: int) -> NDArray[np.bool_]:
        """Return which pixels of slice ``k`` belong to a segment."""
        if self.numbers_zyx is None:
            return drawn_on(self.findings, segment, k)
        return np.asarray(self.numbers_zyx[k] == segment.number)

    def slices(self, segments: Sequence[Segment]) -> list[int]:
        """Return the slices on which any of the segments is drawn."""
        numbers = {one.number for one in segments}
        return [k for k, there in enumerate(self.present) if there & numbers]

    def overlap(self, segments: Sequence[Segment]) -> bool:
        """Whether any two of the segments share a voxel."""
        if self.numbers_zyx is not None:
            return False
        layers = ([self.voxels(one, k) for one in segments if one.number in there]
                  for k, there in enumerate(self.present))
        return any(len(drawn) > 1 and bool((np.sum(drawn, axis=0) > 1).any()) for drawn in layers)


def drawing_of(findings: ModelFindings, segments: tuple[Segment, ...]) -> Drawing:
    """Return what is drawn of the segments, as one label map unless they may share voxels."""
    if (findings.segmentation is not None and findings.segmentation.overlapping) or findings.lesion_layers:
        present = [frozenset(one.number for one in segments if drawn_on(findings, one, k).any())
                   for k in range(len(findings.stack.planes))]
        return Drawing(findings=findings, segments=segments, numbers_zyx=None, present=tuple(present))
    numbers_zyx = label_map(findings, segments)
    return Drawing(findings=findings, segments=segments, numbers_zyx=numbers_zyx,
                   present=tuple(_numbers_on(plane) for plane in numbers_zyx))


def _numbers_on(numbers_yx: Mask) -> frozenset[int]:
    rows = np.flatnonzero(numbers_yx.any(axis=1))
    if not rows.size:
        return frozenset()
    drawn = numbers_yx[rows[0]: rows[-1] + 1]  # counting is slow: not where nothing is
    return frozenset(np.flatnonzero(np.bincount(drawn.ravel())).tolist()) - {0}
