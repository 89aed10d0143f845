"""What the index says about one series: which of its images are slices, and how a person would name it."""

from __future__ import annotations

from typing import Final

from dicomnode.domain.condition import Condition, When
from dicomnode.domain.dicom import (
    CT_IMAGE_STORAGE,
    ENHANCED_CT_IMAGE_STORAGE,
    ENHANCED_MR_IMAGE_STORAGE,
    MANUFACTURER,
    MODEL_NAME,
    MR_IMAGE_STORAGE,
)
from dicomnode.domain.study import InstanceRecord, SeriesRecord
from dicomnode.route.conditions import upper
from dicomnode.route.places import is_placed

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
    if not is_placed(instance):
        return "no position or orientation in the patient"
    return ""
