"""The masks of a SEG as an RT Structure Set, for planning systems and viewers that read only that (PS3.3 A.19)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from highdicom import SOPClass
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.dataelem import DataElement
from pydicom.tag import Tag
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from dicomnode.domain.findings import EncodedObject, ModelFindings
from dicomnode.domain.volume import SlicePlane, Vector
from dicomnode.encode import sources as images
from dicomnode.encode.codes import SIDES, concept
from dicomnode.encode.groups import frames_of
from dicomnode.encode.outlines import outlines
from dicomnode.encode.segments import Segment, drawn_on, segments_of
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity, local_time

RTSTRUCT_SLOT: Final = 30
DETACHED_STUDY_MANAGEMENT: Final = "1.2.840.10008.3.1.2.3.1"
"""Retired, and still what a structure set calls its study by (PS3.3 Table C.8-41)."""
ANATOMICAL_STRUCTURE: Final = "91723000"
LABEL: Final = "AI NOT VERIFIED"
DECIMALS: Final = 4
"""Coordinates are written to a ten-thousandth of a millimetre."""
PIXEL_EDGE: Final = 0.5
"""A pixel's index names its centre: its outline runs half a pixel round it."""


def encode_rtstruct(findings: Sequence[ModelFindings], sources: Mapping[str, Sequence[Dataset]], stamp: Stamp
                    ) -> tuple[EncodedObject, ...]:
    """Return a structure set for each model whose mask has voxels: one ROI per segment, as in its SEG.

    Each contour lies in the plane of its source image and runs along the edges of pixels: whoever fills it by pixel
    centres has the mask again, voxel by voxel. Holes are drawn by keyhole, see ``outlines``. Written in Implicit VR:
    the contour of a lung needs more than the 65,534 bytes that a decimal string may have in Explicit VR.

    Raises
    ------
    EncodingError
        If a header is missing or unfit.
    """
    found = []
    for one in findings:
        segments = segments_of(one)
        if segments:
            found.append(_structure_set(one, segments, sources[one.stack.series_uid], stamp))
    return tuple(found)


def _structure_set(findings: ModelFindings, segments: tuple[Segment, ...], sources: Sequence[Dataset], stamp: Stamp
                   ) -> EncodedObject:
    name, series_uid = findings.provenance.model_name, findings.stack.series_uid
    role = Role(kind="RTSTRUCT", group=f"rtstruct:{name}", name=f"rtstruct|{name}",
                slot=RTSTRUCT_SLOT + stamp.place_of(name), subject="structures", models=(name,))
    with encoding("the structure set", series_uid):
        head = images.head_of(images.by_instance(sources, findings.stack)[
            findings.stack.planes[0].instance.sop_instance_uid])
        light = images.unnamed(head)
        result = SOPClass(
            sop_class_uid=RTStructureSetStorage, modality="RTSTRUCT", transfer_syntax_uid=ImplicitVRLittleEndian,
            study_instance_uid=light.StudyInstanceUID, patient_id=light.PatientID, patient_name="",
            patient_birth_date=light.PatientBirthDate, patient_sex=light.PatientSex,
            accession_number=light.AccessionNumber, study_id=light.StudyID, study_date=light.StudyDate,
            study_time=light.StudyTime, referring_physician_name=light.ReferringPhysicianName,
            **identity(stamp, role))
        result.copy_patient_and_study_information(light)
        _describe(result, head, findings, stamp)
        result.ReferencedFrameOfReferenceSequence = [_frame_of_reference(findings)]
        result.StructureSetROISequence = [_roi(segment, findings) for segment in segments]
        result.ROIContourSequence = [_contours(segment, findings) for segment in segments]
        result.RTROIObservationsSequence = [_observation(segment) for segment in segments]
        return finish(result, head, stamp, role)


def _describe(result: Dataset, head: Dataset, findings: ModelFindings, stamp: Stamp) -> None:
    made, moment = findings.provenance, local_time(head, stamp)
    result.StructureSetLabel = LABEL
    result.StructureSetName = f"{made.model_name} {made.model_version}"[:64]
    result.StructureSetDescription = ("AI result, not verified by a physician. "
                                      + ("Research use only. " if stamp.research else "") + made.intended_use)[:1024]
    result.StructureSetDate, result.StructureSetTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    result.ApprovalStatus = "UNAPPROVED"
    result.OperatorsName = ""
    result.FrameOfReferenceUID = findings.stack.frame_of_reference_uid
    result.PositionReferenceIndicator = head.get("PositionReferenceIndicator") or ""


