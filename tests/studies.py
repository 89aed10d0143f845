"""Index records for tests of routing: studies without a file behind them."""

from __future__ import annotations

from dicomnode.domain.dicom import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, SECONDARY_CAPTURE_STORAGE
from dicomnode.domain.study import INDEXED_KEYWORDS, InstanceRecord, SeriesRecord, StudyRecord
from tests.builders import uid_of

AXIAL = ("1", "0", "0", "0", "1", "0")
SAGITTAL = ("0", "1", "0", "0", "0", "-1")
STUDY_UID = uid_of("routed study")
CLASSES = {"CT": CT_IMAGE_STORAGE, "MR": MR_IMAGE_STORAGE, "OT": SECONDARY_CAPTURE_STORAGE}


def series(
    name: str, *, slices: int = 40, gap_mm: float = 2.5, modality: str = "CT", sop_class: str = "",
    **attributes: str | tuple[str, ...],
) -> SeriesRecord:
    """Return one series of ``slices`` single-frame images along z; keywords must be indexed ones."""
    unknown = set(attributes) - set(INDEXED_KEYWORDS)
    if unknown:
        msg = f"not indexed: {sorted(unknown)}"
        raise TypeError(msg)
    common = {
        "Modality": modality, "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"), "SeriesNumber": "1",
        "BodyPartExamined": "CHEST", "PatientAge": "055Y", "ImageOrientationPatient": AXIAL,
        "PixelSpacing": ("0.7", "0.7"), "SliceThickness": f"{gap_mm:g}", "Rows": "512", "Columns": "512", **attributes,
    }
    kept = {key: (value,) if isinstance(value, str) else value for key, value in common.items() if value}
    return SeriesRecord(series_uid=uid_of(name), instances=tuple(
        InstanceRecord(
            study_uid=STUDY_UID, series_uid=uid_of(name), sop_instance_uid=uid_of(name, k),
            sop_class_uid=sop_class or CLASSES[modality], transfer_syntax_uid="1.2.840.10008.1.2.1",
            attributes={"ImagePositionPatient": ("0", "0", f"{k * gap_mm:g}"), "InstanceNumber": (str(k + 1),), **kept},
            content_digest="", geometry_digest="", pixel_digest="", size_bytes=1)
        for k in range(slices)))


def study(
    *parts: SeriesRecord, sources: tuple[str, ...] = ("ORTHANC",), conflicts: tuple[str, ...] = (),
) -> StudyRecord:
    """Return a study of these series, sent by these AE titles."""
    return StudyRecord(study_uid=STUDY_UID, series=parts, source_ae_titles=frozenset(sources), conflicts=conflicts)
