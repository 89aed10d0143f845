"""Is a stack one that the model was validated for? No slice missing, uneven, leaning or too far apart."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.model import SpacingLimits
from dicomnode.domain.volume import SliceStack
from dicomnode.errors import GantryTilt, IrregularSpacing, MissingGeometry, MissingSlices, OutsideIntendedUse

ROUNDING_MM: Final = 0.05
"""What positions may deviate for being written with few digits, whatever the spacing."""
EVEN_FRACTION: Final = 0.02
"""A gap may pass a limit by this fraction of the usual one: what is even everywhere else."""
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
    off = np.where(_bridged(stack, limits), 0.0, np.abs(gaps - usual))
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


def _bridged(stack: SliceStack, limits: SpacingLimits) -> NDArray[np.bool_]:
    """Return which gaps are holes that the model file lets be interpolated over."""
    gaps = stack.gaps_mm
    if limits.max_gap is None:
        return np.zeros(gaps.shape, dtype=np.bool_)
    return (gaps >= HOLE_FRACTION * stack.slice_spacing_mm) & (gaps <= limits.max_gap + ROUNDING_MM)


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
    usual, in_plane = stack.slice_spacing_mm, max(stack.planes[0].pixel_spacing_mm)
    slack_mm = max(ROUNDING_MM, EVEN_FRACTION * usual)
    gaps = stack.gaps_mm[~_bridged(stack, limits)] if len(stack.planes) > 1 else np.array([usual])
    for value, low, high, what, slack in (
        (float(gaps.min(initial=usual)), limits.min_between_slices, None, "slices lie", slack_mm),
        (float(gaps.max(initial=usual)), None, limits.max_between_slices, "slices lie", slack_mm),
        (in_plane, None, limits.max_in_plane, "pixels lie", ROUNDING_MM),
    ):
        if (low is not None and value < low - slack) or (high is not None and value > high + slack):
            msg = f"{what} {value:.2f} mm apart; the model was validated for {low or 0:g} to {high or np.inf:g} mm"
            raise OutsideIntendedUse(msg)
