"""Findings and volumes become TID 1500 measurement reports (PS3.16): one template family per report."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from highdicom import sr
from pydicom import Dataset

from dicomnode.domain.dicom import Code
from dicomnode.domain.findings import EncodedObject, ModelFindings, listed
from dicomnode.encode import sources as images
from dicomnode.encode.classes import class_group
from dicomnode.encode.codes import (
    IMAGING_MEASUREMENT_REPORT,
    IMAGING_PROCEDURE,
    LANGUAGES,
    ONCOLOGY_MEASUREMENT_REPORT,
    PROCEDURES,
    concept,
)
from dicomnode.encode.groups import Group, finding_group, organ_group
from dicomnode.encode.meanings import said
from dicomnode.encode.observer import device
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity, reference_predecessors
from dicomnode.encode.text import CLASSES_SLOT, class_report, negative_reports

FORMS: Final[tuple[tuple[str, type[sr.ComprehensiveSR | sr.Comprehensive3DSR]], ...]] = (
    ("SR3D", sr.Comprehensive3DSR), ("SR", sr.ComprehensiveSR),
)
"""The alternatives of a measurement report, best first: a peer gets the first that it takes."""

Sources = Mapping[str, Sequence[Dataset]]
Drawn = Mapping[tuple[str, int], tuple[EncodedObject, int]]
"""(Model name, label value) → the segmentation that shows the structure, and its segment number there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What tells one measurement report from another: its subject, title, groups and what it refers to."""

    group: str
    slot: int
    subject: str
    title: Code
    models: tuple[ModelFindings, ...]
    groups: Callable[[], list[Group]]
    evidence: tuple[Dataset, ...]
    variant: str = ""  # tells apart what else is equal: the form of the segmentations that it refers to
    refers_to: tuple[str, ...] = ()


def encode_reports(findings: Sequence[ModelFindings], sources: Sources, stamp: Stamp,
                   segs: Sequence[EncodedObject] = ()) -> tuple[EncodedObject, ...]:
    """Return the reports of one set of results: findings, volumes, and what was looked for and not found.

    Findings (TID 1410, coordinates in every group, titled 126000) where a model found lesions; volumes (TID 1411
    with the segment, or TID 1501 where a model has no SEG; titled 126001) where it measured structures; classes (TID
    1501) where it classified; the negative report where a model looked for something and found none. Each measurement
    report comes as Comprehensive 3D SR and as Comprehensive SR, alternatives in one group; classes in words too. A
    volumes report refers to segmentations of one form: one variant for each form that there is.

    Parameters
    ----------
    sources:
        Headers by SeriesInstanceUID, those of every stack among them.
    segs:
        The segmentations of the models that have any, in every form that was made.

    Raises
    ------
    EncodingError
        If a header is missing or unfit.
    """
    found = tuple(one for one in findings if one.detections)
    measured = tuple(one for one in findings if one.organs)
    classified = tuple(one for one in findings if one.classifications)
    reports: list[EncodedObject] = []
    if found:
        reports += _measurement_report(_findings_report(found, sources, stamp), sources, stamp)
    if measured:
        for form, drawn in _drawings(segs) or [("", {})]:
            reports += _measurement_report(_volumes_report(measured, stamp, form, drawn), sources, stamp)
    if classified:
        reports += _measurement_report(_classes_report(classified, sources, stamp), sources, stamp)
        reports.append(class_report(classified, sources, stamp))
    return (*reports, *negative_reports(findings, sources, stamp))


def _findings_report(models: tuple[ModelFindings, ...], sources: Sources, stamp: Stamp) -> Report:
    with encoding("the findings report", models[0].stack.series_uid):
        keys: dict[str, Dataset] = {}
        reported = listed(models)
        for one in models:
            known = images.by_instance(sources.get(one.stack.series_uid, ()), one.stack)
            own = {found.key_slice for model, found in reported if model is one}
            planes = [one.stack.planes[k] for k in sorted(own) if k < len(one.stack.planes)]
            keys |= {uid: known[uid] for uid in (plane.instance.sop_instance_uid for plane in planes)}
        evidence = tuple(images.reference(source) for source in keys.values())
    return Report(
        group="findings", slot=0, subject="findings", title=IMAGING_MEASUREMENT_REPORT, models=models,
        evidence=evidence,
        groups=lambda: [finding_group(one, found, stamp.language) for one, found in reported])


def _drawings(segs: Sequence[EncodedObject]) -> list[tuple[str, Drawn]]:
    """Return, for each form of segmentation, what it shows where; binary first."""
    forms = sorted({seg.kind for seg in segs}, key=("SEG", "LABELMAP").index)
    return [(form, {place: (seg, number) for seg in segs if seg.kind == form for place, number in seg.segments.items()})
            for form in forms]


def _volumes_report(models: tuple[ModelFindings, ...], stamp: Stamp, form: str, drawn: Drawn) -> Report:
    measured = [(one, organ, drawn.get((one.provenance.model_name, organ.label.value)))
                for one in models for organ in one.organs]
    if {one.provenance.model_name for one in models} <= {name for name, _ in drawn}:
        measured = [(one, organ, place) for one, organ, place in measured if place is not None]
    else:
        measured = [(one, organ, None) for one, organ, _ in measured]
    used = {place[0].sop_instance_uid: place[0] for _, _, place in measured if place is not None}
    return Report(
        group="volumes", slot=1, subject="volumes", title=ONCOLOGY_MEASUREMENT_REPORT, models=models,
        groups=lambda: [organ_group(one, organ, stamp, place) for one, organ, place in measured],
        evidence=tuple(_seg_reference(seg, models[0].stack.study_uid) for seg in used.values()),
        variant="" if form in {"", "SEG"} else f"|{form}", refers_to=tuple(used))


def _classes_report(models: tuple[ModelFindings, ...], sources: Sources, stamp: Stamp) -> Report:
    examined = [source for uid in dict.fromkeys(one.stack.series_uid for one in models) for source in sources[uid]]
    return Report(
        group="classification", slot=CLASSES_SLOT, subject="classification", title=ONCOLOGY_MEASUREMENT_REPORT,
        models=models, evidence=tuple(images.reference(source) for source in examined[1:]),
        groups=lambda: [class_group(one, found, stamp) for one in models for found in one.classifications])


def _measurement_report(report: Report, sources: Sources, stamp: Stamp) -> list[EncodedObject]:
    series_uid = report.models[0].stack.series_uid
    written = []
    with encoding(f"the {report.group} report", series_uid):
        source = sources[series_uid][0]
        groups = report.groups()
        if not groups:
            return []
        for kind, form in FORMS:
            role = Role(kind=kind, group=report.group, name=f"{report.group}|{kind}{report.variant}", slot=report.slot,
                        subject=report.subject, models=tuple(one.provenance.model_name for one in report.models))
            head = images.head_of(source)
            document = form(
                evidence=[images.unnamed(head), *report.evidence], content=_content(report, head, stamp, groups),
                is_complete=True, is_final=False, is_verified=False, **identity(stamp, role))
            reference_predecessors(document, stamp)
            written.append(replace(finish(document, head, stamp, role), refers_to=report.refers_to))
    return written


def _content(report: Report, head: Dataset, stamp: Stamp, groups: list[Group]) -> Dataset:
    built = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=device(stamp)),
        procedure_reported=said(_procedure(report, head), stamp.language),
        imaging_measurements=groups, title=concept(report.title),
        language_of_content_item_and_descendants=sr.LanguageOfContentItemAndDescendants(
            said(LANGUAGES[stamp.language[:2]], stamp.language)))
    root: Dataset = built[0]
    return root


def _procedure(report: Report, head: Dataset) -> Code:
    """Return what was done (CID 100): what the models' files say where they agree, else the modality's own."""
    stated = {one.procedure for one in report.models}
    common = stated.pop() if len(stated) == 1 else None
    return common or PROCEDURES.get(str(head.get("Modality", "")), IMAGING_PROCEDURE)


def _seg_reference(seg: EncodedObject, study_uid: str) -> Dataset:
    light = Dataset()
    light.StudyInstanceUID, light.SeriesInstanceUID = study_uid, seg.series_uid
    light.SOPClassUID, light.SOPInstanceUID = seg.sop_class_uid, seg.sop_instance_uid
    return light
