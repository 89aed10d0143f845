"""Is a stack one that the model was validated for? No slice missing, uneven, leaning or too far apart."""

from __future__ import annotations

from typing import Final

import numpy as np

from dicomnode.domain.model import SpacingLimits
from dicomnode.domain.volume import SliceStack
from dicomnode.errors import GantryTilt, IrregularSpacing, MissingGeometry, MissingSlices, OutsideIntendedUse

ROUNDING_MM: Final = 0.05
"""What positions may deviate for being written with few digits, whatever the spacing."""
HOLE_FRACTION: Final = 1.5
"""A gap of this many median spacings or more is a hole where at least one slice is missing."""
TILT_ROUNDING_DEG: Final = 0.05
"""A stack that leans less than this is straight: positions are rounded."""


def preflight(stack: SliceStack, limits: SpacingLimits) -> None:
    """Refuse a stack whose slices are missing, uneven, leaning or too far apart for the model.

    Raises
    ------
    UnusableInput
        ``GantryTilt``, ``MissingSlices``, ``IrregularSpacing``, or ``OutsideIntendedUse`` for even spacing
        outside ``limits``; ``MissingGeometry`` without a frame of reference, and for a single slice without
        Slice Thickness, which has no volume. Distances are along the normal; slices count from 1 along it.
    """
    if len(stack.planes) > 1:
        _refuse_holes(stack, limits)
        _refuse_tilt(stack, limits.tilt_deg)
        _refuse_bends(stack, limits.uneven)
    elif not stack.planes[0].thickness_mm:
        msg = "a single slice without Slice Thickness (0018,0050) has no volume; send the series it belongs to"
        raise MissingGeometry(msg)
    _refuse_spacing(stack, limits)
    if not stack.frame_of_reference_uid:
        msg = "FrameOfReferenceUID is absent: no result can be placed on these images (PS3.3 C.7.4.1)"
        raise MissingGeometry(msg)


def _refuse_holes(stack: SliceStack, limits: SpacingLimits) -> None:
    gaps, usual = stack.gaps_mm, stack.slice_spacing_mm
    allowed_mm = max(limits.uneven * usual, ROUNDING_MM)
    off = np.abs(gaps - usual)
    if limits.max_gap is not None:
        off[(gaps >= HOLE_FRACTION * usual) & (gaps <= limits.max_gap + ROUNDING_MM)] = 0.0
    worst = int(np.argmax(off))
    if off[worst] <= allowed_mm:
        return
    widest = int(np.argmax(np.where(off > allowed_mm, gaps, 0.0)))
    if gaps[widest] >= HOLE_FRACTION * usual:
        bridged = "" if limits.max_gap is None else f"; the model file bridges gaps up to {limits.max_gap:g} mm"
        msg = (
            f"gap of {gaps[widest]:.1f} mm after slice {widest + 1} where {usual:.1f} mm is the spacing "
            f"(ImagePositionPatient projected on the normal){bridged}; send the missing slices"
        )
        raise MissingSlices(msg)
    msg = (
        f"slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart, usually {usual:.2f} mm, "
        f"the oddest after slice {worst + 1}; allowed is a deviation of {allowed_mm:.2f} mm"
    )
    raise IrregularSpacing(msg)


def _refuse_tilt(stack: SliceStack, tilt_deg: float) -> None:
    if stack.tilt_deg > tilt_deg + TILT_ROUNDING_DEG:
        msg = (
            f"the stack leans {stack.tilt_deg:.1f}° from the slice normal (gantry tilt); "
            f"the model was validated for at most {tilt_deg:g}°"
        )
        raise GantryTilt(msg)


def _refuse_bends(stack: SliceStack, uneven: float) -> None:
    """Refuse planes that do not lie on one line: shifted sideways within their plane."""
    positions, along = np.stack([plane.position_lps_mm for plane in stack.planes]), stack.along_normal_mm
    share = ((along - along[0]) / (along[-1] - along[0]))[:, None]
    beside_mm = np.linalg.norm(positions - positions[0] - share * (positions[-1] - positions[0]), axis=1)
    allowed_mm = max(uneven * stack.slice_spacing_mm, ROUNDING_MM)
    if beside_mm.max() > allowed_mm:
        msg = (
            f"slices do not lie on one line: slice {int(beside_mm.argmax()) + 1} lies {beside_mm.max():.2f} mm "
            f"beside it, allowed are {allowed_mm:.2f} mm"
        )
        raise IrregularSpacing(msg)


def _refuse_spacing(stack: SliceStack, limits: SpacingLimits) -> None:
    between, in_plane = stack.slice_spacing_mm, max(stack.planes[0].pixel_spacing_mm)
    for value, low, high, what in (
        (between, limits.min_between_slices, limits.max_between_slices, "slices lie"),
        (in_plane, None, limits.max_in_plane, "pixels lie"),
    ):
        if (low is not None and value < low - ROUNDING_MM) or (high is not None and value > high + ROUNDING_MM):
            msg = f"{what} {value:.2f} mm apart; the model was validated for {low or 0:g} to {high or np.inf:g} mm"
            raise OutsideIntendedUse(msg)
