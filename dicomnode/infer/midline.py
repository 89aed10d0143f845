"""Where a patient's middle from left to right lies, told only where the picture leaves no doubt.

A wrong side is worse than none: an organ that is missing, collapsed or outside the field of view must not move
the middle. So the middle is that of the body's outline where there is air on both sides of it; only a pair of
structures that shows both sides by itself may stand in for it.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicomnode.domain.dicom import Code
from dicomnode.domain.volume import SliceStack, Volume

MIDLINE_MM: Final = 12.0
"""A lesion nearer to the midline than this has no side."""
ORGANS_OFF_MM: Final = 25.0
"""Structures whose middle lies further from the body's than this do not show both sides of the patient."""
AIR_BELOW_HU: Final = -500
PAIR_MM: Final = 70.0
"""The thickest places of two lungs in a grown chest lie further apart than this; two within one lung do not."""
VALLEY_FRACTION: Final = 0.5
"""Between the parts of a pair, this of the smaller part's greatest section is missing."""
ALIKE_FRACTION: Final = 0.4
"""The smaller part of a pair has at least this of the larger one's greatest section."""
SMOOTH_MM: Final = 10.0
STRAY_FRACTION: Final = 0.03
"""At either end, this share of the structures may be strays that a network marked outside the patient."""
COARSE_MM: Final = 4.0
"""The outline is looked for on about every fourth millimetre."""
SIDES: Final = {"7771000": "left", "24028007": "right"}
"""Laterality modifiers of labels (SNOMED CT, CID 244)."""
SHEET: Final = np.ones((1, 3, 3), dtype=bool)
"""What is thinner in a slice than three coarse pixels is a couch or a blanket, and no body."""


def middle_mm(volume: Volume, organ_profile: NDArray[np.int64]) -> float | None:
    """Return the LPS x of the patient's middle; None where it is in doubt.

    Where there is air on both sides of the body, it is the body's middle, unless the middle of the structures
    lies more than 25 mm from it. Where the picture cuts the body off, it is the valley between a pair of structures,
    such as two lungs, that shows both sides of the patient by itself.

    Parameters
    ----------
    organ_profile:
        How many voxels of measured structures lie at each index along ``left_right_axis``.
    """
    stack = volume.stack
    axis = left_right_axis(stack)
    body = _body_middle(volume, axis)
    total = int(organ_profile.sum())
    if not total:
        return None if body is None else _x_mm(stack, axis, body)
    if body is None:
        valley = _valley(organ_profile, abs(_x_mm(stack, axis, 1.0) - _x_mm(stack, axis, 0.0)))
        return None if valley is None else _x_mm(stack, axis, valley)
    ends = np.searchsorted(np.cumsum(organ_profile), [total * STRAY_FRACTION, total * (1 - STRAY_FRACTION)])
    organs_mm = _x_mm(stack, axis, float(ends.mean()))
    body_mm = _x_mm(stack, axis, body)
    return body_mm if abs(organs_mm - body_mm) <= ORGANS_OFF_MM else None


def left_right_axis(stack: SliceStack) -> int:
    """Return the array axis that runs most from right to left."""
    affine = stack.affine_lps_mm
    return int(np.abs(affine[0, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax())


def side(x_lps_mm: float, middle_mm: float | None, modifier: Code | None = None) -> str:
    """Return the patient's side, '' where it is in doubt: LPS x grows toward the left.

    Parameters
    ----------
    modifier:
        Of the finding's label: what it says where the place does not; where it names the other side, that is in doubt.
    """
    if middle_mm is None or abs(x_lps_mm - middle_mm) < MIDLINE_MM:
        return SIDES.get(modifier.value, "") if modifier else ""
    return undisputed("left" if x_lps_mm > middle_mm else "right", modifier)


def undisputed(told: str, modifier: Code | None) -> str:
    """Return a side, '' where the modifier of the finding's label names the other one."""
    named = SIDES.get(modifier.value, told) if modifier else told
    return told if named == told else ""


def _x_mm(stack: SliceStack, axis: int, index: float) -> float:
    centre = (np.array(stack.shape_zyx) - 1) / 2
    return float(stack.to_lps_mm([index if i == axis else centre[i] for i in range(3)])[0])


def _body_middle(volume: Volume, axis: int) -> float | None:
    """Return the index of the body's middle: the median over the slices in which it reaches no edge."""
    steps = _coarse_steps(volume.stack)
    body = _body(volume, steps)
    if body is None:
        return None
    hit: NDArray[np.bool_] = np.any(body, axis=3 - axis) if axis else np.any(body, axis=(1, 2))[None]
    hit = hit[hit.any(axis=1)]
    clear = hit[~(hit[:, 0] | hit[:, -1])]
    if 2 * len(clear) <= len(hit):
        return None
    first, last = clear.argmax(axis=1), clear.shape[1] - 1 - clear[:, ::-1].argmax(axis=1)
    return float(np.median(first + last)) / 2 * steps[axis]


def _valley(profile: NDArray[np.int64], pixel_mm: float) -> float | None:
    """Return the index between the two parts of a pair; None where the structures are no such pair.

    What the network wrongly marks at the picture's edges is low beside a lung, and moves no valley.
    """
    width = max(1, round(SMOOTH_MM / pixel_mm))
    smooth = np.convolve(profile, np.full(width, 1 / width), "same")
    lower_peak = np.minimum(np.maximum.accumulate(smooth), np.maximum.accumulate(smooth[::-1])[::-1])
    depth = lower_peak - smooth
    deepest = np.flatnonzero(depth >= depth.max() * (1 - 1e-9))
    place = int(deepest[len(deepest) // 2])
    apart_mm = (place + int(smooth[place:].argmax()) - int(smooth[: place + 1].argmax())) * pixel_mm
    deep = depth[place] > VALLEY_FRACTION * lower_peak[place]
    alike = lower_peak[place] > ALIKE_FRACTION * smooth.max()
    return float(deepest.mean()) if deep and alike and apart_mm >= PAIR_MM else None


def _coarse_steps(stack: SliceStack) -> tuple[int, int, int]:
    row_mm, column_mm = stack.planes[0].pixel_spacing_mm
    spacings = (stack.slice_spacing_mm, row_mm, column_mm)
    z, y, x = (max(1, int(COARSE_MM // mm)) for mm in spacings)
    return z, y, x


def _body(volume: Volume, steps: tuple[int, int, int]) -> NDArray[np.bool_] | None:
    """Return the largest thing that is no air, lungs filled and couch left out, on the coarse grid."""
    values: NDArray[Any] = volume.values_zyx[tuple(slice(None, None, step) for step in steps)]
    least = AIR_BELOW_HU if volume.modality == "CT" else float(values.mean())
    solid = np.stack([ndimage.binary_fill_holes(plane) for plane in values > least])
    numbers, count = ndimage.label(ndimage.binary_opening(solid, structure=SHEET))
    if not count:
        return None
    largest = int(np.bincount(numbers.ravel())[1:].argmax()) + 1
    return np.asarray(numbers == largest)
