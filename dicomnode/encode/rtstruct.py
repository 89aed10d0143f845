"""The masks of a SEG as an RT Structure Set, for planning systems and viewers that read only that (PS3.3 A.19)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from highdicom import SOPClass
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage

from dicomnode.domain.findings import EncodedObject, ModelFindings
from dicomnode.encode import sources as images
from dicomnode.encode.codes import SIDES, concept
from dicomnode.encode.contours import contour, encoded, roi, roi_contours
from dicomnode.encode.groups import frames_of
from dicomnode.encode.outlines import outlines
from dicomnode.encode.segments import Segment, drawn_on, segments_of
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity, local_time

RTSTRUCT_SLOT: Final = 30
DETACHED_STUDY_MANAGEMENT: Final = "1.2.840.10008.3.1.2.3.1"
"""Retired, and still what a structure set calls its study by (PS3.3 Table C.8-41)."""
ANATOMICAL_STRUCTURE: Final = "91723000"
LABEL: Final = "AI NOT VERIFIED"


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
        shown = [encoded(_reference(plane.instance.sop_class_uid, plane.instance.sop_instance_uid, frames_of(plane)))
                 for plane in findings.stack.planes]
        contours = roi_contours([_contours(segment, findings, shown) for segment in segments])
        return finish(result, head, stamp, role, tail=(contours, encoded(_after(segments))))


def _describe(result: Dataset, head: Dataset, findings: ModelFindings, stamp: Stamp) -> None:
    made, moment = findings.provenance, local_time(head, stamp)
    result.StructureSetLabel = LABEL
    result.StructureSetName = f"{made.model_name} {made.model_version}"[:64]
    result.StructureSetDescription = ("AI result, not verified by a physician. "
                                      + ("Research use only. " if stamp.research else "") + made.intended_use)[:1024]
    result.StructureSetDate, result.StructureSetTime = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
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
    made, about = findings.provenance, Dataset()
    about.ROINumber = segment.number
    about.ReferencedFrameOfReferenceUID = findings.stack.frame_of_reference_uid
    about.ROIName = _name(segment)
    about.ROIDescription = f"{made.model_name} {made.model_version}, {made.model_digest}"[:1024]
    about.ROIGenerationAlgorithm = "AUTOMATIC"
    about.ROIGenerationDescription = f"{made.model_name} {made.model_version}"[:64]
    return about


def _after(segments: Sequence[Segment]) -> Dataset:
    """Return what stands behind the contours."""
    rest = Dataset()
    rest.RTROIObservationsSequence = [_observation(segment) for segment in segments]
    rest.ApprovalStatus = "UNAPPROVED"
    return rest


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


def _contours(segment: Segment, findings: ModelFindings, images_of: Sequence[bytes]) -> bytes:
    drawn = [contour(number, polygon, findings.stack.planes[k], images_of[k])
             for number, (k, polygon) in enumerate(_polygons(segment, findings), start=1)]
    return roi(segment.number, segment.label.colour_rgb, drawn)


def _polygons(segment: Segment, findings: ModelFindings) -> Iterator[tuple[int, NDArray[np.int64]]]:
    for k in range(len(findings.stack.planes)):
        for polygon in outlines(drawn_on(findings, segment, k)):
            yield k, polygon
