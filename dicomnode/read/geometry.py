"""Image headers become one sorted stack of planes; what cannot be one stack is refused, never guessed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Final

import numpy as np
from pydicom import Dataset

from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.model import SPLITTERS
from dicomnode.domain.slice_names import slice_names
from dicomnode.domain.volume import SAME_ORIENTATION_TOLERANCE, SlicePlane, SliceStack
from dicomnode.errors import (
    DuplicatePositions,
    MissingGeometry,
    MixedFrameOfReference,
    MixedMatrix,
    MixedOrientation,
    MixedPixelSpacing,
    NoSuitableSeries,
    UnusableInput,
)
from dicomnode.read.frames import frame_count, frame_numbers, is_multiframe
from dicomnode.read.phases import Frame, frames_of, values_of
from dicomnode.read.values import texts, whole

SAME_PLACE_MM: Final = 0.01
"""Planes nearer than this along the normal claim one place; scanners round positions to about 0.001 mm."""
SAME_SPACING_FRACTION: Final = 1e-4
"""Pixel spacings count as equal when they differ by less than this fraction: 0.05 mm over 512 pixels of 1 mm."""


def planes_of(headers: Sequence[Dataset], frames: Sequence[Frame] = ()) -> SliceStack:
    """Sort every frame of a series by its position projected on the common normal (PS3.3 C.7.6.2.1.1).

    Parameters
    ----------
    headers:
        Single-frame images, Enhanced multi-frame images, or both, of one series, in any order.
        InstanceNumber plays no part.
    frames:
        Those of their frames that are meant; all where none is named.

    Raises
    ------
    UnusableInput
        ``MissingGeometry``, ``MixedOrientation``, ``MixedMatrix``, ``MixedPixelSpacing``, ``MixedFrameOfReference``,
        ``DuplicatePositions``, or ``NoSuitableSeries`` where the images belong to several series.
    """
    if not headers:
        msg = "no image: a stack needs at least one"
        raise NoSuitableSeries(msg)
    _one(headers, "SeriesInstanceUID", NoSuitableSeries, "series")
    _one(headers, "StudyInstanceUID", NoSuitableSeries, "studies")
    _one(headers, "FrameOfReferenceUID", MixedFrameOfReference, "frames of reference", required=False)
    rows, columns = _one_matrix(headers)
    _refuse_undescribed(headers)
    chosen = frames or frames_of(headers)
    planes = [_plane(header, frame) for header, frame in chosen]
    _refuse_mixtures(planes)
    normal = planes[0].normal_lps
    planes.sort(key=lambda plane: float(plane.position_lps_mm @ normal))
    _refuse_duplicates(planes, chosen)
    return SliceStack(
        study_uid=_text(headers[0], "StudyInstanceUID"), series_uid=_text(headers[0], "SeriesInstanceUID"),
        frame_of_reference_uid=_text(headers[0], "FrameOfReferenceUID"),
        planes=tuple(planes), rows=rows, columns=columns,
    )


def _plane(header: Dataset, frame: int) -> SlicePlane:
    position, cosines, spacing = (
        _wanted(header, frame, keyword, count)
        for keyword, count in (("ImagePositionPatient", 3), ("ImageOrientationPatient", 6), ("PixelSpacing", 2))
    )
    try:
        return SlicePlane(
            position_lps_mm=np.array(position), row_lps=np.array(cosines[:3]), column_lps=np.array(cosines[3:]),
            pixel_spacing_mm=(spacing[0], spacing[1]), thickness_mm=_thickness_mm(header, frame), frame=frame,
            number=whole(header, "InstanceNumber", 0) if texts(header, "InstanceNumber") else None,
            instance=InstanceRef(sop_class_uid=_text(header, "SOPClassUID"),
                                 sop_instance_uid=_text(header, "SOPInstanceUID")),
        )
    except ValueError as error:
        msg = f"SOP Instance {_text(header, 'SOPInstanceUID')}: {error}"
        raise MissingGeometry(msg) from error


def _thickness_mm(header: Dataset, frame: int) -> float:
    """Return Slice Thickness; 0, which stands for absent, for what is no thickness."""
    value = next(iter(frame_numbers(header, frame, "SliceThickness")), 0.0)
    return value if math.isfinite(value) and value > 0 else 0.0


def _wanted(header: Dataset, frame: int, keyword: str, count: int) -> tuple[float, ...]:
    values = frame_numbers(header, frame, keyword)
    if len(values) == count:
        return values
    where = f" (frame {frame})" if is_multiframe(header) else ""
    found = f"has {len(values)} values" if values else "is absent or no number"
    msg = (
        f"SOP Instance {_text(header, 'SOPInstanceUID')}{where}: {keyword} {found}; "
        f"{count} numbers are needed to place the image (PS3.3 C.7.6.2)"
    )
    raise MissingGeometry(msg)


def _one(
    headers: Sequence[Dataset], keyword: str, error: type[UnusableInput], what: str, *, required: bool = True,
) -> None:
    values = {_text(header, keyword) for header in headers}
    if required and "" in values:
        msg = f"{keyword} is absent: the images cannot be referred to"
        raise MissingGeometry(msg)
    if len(values) > 1:
        msg = f"{len(values)} {what} among {len(headers)} images ({', '.join(sorted(values)[:3])}); one is needed"
        raise error(msg)


def _refuse_undescribed(headers: Sequence[Dataset]) -> None:
    for header in headers:
        claimed = max(1, whole(header, "NumberOfFrames", 1))
        if frame_count(header) != claimed:
            msg = (
                f"SOP Instance {_text(header, 'SOPInstanceUID')}: NumberOfFrames = {claimed}, its functional groups "
                f"describe {frame_count(header)}; each frame needs its place (PS3.3 C.7.6.16)"
            )
            raise MissingGeometry(msg)


def _one_matrix(headers: Sequence[Dataset]) -> tuple[int, int]:
    counts = Counter((whole(header, "Rows", 0), whole(header, "Columns", 0)) for header in headers)
    if len(counts) > 1:
        listed = ", ".join(f"{rows} × {columns} ({count} images)" for (rows, columns), count in counts.items())
        msg = f"Rows × Columns differs within the series: {listed}; one is needed"
        raise MixedMatrix(msg)
    return next(iter(counts))


def _refuse_mixtures(planes: Sequence[SlicePlane]) -> None:
    first = planes[0]
    cosines = np.array([[*plane.row_lps, *plane.column_lps] for plane in planes])
    apart = np.abs(cosines - cosines[0]).max(axis=1)
    if apart.max() > SAME_ORIENTATION_TOLERANCE:
        others = int((apart > SAME_ORIENTATION_TOLERANCE).sum())
        msg = (
            f"{others} of {len(planes)} images are not parallel to the first: direction cosines differ by up to "
            f"{apart.max():.3f}, allowed is {SAME_ORIENTATION_TOLERANCE} (a localizer inside the series?)"
        )
        raise MixedOrientation(msg)
    spacings = np.array([plane.pixel_spacing_mm for plane in planes])
    if (np.abs(spacings - spacings[0]) > SAME_SPACING_FRACTION * spacings[0]).any():
        low, high = spacings.min(axis=0), spacings.max(axis=0)
        msg = (
            f"PixelSpacing differs within the series: {low[0]:g} \\ {low[1]:g} to {high[0]:g} \\ {high[1]:g} mm "
            f"(the first image has {first.pixel_spacing_mm[0]:g} \\ {first.pixel_spacing_mm[1]:g}); one is needed"
        )
        raise MixedPixelSpacing(msg)


def _refuse_duplicates(planes: Sequence[SlicePlane], frames: Sequence[Frame]) -> None:
    normal = planes[0].normal_lps
    along = np.array([float(plane.position_lps_mm @ normal) for plane in planes])
    same = np.flatnonzero(np.diff(along) < SAME_PLACE_MM)
    if not len(same):
        return
    names = slice_names((plane.frame, plane.number) for plane in planes)
    told = {keyword: len(values_of(frames, keyword)) for keyword in SPLITTERS}
    hints = [f"{keyword} has {count} values" for keyword, count in told.items() if count > 1]
    msg = (
        f"{len(same) + 1} images share places: {names.pair(same[0])} of {len(planes)} lie "
        f"{along[same[0] + 1] - along[same[0]]:.3f} mm apart; one image per place is needed, send the phases as "
        "series of their own" + (f", or name in the model file which to take: split_by ({'; '.join(hints)})"
                                 if hints else "")
    )
    raise DuplicatePositions(msg)


def _text(header: Dataset, keyword: str) -> str:
    return "\\".join(texts(header, keyword))
