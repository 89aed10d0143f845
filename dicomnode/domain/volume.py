"""Image geometry in the patient frame: LPS millimetres (PS3.3 C.7.6.2.1.1).

Array axes are ``zyx`` = (slice, row, column). Affines map homogeneous *array* indices
``(slice, row, column, 1)`` to ``(L, P, S, 1)``: x toward the patient's left, y toward posterior,
z toward the head. A voxel index names the voxel's centre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from dicomnode.domain.dicom import InstanceRef, uid
from dicomnode.domain.slice_names import SliceNames, slice_names

Vector = NDArray[np.float64]

ORTHOGONAL_TOLERANCE: Final = 1e-3
"""Largest allowed |row · column| and deviation from unit length of direction cosines (dimensionless)."""
SAME_ORIENTATION_TOLERANCE: Final = 1e-3
"""Largest difference between direction cosines of slices of one stack (dimensionless)."""
REGULAR_FRACTION: Final = 1e-2
"""Slice distances count as equal when they differ by less than this fraction of their median."""


def _vector(values: Sequence[float] | Vector) -> Vector:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array


def lean_deg(step: Vector, normal: Vector) -> float:
    """Return the angle between a step and a normal of any length: rounded cosines are no unit vectors."""
    beside = float(np.linalg.norm(np.cross(step, normal)))
    return math.degrees(math.atan2(beside, float(step @ normal)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SlicePlane:
    """One plane of pixels: where it lies and which instance and frame carry it.

    Parameters
    ----------
    position_lps_mm:
        Centre of the first pixel transmitted, Image Position (Patient) (0020,0032).
    row_lps, column_lps:
        Image Orientation (Patient) (0020,0037): direction along a row (increasing column index)
        and along a column (increasing row index); unit vectors, orthogonal.
    pixel_spacing_mm:
        Pixel Spacing (0028,0030): distance between rows, distance between columns.
    thickness_mm:
        Slice Thickness (0018,0050), 0 if absent.
    frame, number:
        Frame number, 1-based, 1 for a single-frame instance; Instance Number (0020,0013), None if absent.
    """

    position_lps_mm: Vector
    row_lps: Vector
    column_lps: Vector
    pixel_spacing_mm: tuple[float, float]
    instance: InstanceRef
    frame: int = 1
    thickness_mm: float = 0.0
    number: int | None = None

    def __post_init__(self) -> None:
        """Refuse cosines that are no orthonormal pair, spacing that is not positive, and what is not finite."""
        for name in ("position_lps_mm", "row_lps", "column_lps"):
            object.__setattr__(self, name, _vector(getattr(self, name)))
        if self.position_lps_mm.shape != (3,) or not np.isfinite(self.position_lps_mm).all():
            msg = f"position_lps_mm = {self.position_lps_mm}: allowed are three finite numbers"
            raise ValueError(msg)
        lengths = abs(np.linalg.norm(self.row_lps) - 1), abs(np.linalg.norm(self.column_lps) - 1)
        off = np.array([*lengths, abs(self.row_lps @ self.column_lps)])
        if not (off <= ORTHOGONAL_TOLERANCE).all():
            msg = f"direction cosines {self.row_lps}, {self.column_lps} are not orthonormal (PS3.3 C.7.6.2.1.1)"
            raise ValueError(msg)
        if not all(math.isfinite(value) and value > 0 for value in self.pixel_spacing_mm):
            msg = f"pixel_spacing_mm = {self.pixel_spacing_mm}: allowed are finite values above 0"
            raise ValueError(msg)
        if not (math.isfinite(self.thickness_mm) and self.thickness_mm >= 0):
            msg = f"thickness_mm = {self.thickness_mm}: allowed are finite values, 0 if absent"
            raise ValueError(msg)

    @property
    def normal_lps(self) -> Vector:
        """Unit normal, row × column."""
        return np.cross(self.row_lps, self.column_lps)

    @property
    def along_normal_mm(self) -> float:
        """Where the plane lies along its own normal."""
        return float(self.position_lps_mm @ self.normal_lps)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SliceStack:
    """The true planes of a series, sorted along their common normal; same matrix, same orientation.

    ``planes[k]`` is slice ``k`` of every ``*_zyx`` array that belongs to the stack.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    planes: tuple[SlicePlane, ...]
    rows: int
    columns: int

    def __post_init__(self) -> None:
        """Refuse an empty or unsorted stack, or planes that are not parallel."""
        uid(self.study_uid)
        uid(self.series_uid)
        if not self.planes:
            msg = "a stack needs at least one plane"
            raise ValueError(msg)
        first = self.planes[0]
        for plane in self.planes:
            off = max(np.abs(plane.row_lps - first.row_lps).max(), np.abs(plane.column_lps - first.column_lps).max())
            if off > SAME_ORIENTATION_TOLERANCE:
                msg = f"planes are not parallel: direction cosines differ by {off:.4f}"
                raise ValueError(msg)
        if len(self.planes) > 1 and np.diff(self.along_normal_mm).min() <= 0:
            msg = "planes are not sorted along the normal, or two share one place"
            raise ValueError(msg)

    @property
    def normal_lps(self) -> Vector:
        """Unit normal of the first plane: row × column."""
        return self.planes[0].normal_lps

    @property
    def along_normal_mm(self) -> Vector:
        """Place of each plane along the common normal, increasing."""
        positions = np.stack([plane.position_lps_mm for plane in self.planes])
        return np.asarray(positions @ self.normal_lps, dtype=np.float64)

    @property
    def slice_names(self) -> SliceNames:
        """What people call the slices."""
        return slice_names((plane.frame, plane.number) for plane in self.planes)

    @property
    def gaps_mm(self) -> Vector:
        """Distances between neighbours along the normal, one fewer than planes."""
        return np.diff(self.along_normal_mm)

    @property
    def slice_spacing_mm(self) -> float:
        """Median distance between slices; the slice thickness, else 1, for a single slice."""
        if len(self.planes) > 1:
            return float(np.median(self.gaps_mm))
        return self.planes[0].thickness_mm or 1.0

    @property
    def is_regular(self) -> bool:
        """Whether one affine describes every plane within a hundredth of the spacing (no gap, no tilt)."""
        return self.position_error_mm <= REGULAR_FRACTION * self.slice_spacing_mm

    @property
    def position_error_mm(self) -> float:
        """Largest distance between a plane's position and where ``affine_lps_mm`` puts it."""
        indices = np.arange(len(self.planes))[:, None]
        expected = self.affine_lps_mm[:3, 3] + indices * self.affine_lps_mm[:3, 0]
        true = np.stack([plane.position_lps_mm for plane in self.planes])
        return float(np.linalg.norm(true - expected, axis=1).max())

    @property
    def tilt_deg(self) -> float:
        """Angle between the slice normal and the line from the first to the last position."""
        return lean_deg(self.planes[-1].position_lps_mm - self.planes[0].position_lps_mm, self.normal_lps)

    @property
    def affine_lps_mm(self) -> NDArray[np.float64]:
        """4×4: array index (slice, row, column, 1) → LPS millimetres.

        Slices run from the first to the last position in equal steps: exact for a regular stack,
        sheared like the stack for a tilted one.
        """
        first, last = self.planes[0], self.planes[-1]
        step = (last.position_lps_mm - first.position_lps_mm) / (len(self.planes) - 1) if len(self.planes) > 1 \
            else first.normal_lps * self.slice_spacing_mm
        affine = np.eye(4)
        affine[:3, 0] = step
        affine[:3, 1] = first.column_lps * first.pixel_spacing_mm[0]
        affine[:3, 2] = first.row_lps * first.pixel_spacing_mm[1]
        affine[:3, 3] = first.position_lps_mm
        return affine

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.planes), self.rows, self.columns

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel in millilitres, from the median slice distance."""
        row_mm, column_mm = self.planes[0].pixel_spacing_mm
        return row_mm * column_mm * self.slice_spacing_mm / 1000.0

    @property
    def slice_volumes_ml(self) -> Vector:
        """Volume of one voxel of each slice, from the true distances to its neighbours (half of each)."""
        row_mm, column_mm = self.planes[0].pixel_spacing_mm
        if len(self.planes) == 1:
            return _vector([self.voxel_ml])
        gaps = self.gaps_mm
        depth = np.empty(len(self.planes))
        depth[1:-1] = (gaps[:-1] + gaps[1:]) / 2
        depth[0], depth[-1] = gaps[0], gaps[-1]
        return np.asarray(depth * row_mm * column_mm / 1000.0)

    def to_lps_mm(self, index_zyx: Sequence[float] | Vector) -> Vector:
        """Map a fractional array index to patient millimetres by the true planes.

        Between two planes the position is interpolated; outside the stack it is extrapolated.
        """
        z, y, x = (float(value) for value in index_zyx)
        below = int(np.clip(np.floor(z), 0, max(0, len(self.planes) - 2)))
        origin = self.planes[below].position_lps_mm
        step = self.planes[below + 1].position_lps_mm - origin if len(self.planes) > 1 else self.affine_lps_mm[:3, 0]
        plane = self.planes[below]
        return np.asarray(origin + (z - below) * step + y * plane.pixel_spacing_mm[0] * plane.column_lps
                          + x * plane.pixel_spacing_mm[1] * plane.row_lps)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume:
    """A scalar image on the grid of a stack, in real-world values (HU for CT).

    Parameters
    ----------
    values_zyx:
        float32 or int16, shape ``stack.shape_zyx``.
    """

    values_zyx: NDArray[np.float32] | NDArray[np.int16]
    stack: SliceStack
    modality: str

    def __post_init__(self) -> None:
        """Refuse an array that is not on the stack's grid."""
        if self.values_zyx.shape != self.stack.shape_zyx:
            msg = f"values have shape {self.values_zyx.shape}, the stack {self.stack.shape_zyx}"
            raise ValueError(msg)