def _frame_of_reference(findings: ModelFindings) -> Dataset:
    """Return frame of reference, study, series and each image that contours may lie on (PS3.3 C.8.8.5)."""
    stack = findings.stack
    frame, study, series = Dataset(), Dataset(), Dataset()
    instances = dict.fromkeys((p.instance.sop_class_uid, p.instance.sop_instance_uid) for p in stack.planes)
    series.SeriesInstanceUID = stack.series_uid
    series.ContourImageSequence = [_reference(*instance) for instance in instances]
    study.ReferencedSOPClassUID, study.ReferencedSOPInstanceUID = DETACHED_STUDY_MANAGEMENT, stack.study_uid
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = stack.frame_of_reference_uid
    frame.RTReferencedStudySequence = [study]
    return frame


def _reference(sop_class_uid: str, sop_instance_uid: str, frames: Sequence[int] | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
    if frames:
        item.ReferencedFrameNumber = list(frames)
    return item


def _roi(segment: Segment, findings: ModelFindings) -> Dataset:
    made, roi = findings.provenance, Dataset()
    roi.ROINumber = segment.number
    roi.ReferencedFrameOfReferenceUID = findings.stack.frame_of_reference_uid
    roi.ROIName = _name(segment)
    roi.ROIDescription = f"{made.model_name} {made.model_version}, {made.model_digest}"[:1024]
    roi.ROIGenerationAlgorithm = "AUTOMATIC"
    roi.ROIGenerationDescription = f"{made.model_name} {made.model_version}"[:64]
    return roi


def _observation(segment: Segment) -> Dataset:
    label, lesion, observation = segment.label, segment.lesion, Dataset()
    observation.ObservationNumber = observation.ReferencedROINumber = segment.number
    observation.ROIObservationLabel = _name(segment)[:16]
    code = concept(label.type)
    side = SIDES.get(lesion.side) if lesion else label.modifier
    if side:
        code.SegmentedPropertyTypeModifierCodeSequence = [concept(side)]
    observation.RTROIIdentificationCodeSequence = [code]
    observation.RTROIInterpretedType = "ORGAN" if label.category.value == ANATOMICAL_STRUCTURE else ""
    observation.ROIInterpreter = ""
    return observation


def _name(segment: Segment) -> str:
    return (segment.lesion.tracking_id if segment.lesion else segment.label.name)[:64]


def _contours(segment: Segment, findings: ModelFindings) -> Dataset:
    roi = Dataset()
    roi.ReferencedROINumber = segment.number
    roi.ROIDisplayColor = list(segment.label.colour_rgb)
    roi.ContourSequence = [
        _contour(number, polygon, plane)
        for number, (plane, polygon) in enumerate(_polygons(segment, findings), start=1)]
    return roi


def _polygons(segment: Segment, findings: ModelFindings) -> Iterator[tuple[SlicePlane, NDArray[np.int64]]]:
    for k, plane in enumerate(findings.stack.planes):
        for polygon in outlines(drawn_on(findings, segment, k)):
            yield plane, polygon


def _contour(number: int, corners_yx: NDArray[np.int64], plane: SlicePlane) -> Dataset:
    contour = Dataset()
    contour.ContourImageSequence = [_reference(
        plane.instance.sop_class_uid, plane.instance.sop_instance_uid, frames_of(plane))]
    contour.ContourGeometricType = "CLOSED_PLANAR"
    contour.NumberOfContourPoints = len(corners_yx)
    contour.ContourNumber = number
    text = _decimals(_in_patient(corners_yx - PIXEL_EDGE, plane))
    tag = Tag("ContourData")
    contour[tag] = DataElement(tag, "DS", text, already_converted=True)  # parsing each number would take seconds
    return contour


def _in_patient(index_yx: NDArray[np.floating], plane: SlicePlane) -> Vector:
    """Return places in patient millimetres (LPS), shape (n, 3), of indices (row, column) on a plane."""
    row_mm, column_mm = plane.pixel_spacing_mm
    return np.asarray(plane.position_lps_mm + index_yx[:, :1] * row_mm * plane.column_lps
                      + index_yx[:, 1:] * column_mm * plane.row_lps)


def _decimals(values: Vector) -> str:
    r"""Return numbers as decimal strings joined by ``\``; each different one is turned into text once."""
    different, which = np.unique(np.round(values.ravel(), DECIMALS) + 0.0, return_inverse=True)
    texts = [f"{value:.{DECIMALS}f}".rstrip("0").rstrip(".") for value in different.tolist()]
    return "\\".join([texts[index] for index in which.ravel().tolist()])
