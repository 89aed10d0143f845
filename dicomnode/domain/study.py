"""What the index knows of a study: enough to route it, without opening a file again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from dicomnode.domain.dicom import uid

INDEXED_KEYWORDS: Final = (
    "SpecificCharacterSet", "ImageType", "StudyDate", "StudyTime", "AccessionNumber", "Modality", "Manufacturer",
    "ManufacturerModelName", "StudyDescription", "SeriesDescription", "ProtocolName", "PatientName", "PatientID",
    "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "BodyPartExamined", "ContrastBolusAgent",
    "ScanningSequence", "SequenceVariant", "MRAcquisitionType", "EchoTime", "RepetitionTime", "InversionTime",
    "MagneticFieldStrength", "KVP", "SliceThickness", "SpacingBetweenSlices", "ConvolutionKernel", "GantryDetectorTilt",
    "PatientPosition", "SeriesNumber", "AcquisitionNumber", "InstanceNumber", "TemporalPositionIdentifier",
    "ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", "BitsStored", "PixelRepresentation",
    "RescaleSlope", "RescaleIntercept", "LossyImageCompression", "BurnedInAnnotation", "ContrastBolusRoute",
    "ContrastBolusIngredient", "AcquisitionContrast", "FlipAngle", "EchoTrainLength", "SequenceName", "ScanOptions",
    "DiffusionBValue", "FilterType", "ReconstructionDiameter", "SoftwareVersions", "Laterality",
)
"""The attributes kept per instance; routes' ``when`` and models' selectors may use only these."""

Attributes = Mapping[str, tuple[str, ...]]
"""Keyword → values as decoded text, one entry per value; an absent or empty attribute has no key."""


def finite(text: str) -> float | None:
    """Return what a Decimal or Integer String says, None for anything else, infinity and not-a-number included."""
    try:
        value = float(text) if text.isascii() else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceRecord:
    """One stored instance.

    Parameters
    ----------
    attributes:
        Only keys of ``INDEXED_KEYWORDS``. For Enhanced multi-frame objects the geometry and slice
        attributes are those of the first frame's functional groups.
    content_digest:
        sha256 over the data set, File Meta left out: equal digests are the same instance.
    geometry_digest:
        sha256 over position, orientation, spacing, matrix, rescale and frame of reference.
    pixel_digest:
        sha256 over transfer syntax and the encoded pixel data.
    path:
        Relative to ``spool/store``.
    source_address:
        From where it came, as its arrival says; the index does not keep it.
    """

    study_uid: str
    series_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    attributes: Attributes
    content_digest: str
    geometry_digest: str
    pixel_digest: str
    size_bytes: int
    path: str = ""
    source_ae_title: str = ""
    source_address: str = ""
    arrived_at: datetime | None = None

    def __post_init__(self) -> None:
        """Refuse what is no UID."""
        for value in (self.study_uid, self.series_uid, self.sop_instance_uid, self.sop_class_uid):
            uid(value)

    def text(self, keyword: str) -> str:
        r"""Return an attribute as one text, values joined by a backslash; '' if absent."""
        return "\\".join(self.attributes.get(keyword, ()))

    def number(self, keyword: str) -> float | None:
        """Return the first value of an attribute as a finite number, None if absent or anything else."""
        return finite(next(iter(self.attributes.get(keyword, ())), ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRecord:
    """One series of a study, its instances in no particular order."""

    series_uid: str
    instances: tuple[InstanceRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRecord:
    """One study as routes see it.

    Parameters
    ----------
    conflicts:
        SOP Instance UIDs that arrived with different pixels or geometry.
    """

    study_uid: str
    series: tuple[SeriesRecord, ...]
    source_ae_titles: frozenset[str] = frozenset()
    conflicts: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundSeries:
    """The series that fills one role of one model."""

    role: str
    series_uid: str
    sop_instance_uids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScorePart:
    """How well a series meets one wish of a model: from 1, best of those that were eligible, to 0."""

    keyword: str
    wish: str
    value: str
    points: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesVerdict:
    """How one series fared against one role of one model: its score with its parts, and each reason against it."""

    model: str
    series_uid: str
    role: str
    score: float | None  # None: not eligible
    reasons: tuple[str, ...]
    parts: tuple[ScorePart, ...] = ()
    slices: int = 0
    unreadable: str = ""  # why the reader of pixels will refuse it


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBinding:
    """Which series feed one model of a route."""

    model: str
    series: tuple[BoundSeries, ...]
