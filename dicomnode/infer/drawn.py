"""The mask of a model while it is measured: where each label lies, whether labels exclude one another or overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode.domain.findings import Mask, marked, values_present
from dicomnode.domain.model import Label

Box = tuple[slice, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A mask that may be changed, and the box of each label in it.

    Parameters
    ----------
    mask_zyx:
        As ``domain.findings.Segmentation``; ``erase`` writes to it.
    boxes:
        Label value → the smallest box that holds it; labels without a voxel are absent.
    """

    mask_zyx: Mask
    overlapping: bool
    boxes: Mapping[int, Box]

    @staticmethod
    def of(mask_zyx: Mask, *, overlapping: bool = False) -> Drawn:
        """Return the mask with the box of each of its labels."""
        if overlapping:
            boxes = {value: ndimage.find_objects(marked(mask_zyx, value, overlapping=True).view(np.uint8))[0]
                     for value in sorted(values_present(mask_zyx, overlapping=True))}
        else:
            boxes = {value: box for value, box in enumerate(ndimage.find_objects(mask_zyx), start=1) if box is not None}
        return Drawn(mask_zyx=mask_zyx, overlapping=overlapping, boxes=boxes)

    def inside(self, label: Label) -> NDArray[np.bool_]:
        """Return which voxels of the label's box carry the label."""
        return marked(self.mask_zyx[self.boxes[label.value]], label.value, overlapping=self.overlapping)

    def erase(self, label: Label, box: Box, voxels: NDArray[np.bool_]) -> None:
        """Take a label off some voxels of a box; other labels of the same voxels stay."""
        if self.overlapping:
            kept = np.iinfo(self.mask_zyx.dtype).max ^ (1 << (label.value - 1))
            self.mask_zyx[box][voxels] &= self.mask_zyx.dtype.type(kept)
        else:
            self.mask_zyx[box][voxels] = 0
