"""A summary for viewers that draw neither SEG nor SR: a Secondary Capture, never the only carrier of a number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from highdicom.sc import SCImage
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import Detection, EncodedObject, ModelFindings, Organ, listed
from dicomnode.domain.model import Label
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.encode import sources as images
from dicomnode.encode.lettering import legible
from dicomnode.encode.picture import MOST_TILES, Rgb, Table, draw, tiles_of
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity, local_time

CAPTURE_SLOT = 4
MOST_LINES = 16
MOST_NOTES = 4
FINDING_HEAD = ("finding", "side", "shown on", "diameter", "volume", "probability")
HOUNSFIELD = "[hnsf'U]"
Row = tuple[Rgb | None, tuple[str, ...]]


def encode_capture(findings: Sequence[ModelFindings], volumes: Mapping[str, Volume],
                   sources: Mapping[str, Sequence[Dataset]], stamp: Stamp) -> EncodedObject | None:
    """Return one page of key slices and numbers as RGB Secondary Capture, or None where nothing is marked.

    The warning, model, version and time are burned in; nothing about the patient is. The page has no frame of
    reference: it is a picture, not an image to measure in. Its text is English whatever the language of the reports.

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
    with encoding("the summary", findings[0].stack.series_uid if findings else ""):
        names = {one.stack.series_uid: slice_names(one.stack, sources[one.stack.series_uid]) for one in findings}
        tiles = [tile for one, own in shown if one.stack.series_uid in volumes for tile in tiles_of(
            replace(one, detections=own), volumes[one.stack.series_uid], names[one.stack.series_uid])]
    tiles = sorted(tiles, key=lambda tile: not tile.shows_finding)[:MOST_TILES]
    if not tiles:
        return None
    models = tuple(one.provenance.model_name for one in findings)
    role = Role(kind="SC", group="summary", name="summary|SC", slot=CAPTURE_SLOT, subject="summary", models=models)
    series_uid = tiles[0].volume.stack.series_uid
    with encoding("the summary", series_uid):
        head = images.head_of(sources[series_uid][0])
        light = images.unnamed(head)
        result = SCImage(
            pixel_array=draw(tiles, _heading(findings, head, stamp), [*_tables(findings, names)], _notes(findings)),
            bits_allocated=8,
            photometric_interpretation="RGB", coordinate_system="PATIENT", patient_orientation=("L", "P"),
            study_instance_uid=head.StudyInstanceUID, patient_id=head.PatientID, patient_name="",
            patient_birth_date=head.PatientBirthDate, patient_sex=head.PatientSex,
            accession_number=head.AccessionNumber, study_id=head.StudyID, study_date=head.StudyDate,
            study_time=head.StudyTime, referring_physician_name=head.ReferringPhysicianName,
            transfer_syntax_uid=ExplicitVRLittleEndian, **identity(stamp, role))
        result.copy_patient_and_study_information(light)
        _complete(result, head, stamp)
        return finish(result, head, stamp, role)


def slice_names(stack: SliceStack, sources: Sequence[Dataset]) -> tuple[str, ...]:
    """Return what viewers call each slice: by its Instance Number, or in a multi-frame image by its frame.

    Where numbers are absent or stand twice, slices are counted along the normal.
    """
    by_uid = images.by_instance(sources, stack)
    found = [by_uid[plane.instance.sop_instance_uid] for plane in stack.planes]
    if any(images.is_multiframe(one) for one in found):
        return tuple(f"frame {plane.frame}" for plane in stack.planes)
    numbers = [str(one.get("InstanceNumber") or "").strip() for one in found]
    if "" in numbers or len(set(numbers)) < len(numbers):
        return tuple(f"slice {number} of {len(found)}" for number, _ in enumerate(found, start=1))
    return tuple(f"image {number}" for number in numbers)


def _complete(result: Dataset, head: Dataset, stamp: Stamp) -> None:
    result.ImageType = ["DERIVED", "SECONDARY"]
    result.BurnedInAnnotation = "YES"
    result.ConversionType = "WSD"
    result.PatientOrientation = ""
    moment = local_time(head, stamp)
    result.DateOfSecondaryCapture, result.TimeOfSecondaryCapture = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    for keyword in ("FrameOfReferenceUID", "PositionReferenceIndicator"):
        result.pop(keyword, None)
    images.state_body_part(result, head)


def _heading(findings: Sequence[ModelFindings], head: Dataset, stamp: Stamp) -> list[str]:
    warning = "AI RESULT - NOT VERIFIED" + (" - RESEARCH USE ONLY" if stamp.research else "")
    names = ", ".join(f"{one.provenance.model_name} {one.provenance.model_version}" for one in findings)
    return [warning, f"{names} - {local_time(head, stamp):%Y-%m-%d %H:%M %z}"]


def _notes(findings: Sequence[ModelFindings]) -> list[str]:
    """Return what a reader must know of the analysis, each note once."""
    notes = list(dict.fromkeys(f"Note: {text}" for one in findings for text in one.warnings))
    return notes[:MOST_NOTES] + (["More notes: see the report"] if len(notes) > MOST_NOTES else [])


def _tables(findings: Sequence[ModelFindings], names_of: Mapping[str, Sequence[str]]) -> Iterator[Table]:
    """Yield a table of the findings, of the structures, of the classes, as far as there are any."""
    found = [(one.label.colour_rgb, _finding(one, names_of[model.stack.series_uid][one.key_slice]))
             for model, one in listed(findings)]
    measured = [(one, organ) for one in findings for organ in one.organs]
    names = list(dict.fromkeys(one.name for _, organ in measured for one in organ.measurements))
    twice = Counter(_name(organ.label) for _, organ in measured)
    structures = [(organ.label.colour_rgb, (_name(organ.label) + (
        f" ({one.provenance.model_name})" if twice[_name(organ.label)] > 1 else ""), *_numbers(organ, names)))
        for one, organ in measured]
    classes = [(None, (one.of.name if legible(one.of.name) else one.of.code.meaning, one.presence.value,
                       f"{one.probability:.2f}")) for model in findings for one in model.classifications]
    for head, rows in ((FINDING_HEAD, found), (("structure", *(name.meaning.lower() for name in names)), structures),
                       (("class", "answer", "probability"), classes)):
        if rows:
            yield Table(head=head, rows=_shortened(rows))


def _shortened(rows: Sequence[Row]) -> tuple[Row, ...]:
    if len(rows) <= MOST_LINES:
        return tuple(rows)
    return (*rows[:MOST_LINES], (None, (f"and {len(rows) - MOST_LINES} more: see the report",)))


def _finding(found: Detection, shown_on: str) -> tuple[str, ...]:
    volume = "" if found.volume_ml is None else f"{found.volume_ml:.2f} ml"
    chance = "" if found.probability is None else f"{found.probability:.2f}"
    name = found.tracking_id.replace(found.label.name, _name(found.label))
    return (name, found.side, shown_on, f"{found.diameter_mm:.1f} mm", volume, chance)


def _numbers(organ: Organ, names: Sequence[Code]) -> Iterator[str]:
    told = {one.name: f"{one.value:.1f} {_unit(one.unit)}" for one in organ.measurements}
    return (told.get(name, "") for name in names)


def _unit(unit: Code) -> str:
    if unit.value == HOUNSFIELD:
        return "HU"
    return unit.value if unit.value.isalnum() else unit.meaning


def _name(label: Label) -> str:
    """Return what a label is called on the page: by its code where the font has no letters for its name."""
    if legible(label.name):
        return label.name
    return f"{label.modifier.meaning} {label.type.meaning.lower()}" if label.modifier else label.type.meaning
