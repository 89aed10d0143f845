"""Is a stack one that the model was validated for? No slice missing, uneven, leaning or too far apart."""

from __future__ import annotations

import numpy as np

from dicomnode.domain.model import SpacingLimits
from dicomnode.domain.spacing import NO_VOLUME, Places, fault, too_far_apart
from dicomnode.domain.volume import SliceStack
from dicomnode.errors import MissingGeometry, UnusableInput


def preflight(stack: SliceStack, limits: SpacingLimits) -> None:
    """Refuse a stack whose slices are missing, uneven, leaning or too far apart for the model.

    Raises
    ------
    UnusableInput
        ``GantryTilt``, ``MissingSlices``, ``IrregularSpacing``, or ``OutsideIntendedUse`` for even spacing
        outside ``limits``; ``MissingGeometry`` without a frame of reference, and for a single slice without
        Slice Thickness, which has no volume. Distances are along the normal; slices count from 1 along it.
    """
    found = _fault(stack, limits)
    if found is not None:
        raise found
    if not stack.frame_of_reference_uid:
        msg = "FrameOfReferenceUID is absent: no result can be placed on these images (PS3.3 C.7.4.1)"
        raise MissingGeometry(msg)


def _fault(stack: SliceStack, limits: SpacingLimits) -> UnusableInput | None:
    in_plane_mm = max(stack.planes[0].pixel_spacing_mm)
    if len(stack.planes) > 1:
        positions = np.stack([plane.position_lps_mm for plane in stack.planes])
        return fault(Places(positions_lps_mm=positions, normal_lps=stack.normal_lps, in_plane_mm=in_plane_mm,
                            names=stack.slice_names), limits)
    if not stack.planes[0].thickness_mm:
        return MissingGeometry(NO_VOLUME)
    usual_mm = stack.slice_spacing_mm
    return too_far_apart(np.array([usual_mm]), usual_mm, in_plane_mm, limits)
