"""Measurement groups: one per lesion (TID 1410), one per structure (TID 1411, or TID 1501 without a segment)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from highdicom import sr
from pydicom import Dataset

from dicomnode.domain.dicom import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, Code
from dicomnode.domain.findings import Detection, EncodedObject, Measurement, ModelFindings, Organ, Provenance
from dicomnode.domain.volume import SlicePlane
from dicomnode.encode.chinese import said_in
from dicomnode.encode.codes import (
    ARTIFICIAL_INTELLIGENCE,
    COMMENT,
    CUBIC_CENTIMETRE,
    DERIVATIONS,
    DIAMETER,
    MILLILITRE_VALUES,
    MILLIMETRE,
    PROBABILITY,
    UNITY,
    VOLUME,
    concept,
)
from dicomnode.encode.meanings import said
from dicomnode.encode.place import outline, place_of
from dicomnode.encode.series import Stamp

Group = (sr.PlanarROIMeasurementsAndQualitativeEvaluations | sr.VolumetricROIMeasurementsAndQualitativeEvaluations
         | sr.MeasurementsAndQualitativeEvaluations)
SIGNIFICANT_DIGITS = 6
"""Numbers are written with six significant digits: more would claim what no scanner measures."""

DIGEST_CHARS = 19
"""'sha256:' and twelve digits: enough to tell weights apart by eye; SEG and equipment carry the whole digest."""


def finding_group(findings: ModelFindings, found: Detection, language: str
                  ) -> sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    """Return a lesion: outline on its key slice, diameter in mm, volume in cm3 and probability where there are any."""
    plane = findings.stack.planes[found.key_slice]
    place, side = place_of(found, findings)
    site = _site(place, side, language) if place else None
    group = sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=found.tracking_uid, identifier=found.tracking_id),
        referenced_region=sr.ImageRegion(
            graphic_type=sr.GraphicTypeValues.POLYLINE, graphic_data=outline(found, findings),
            source_image=sr.SourceImageForRegion(
                plane.instance.sop_class_uid, plane.instance.sop_instance_uid, frames_of(plane))),
        finding_type=said(found.label.type, language), finding_category=said(found.label.category, language),
        algorithm_id=algorithm(findings.provenance), finding_sites=[site] if site else None,
        measurements=list(_finding_numbers(found, language)))
    comment(group[0], findings, language)
    return group


def organ_group(findings: ModelFindings, organ: Organ, stamp: Stamp, seg: tuple[EncodedObject, int] | None) -> Group:
    """Return a structure with its numbers; with ``seg`` = (object, segment number) TID 1411, else TID 1501."""
    name, language = findings.provenance.model_name, stamp.language
    shared: dict[str, Any] = {
        "tracking_identifier": sr.TrackingIdentifier(
            uid=stamp.derive(f"structure|{name}|{organ.label.value}"), identifier=organ.label.name),
        "finding_type": said(organ.label.type, language),
        "finding_category": said(organ.label.category, language),
        "algorithm_id": algorithm(findings.provenance),
        "finding_sites": [_site(organ.label.region or organ.label.type, organ.label.modifier, language)],
        "measurements": [number(*_in_cm3(one), language) for one in organ.measurements],
    }
    group: Group
    if seg is None:
        group = sr.MeasurementsAndQualitativeEvaluations(**shared)
    else:
        group = sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=sr.ReferencedSegment(
                seg[0].sop_class_uid, seg[0].sop_instance_uid, seg[1],
                source_series=sr.SourceSeriesForSegmentation(findings.stack.series_uid)), **shared)
    comment(group[0], findings, language)
    return group


def _finding_numbers(found: Detection, language: str) -> Iterator[sr.Measurement]:
    yield number(DIAMETER, found.diameter_mm, MILLIMETRE, language)
    if found.volume_ml is not None:
        yield number(VOLUME, found.volume_ml, CUBIC_CENTIMETRE, language)
    yield from (number(*_in_cm3(one), language) for one in found.measurements)
    if found.probability is not None:
        yield number(PROBABILITY, found.probability, UNITY, language, by=found.probability_by)


def frames_of(plane: SlicePlane) -> list[int] | None:
    """Return the frame that a reference to a plane must name, None for a single-frame image (PS3.3 Table 10-3)."""
    single = plane.instance.sop_class_uid in {CT_IMAGE_STORAGE, MR_IMAGE_STORAGE} and plane.frame == 1
    return None if single else [plane.frame]


def number(name: Code, value: float, unit: Code, language: str, *, by: Provenance | None = None) -> sr.Measurement:
    """Return one number with its unit, in six significant digits; ``by`` another model than that of its group."""
    rounded = float(f"{value:.{SIGNIFICANT_DIGITS}g}")
    derivation = DERIVATIONS.get(name.value)
    return sr.Measurement(name=said(name, language), value=rounded, unit=said(unit, language),
                          derivation=said(derivation, language) if derivation else None,
                          algorithm_id=algorithm(by) if by else None)


def _in_cm3(one: Measurement) -> tuple[Code, float, Code]:
    """Return name, value, unit; the millilitre is written as cm3, the same quantity."""
    return one.name, one.value, CUBIC_CENTIMETRE if one.unit.value in MILLILITRE_VALUES else one.unit


def _site(place: Code, side: Code | None, language: str) -> sr.FindingSite:
    return sr.FindingSite(said(place, language), laterality=said(side, language) if side else None)


def algorithm(provenance: Provenance) -> sr.AlgorithmIdentification:
    """Return which model made a group, and with which weights."""
    return sr.AlgorithmIdentification(
        name=provenance.model_name, version=provenance.model_version, family=concept(ARTIFICIAL_INTELLIGENCE),
        parameters=[f"weights {provenance.model_digest[:DIGEST_CHARS]}"])


def comment(group: Dataset, findings: ModelFindings, language: str) -> None:
    """Add the findings' warnings to a group, for whoever reads it, in the report's language."""
    for warning in findings.warnings:
        group.ContentSequence.append(sr.TextContentItem(
            name=concept(COMMENT), value=said_in(language, warning),
            relationship_type=sr.RelationshipTypeValues.CONTAINS))
