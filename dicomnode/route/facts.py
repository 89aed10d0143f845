"""What the index says about one series: its images, where they lie, and how a person would name it."""

from __future__ import annotations

from typing import Final

import numpy as np

from dicomnode.domain.condition import Condition, When
from dicomnode.domain.dicom import (
    CT_IMAGE_STORAGE,
    ENHANCED_CT_IMAGE_STORAGE,
    ENHANCED_MR_IMAGE_STORAGE,
    MANUFACTURER,
    MODEL_NAME,
    MR_IMAGE_STORAGE,
)
from dicomnode.domain.study import InstanceRecord, SeriesRecord, finite
from dicomnode.route.conditions import upper

IMAGE_CLASSES: Final = frozenset({
    CT_IMAGE_STORAGE, ENHANCED_CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, ENHANCED_MR_IMAGE_STORAGE,
    "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT Image Storage
    "1.2.840.10008.5.1.4.1.1.4.4",  # Legacy Converted Enhanced MR Image Storage
})
"""SOP Classes whose images carry patient geometry; a dose page is a Secondary Capture."""
LOCALIZERS: Final = frozenset({"LOCALIZER", "SCOUT"})
NOT_SLICES: Final = frozenset({
    "MIP", "MINIP", "PROJECTION IMAGE", "PROJECTION", "SCREEN SAVE", "SCREENSAVE", "CURVED",
})
"""Image Type values of pictures that are no planes of the patient, whatever value 1 says (makers' own)."""
REFORMATS: Final = frozenset({"MPR", "REFORMATTED"})
"""Image Type values of planes computed from others; with ORIGINAL as value 1 the planes were reconstructed so."""
SOURCES: Final = frozenset({"ORIGINAL", "MIXED"})
SAME_PLACE_MM: Final = 0.01
"""Images nearer than this along the normal have one place, as for the reader of pixels."""
FARTHEST_MM: Final = 1e9
"""No place in a patient, and no spacing, is further: what says so is no number to reckon with."""
MOST_FRAMES: Final = 2**31 - 1
"""The largest Integer String (PS3.5 Table 6.2-1)."""
AXES: Final = ("sagittal", "coronal", "axial")


def ordered(series: SeriesRecord) -> tuple[InstanceRecord, ...]:
    """Return the instances by InstanceNumber, then UID: a fixed order, not a geometric one."""
    return tuple(sorted(series.instances, key=lambda i: (i.number("InstanceNumber") or 0.0, i.sop_instance_uid)))


def is_localizer(instance: InstanceRecord) -> bool:
    """Whether Image Type (0008,0008) calls it a localizer."""
    return bool(LOCALIZERS & upper(instance.attributes.get("ImageType", ())))


def typical(series: SeriesRecord) -> InstanceRecord:
    """Return the instance that speaks for the series: the first that is no localizer, else the first."""
    instances = ordered(series)
    return next((instance for instance in instances if not is_localizer(instance)), instances[0])


def is_own(series: SeriesRecord) -> bool:
    """Whether the node made this series itself."""
    first = series.instances[0]
    return first.text("Manufacturer") == MANUFACTURER and first.text("ManufacturerModelName") == MODEL_NAME


def slice_images(series: SeriesRecord, declared: When) -> tuple[tuple[InstanceRecord, ...], tuple[str, ...]]:
    """Return the images of a series that may be slices of a stack, and why the others, if any, may not.

    Parameters
    ----------
    declared:
        Conditions of route and role; values of Image Type among them allow derived images.
    """
    kept, reasons = [], []
    for instance in ordered(series):
        reason = _no_slice(instance, derived_allowed=_names_types(declared))
        if reason:
            reasons.append(reason)
        else:
            kept.append(instance)
    return tuple(kept), tuple(dict.fromkeys(reasons))


def slice_count(images: tuple[InstanceRecord, ...]) -> int:
    """Return the number of planes: frames of multi-frame images count each."""
    return sum(min(max(1, int(image.number("NumberOfFrames") or 1)), MOST_FRAMES) for image in images)


def orientation(image: InstanceRecord) -> str:
    """Name the plane nearest to the image's: axial, sagittal or coronal; '' if its orientation is unknown."""
    normal = _normal(image)
    return "" if normal is None else AXES[int(np.argmax(np.abs(normal)))]


def spacing_mm(images: tuple[InstanceRecord, ...]) -> float | None:
    """Return the median distance between the places of images along their normal; None if it cannot be told."""
    gaps = _gaps_mm(images)
    if gaps is None or not len(gaps):
        return images[0].number("SpacingBetweenSlices") or images[0].number("SliceThickness") if images else None
    return float(np.median(gaps))


def place_count(images: tuple[InstanceRecord, ...]) -> int | None:
    """Return how many places single-frame images have, several phases at one place counted once; None if unknown."""
    gaps = _gaps_mm(images)
    return None if gaps is None or slice_count(images) != len(images) else len(gaps) + 1


def _gaps_mm(images: tuple[InstanceRecord, ...]) -> np.ndarray | None:
    normal = _normal(images[0]) if images else None
    positions = [_numbers(image, "ImagePositionPatient", 3) for image in images]
    if normal is None or any(position is None for position in positions):
        return None
    gaps = np.diff(np.sort(np.array(positions, dtype=float) @ normal))
    return np.asarray(gaps[gaps >= SAME_PLACE_MM])


def in_plane_mm(image: InstanceRecord) -> float | None:
    """Return the larger of the two pixel spacings; None if absent."""
    spacing = _numbers(image, "PixelSpacing", 2)
    return None if spacing is None else max(spacing)


def label(series: SeriesRecord) -> str:
    """Name a series for people without any patient's data: number, end of its UID, modality."""
    one = typical(series)
    return f"series {one.text('SeriesNumber') or '?'} (…{series.series_uid[-8:]}, {one.text('Modality') or '?'})"


def _names_types(declared: When) -> bool:
    wanted = declared.get("ImageType")
    return bool(wanted.any_of or wanted.contains) if isinstance(wanted, Condition) else wanted is not None


def _no_slice(instance: InstanceRecord, *, derived_allowed: bool) -> str:
    if instance.sop_class_uid not in IMAGE_CLASSES:
        return f"SOP Class {instance.sop_class_uid} is no CT or MR image"
    kind = instance.attributes.get("ImageType", ())
    if is_localizer(instance):
        return "localizer"
    if not derived_allowed:
        original = bool(upper(kind[:1]) & SOURCES)
        computed = upper(kind) & (NOT_SLICES if original else NOT_SLICES | REFORMATS)
        if computed:
            return f"Image Type says {min(computed)}"
        if kind and (not original or "SECONDARY" in upper(kind[1:2])):
            shown = "\\".join(kind[:2])
            return f"Image Type is {shown}, wanted ORIGINAL\\PRIMARY"
    if _normal(instance) is None or _numbers(instance, "ImagePositionPatient", 3) is None:
        return "no position or orientation in the patient"
    return ""


def _normal(image: InstanceRecord) -> np.ndarray | None:
    cosines = _numbers(image, "ImageOrientationPatient", 6)
    return None if cosines is None else np.cross(cosines[:3], cosines[3:])


def _numbers(instance: InstanceRecord, keyword: str, count: int) -> tuple[float, ...] | None:
    values = tuple(value for text in instance.attributes.get(keyword, ()) if (value := _in_reach(text)) is not None)
    return values if len(values) == count == len(instance.attributes.get(keyword, ())) else None


def _in_reach(text: str) -> float | None:
    value = finite(text)
    return value if value is not None and abs(value) <= FARTHEST_MM else None
