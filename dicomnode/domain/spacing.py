"""Do slices lie as a model was validated for? One rule for what the index knows and for what is read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.model import SpacingLimits
from dicomnode.domain.slice_names import SliceNames
from dicomnode.domain.volume import Vector, lean_deg
from dicomnode.errors import GantryTilt, IrregularSpacing, MissingSlices, OutsideIntendedUse, UnusableInput

ROUNDING_MM: Final = 0.05
"""What positions may deviate for being written with few digits, whatever the spacing."""
EVEN_FRACTION: Final = 0.02
"""A gap may pass a limit by this fraction of the usual one: what is even everywhere else."""
HOLE_FRACTION: Final = 1.5
"""A gap of this many median spacings or more is a hole where at least one slice is missing."""
TILT_ROUNDING_DEG: Final = 0.05
"""A stack that leans less than this is straight: positions are rounded."""

COUNTED: Final = SliceNames()
NO_VOLUME: Final = "a single slice without Slice Thickness (0018,0050) has no volume; send the series it belongs to"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Places:
    """Where the slices of a stack lie.

    Parameters
    ----------
    positions_lps_mm:
        (slice, 3), at least two, each farther along the normal than the one before.
    normal_lps:
        Of any length: rounded cosines are no unit vectors.
    in_plane_mm:
        The larger pixel spacing, None if unknown.
    """

    positions_lps_mm: NDArray[np.float64]
    normal_lps: Vector
    in_plane_mm: float | None = None
    names: SliceNames = COUNTED

    @property
    def along_mm(self) -> Vector:
        """Place of each slice along the normal."""
        return np.asarray(self.positions_lps_mm @ self.normal_lps, dtype=np.float64)

    @property
    def gaps_mm(self) -> Vector:
        """Distances between neighbours along the normal."""
        return np.diff(self.along_mm)

    @property
    def usual_mm(self) -> float:
        """The median distance."""
        return float(np.median(self.gaps_mm))


def fault(places: Places, limits: SpacingLimits) -> UnusableInput | None:
    """Return why slices are not as the limits want them: missing, uneven, leaning, beside one line, too far apart."""
    return (_hole(places, limits) or _lean(places, limits.tilt_deg) or _bend(places, limits.uneven)
            or too_far_apart(places.gaps_mm[~_bridged(places, limits)], places.usual_mm, places.in_plane_mm, limits))


def too_far_apart(gaps_mm: Vector, usual_mm: float, in_plane_mm: float | None,
                  limits: SpacingLimits) -> UnusableInput | None:
    """Return why the distances between slices, or between pixels, lie outside what the model was validated for."""
    slack_mm = max(ROUNDING_MM, EVEN_FRACTION * usual_mm)
    for value, low, high, what, slack in (
        (float(gaps_mm.min(initial=usual_mm)), limits.min_between_slices, None, "slices lie", slack_mm),
        (float(gaps_mm.max(initial=usual_mm)), None, limits.max_between_slices, "slices lie", slack_mm),
        (in_plane_mm or 0.0, None, limits.max_in_plane, "pixels lie", ROUNDING_MM),
    ):
        if (low is not None and value < low - slack) or (high is not None and value > high + slack):
            return OutsideIntendedUse(
                f"{what} {value:.2f} mm apart; the model was validated for {low or 0:g} to {high or np.inf:g} mm")
    return None


def _hole(places: Places, limits: SpacingLimits) -> UnusableInput | None:
    gaps, usual = places.gaps_mm, places.usual_mm
    allowed_mm = max(limits.uneven * usual, ROUNDING_MM)
    off = np.where(_bridged(places, limits), 0.0, np.abs(gaps - usual))
    worst = int(np.argmax(off))
    holes = (gaps >= HOLE_FRACTION * usual) & ((off > allowed_mm) | _too_wide(gaps, limits))
    if holes.any():
        widest = int(np.argmax(np.where(holes, gaps, 0.0)))
        bridged = "" if limits.max_gap is None else f"; the model file bridges gaps up to {limits.max_gap:g} mm"
        return MissingSlices(
            f"gap of {gaps[widest]:.1f} mm {places.names.after(widest)} where {usual:.1f} mm is the spacing "
            f"(ImagePositionPatient projected on the normal){bridged}; send the missing slices")
    if off[worst] <= allowed_mm:
        return None
    return IrregularSpacing(
        f"slices lie {gaps.min():.2f} to {gaps.max():.2f} mm apart, usually {usual:.2f} mm, "
        f"the oddest {places.names.after(worst)}; allowed is a deviation of {allowed_mm:.2f} mm")


def _too_wide(gaps_mm: Vector, limits: SpacingLimits) -> NDArray[np.bool_]:
    """Return which gaps are wider than what may be interpolated over, however uneven slices may lie."""
    if limits.max_gap is None:
        return np.zeros(gaps_mm.shape, dtype=np.bool_)
    return np.asarray(gaps_mm > limits.max_gap + ROUNDING_MM)


def _bridged(places: Places, limits: SpacingLimits) -> NDArray[np.bool_]:
    """Return which gaps are holes that the model file lets be interpolated over."""
    gaps = places.gaps_mm
    if limits.max_gap is None:
        return np.zeros(gaps.shape, dtype=np.bool_)
    return np.asarray((gaps >= HOLE_FRACTION * places.usual_mm) & ~_too_wide(gaps, limits))


def _lean(places: Places, tilt_deg: float) -> UnusableInput | None:
    leans = lean_deg(places.positions_lps_mm[-1] - places.positions_lps_mm[0], places.normal_lps)
    if leans <= tilt_deg + TILT_ROUNDING_DEG:
        return None
    return GantryTilt(f"the stack leans {leans:.1f}° from the slice normal (gantry tilt); "
                      f"the model was validated for at most {tilt_deg:g}°")


def _bend(places: Places, uneven: float) -> UnusableInput | None:
    """Refuse slices that do not lie on one line: shifted sideways within their plane."""
    positions, along = places.positions_lps_mm, places.along_mm
    share = ((along - along[0]) / (along[-1] - along[0]))[:, None]
    beside_mm = np.linalg.norm(positions - positions[0] - share * (positions[-1] - positions[0]), axis=1)
    allowed_mm = max(uneven * places.usual_mm, ROUNDING_MM)
    if beside_mm.max() <= allowed_mm:
        return None
    return IrregularSpacing(
        f"slices do not lie on one line: {places.names.one(int(beside_mm.argmax()))} lies {beside_mm.max():.2f} mm "
        f"beside it, allowed are {allowed_mm:.2f} mm")
