"""Who and what a result is: UIDs, patient and study, equipment, labels, times."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom import Dataset
from pydicom.uid import UID

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME, MANUFACTURER, MODEL_NAME
from tests.rules.scene import Scene, kind_of

SAME_AS_SOURCE = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientSize",
    "PatientWeight", "PatientIdentityRemoved", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)
DESCRIPTION = re.compile(r"AI .+ - NOT VERIFIED( \(supersedes earlier\))?")
WRITER = "highdicom"
"""The library that writes most results adds itself as processing equipment; it is no model."""
REPORTS = {"SR3D", "SR", "TEXT"}
WITHOUT_MODEL = {"TEXT", "KOS"}
"""What may be written though no model ran: the notice that nothing was analysed, a rejection note."""


def is_a_kind_of_result(one: Dataset, _scene: Scene) -> Iterator[str]:
    if not kind_of(one):
        yield f"storage class {one.get('SOPClassUID')} is none that the node writes"


def uids_are_derived(one: Dataset, scene: Scene) -> Iterator[str]:
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        value = UID(str(one[keyword].value))
        if not value.startswith("2.25.") or not value.is_valid:
            yield f"{keyword} {value} is not derived: no valid UID below 2.25"
    if one.SeriesInstanceUID in {source.SeriesInstanceUID for source in scene.sources}:
        yield "lies in a source series"
    if str(one.SOPInstanceUID) in scene.source_uids:
        yield "takes the SOP Instance UID of a source"


def file_says_the_same(one: Dataset, _scene: Scene) -> Iterator[str]:
    meta = one.file_meta
    if (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) != (one.SOPClassUID, one.SOPInstanceUID):
        yield "file meta information names another object"
    if meta.ImplementationClassUID != IMPLEMENTATION_CLASS_UID:
        yield "another implementation wrote the file"
    if meta.ImplementationVersionName != IMPLEMENTATION_VERSION_NAME or len(meta.ImplementationVersionName) > 16:
        yield f"ImplementationVersionName is {meta.ImplementationVersionName}"


def equipment_is_this_node(one: Dataset, _scene: Scene) -> Iterator[str]:
    if (one.get("Manufacturer"), one.get("ManufacturerModelName")) != (MANUFACTURER, MODEL_NAME):
        yield "the equipment is not this node"
    if not one.get("DeviceSerialNumber") or not one.get("SoftwareVersions"):
        yield "DeviceSerialNumber or SoftwareVersions is absent"


def each_model_is_equipment(one: Dataset, _scene: Scene) -> Iterator[str]:
    models = [item for item in one.get("ContributingEquipmentSequence", [])
              if item.get("PurposeOfReferenceCodeSequence")
              and item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
              and item.get("ManufacturerModelName") != WRITER]
    if not models and kind_of(one) not in WITHOUT_MODEL:
        yield "no model stands among the contributing equipment (109102, DCM)"
    for item in models:
        if not str(item.get("DeviceUID", "")).startswith("2.") or not item.get("SoftwareVersions"):
            yield f"model {item.get('ManufacturerModelName')} has no DeviceUID or no version"
        if "sha256:" not in item.get("ContributionDescription", ""):
            yield f"model {item.get('ManufacturerModelName')} does not say with which weights it ran"


def patient_and_study_are_the_sources(one: Dataset, scene: Scene) -> Iterator[str]:
    source = scene.source_of(one)
    for keyword in SAME_AS_SOURCE:
        wanted = str(source.get(keyword) or "")
        if keyword == "PatientSex" and wanted not in {"M", "F", "O"}:
            wanted = ""
        if str(one.get(keyword) or "") != wanted:
            yield f"{keyword} differs from the source"


def times_have_a_zone(one: Dataset, scene: Scene) -> Iterator[str]:
    for keyword in ("SeriesDate", "SeriesTime", "InstanceCreationDate", "InstanceCreationTime"):
        if not one.get(keyword):
            yield f"{keyword} is absent"
    zone, wanted = str(one.get("TimezoneOffsetFromUTC", "")), scene.source_of(one).get("TimezoneOffsetFromUTC")
    if not re.fullmatch(r"[+-]\d{4}", zone):
        yield f"TimezoneOffsetFromUTC is {zone!r}"
    elif wanted and zone != wanted:
        yield f"TimezoneOffsetFromUTC {zone} is not the source's"


def labels_warn(one: Dataset, _scene: Scene) -> Iterator[str]:
    description = str(one.get("SeriesDescription", ""))
    if not DESCRIPTION.fullmatch(description) or len(description) > 64:
        yield f"SeriesDescription {description!r} does not say AI and NOT VERIFIED in 64 characters"
    if one.get("ContentQualification") not in {"RESEARCH", "PRODUCT"}:
        yield "ContentQualification is absent"


def reports_are_unverified(one: Dataset, _scene: Scene) -> Iterator[str]:
    if kind_of(one) not in REPORTS:
        return
    flags = one.get("CompletionFlag"), one.get("VerificationFlag"), one.get("PreliminaryFlag")
    if flags != ("COMPLETE", "UNVERIFIED", "PRELIMINARY") or one.get("VerifyingObserverSequence"):
        yield f"flags are {flags}, not COMPLETE, UNVERIFIED, PRELIMINARY"


def series_numbers_are_set(one: Dataset, scene: Scene) -> Iterator[str]:
    number = one.get("SeriesNumber")
    if number is None or int(number) < 9000 or not one.get("InstanceNumber"):
        yield f"SeriesNumber {number} may be a scanner's, or InstanceNumber is absent"
    if any(source.get("SeriesNumber") == number for source in scene.sources):
        yield f"SeriesNumber {number} is a source's"


RULES = (
    is_a_kind_of_result, uids_are_derived, file_says_the_same, equipment_is_this_node, each_model_is_equipment,
    patient_and_study_are_the_sources, times_have_a_zone, labels_warn, reports_are_unverified, series_numbers_are_set,
)
