"""A summary for viewers that draw neither SEG nor SR: a Secondary Capture, never the only carrier of a number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from highdicom.sc import SCImage
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.domain.findings import Classification, Detection, EncodedObject, ModelFindings, Organ, listed
from dicomnode.domain.volume import Volume
from dicomnode.encode import sources as images
from dicomnode.encode.picture import MOST_TILES, TEXT_RGB, Rgb, draw, tiles_of
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity, local_time

CAPTURE_SLOT = 4
MOST_LINES = 16


def encode_capture(findings: Sequence[ModelFindings], volumes: Mapping[str, Volume],
                   sources: Mapping[str, Sequence[Dataset]], stamp: Stamp) -> EncodedObject | None:
    """Return one page of key slices and numbers as RGB Secondary Capture, or None where nothing is marked.

    The warning, model, version and time are burned in; nothing about the patient is. The page has no frame of
    reference: it is a picture, not an image to measure in.

    Parameters
    ----------
    volumes:
        The images themselves, by SeriesInstanceUID.

    Raises
    ------
    EncodingError
        If a header is missing or unfit.
    """
    shown = [(one, tuple(found for drawn_by, found in listed(findings) if drawn_by is one)) for one in findings]
    tiles = [tile for one, own in shown if one.stack.series_uid in volumes
             for tile in tiles_of(replace(one, detections=own), volumes[one.stack.series_uid])][:MOST_TILES]
    if not tiles:
        return None
    models = tuple(one.provenance.model_name for one in findings)
    role = Role(kind="SC", group="summary", name="summary|SC", slot=CAPTURE_SLOT, subject="summary", models=models)
    series_uid = tiles[0].volume.stack.series_uid
    with encoding("the summary", series_uid):
        head = images.head_of(sources[series_uid][0])
        light = images.unnamed(head)
        result = SCImage(
            pixel_array=draw(tiles, _heading(findings, head, stamp), _lines(findings)), bits_allocated=8,
            photometric_interpretation="RGB", coordinate_system="PATIENT", patient_orientation=("L", "P"),
            study_instance_uid=head.StudyInstanceUID, patient_id=head.PatientID, patient_name="",
            patient_birth_date=head.PatientBirthDate, patient_sex=head.PatientSex,
            accession_number=head.AccessionNumber, study_id=head.StudyID, study_date=head.StudyDate,
            study_time=head.StudyTime, referring_physician_name=head.ReferringPhysicianName,
            transfer_syntax_uid=ExplicitVRLittleEndian, **identity(stamp, role))
        result.copy_patient_and_study_information(light)
        _complete(result, head, stamp)
        return finish(result, head, stamp, role)


def _complete(result: Dataset, head: Dataset, stamp: Stamp) -> None:
    result.ImageType = ["DERIVED", "SECONDARY"]
    result.BurnedInAnnotation = "YES"
    result.ConversionType = "WSD"
    result.PatientOrientation = ""
    moment = local_time(head, stamp)
    result.DateOfSecondaryCapture, result.TimeOfSecondaryCapture = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        result.pop(keyword, None)
    if head.get("BodyPartExamined"):
        result.BodyPartExamined = head.BodyPartExamined


def _heading(findings: Sequence[ModelFindings], head: Dataset, stamp: Stamp) -> list[str]:
    warning = "AI RESULT - NOT VERIFIED" + (" - RESEARCH USE ONLY" if stamp.research else "")
    names = ", ".join(f"{one.provenance.model_name} {one.provenance.model_version}" for one in findings)
    return [warning, f"{names}   {local_time(head, stamp):%Y-%m-%d %H:%M %z}"]


def _lines(findings: Sequence[ModelFindings]) -> list[tuple[str, Rgb]]:
    lines = [*(_finding(found) for _, found in listed(findings)),
             *(_organ(organ) for one in findings for organ in one.organs),
             *(_class(found) for one in findings for found in one.classifications)]
    if len(lines) <= MOST_LINES:
        return lines
    return [*lines[:MOST_LINES], (f"and {len(lines) - MOST_LINES} more: see the report", (128, 128, 128))]


def _finding(found: Detection) -> tuple[str, Rgb]:
    chance = "" if found.probability is None else f", probability {found.probability:.2f}"
    place = f" {found.side}" if found.side else ""
    volume = "" if found.volume_ml is None else f", {found.volume_ml:.2f} ml"
    size = f"slice {found.key_slice + 1}, {found.diameter_mm:.1f} mm{volume}"
    return f"{found.tracking_id}{place}: {size}{chance}", found.label.colour_rgb


def _class(found: Classification) -> tuple[str, Rgb]:
    return f"{found.of.name}: {found.presence.value}, probability {found.probability:.2f}", TEXT_RGB


def _organ(organ: Organ) -> tuple[str, Rgb]:
    numbers = ", ".join(f"{one.name.meaning.lower()} {one.value:.1f} {one.unit.meaning}" for one in organ.measurements)
    return f"{organ.label.name}: {numbers}", organ.label.colour_rgb
