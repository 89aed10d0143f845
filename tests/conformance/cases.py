"""The matrix: every kind of study and finding, encoded as the worker encodes it. One line adds a case.

Kinds of objects need no line: all that ``run.encoding`` can make is made for every case.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dicomnode.domain.dicom import COMPREHENSIVE_SR_STORAGE, SEGMENTATION_STORAGE, InstanceRef
from dicomnode.domain.findings import EncodedObject, ModelFindings, NotAnalysed
from dicomnode.domain.model import InputRole, ModelFile, SpacingLimits
from dicomnode.domain.node import TAKES
from dicomnode.domain.settings import Outputs
from dicomnode.encode.kos import encode_rejection
from dicomnode.encode.series import Stamp
from dicomnode.encode.text import encode_notice
from dicomnode.read.series import LoadedSeries, load, load_headers
from dicomnode.run.encoding import Material, encode_all
from tests.conformance.finders import (
    Finder,
    classes,
    detections_alone,
    many_organs,
    nothing,
    organs_alone,
    organs_and_lesions,
    overlapping,
    two_models,
    uncertain,
)
from tests.conformance.sources import stored, stored_again
from tests.findings import LUNG, NODULE, sct, stamp

ANY_STACK = InputRole(role="any", modality="", spacing_mm=SpacingLimits(uneven=10.0, tilt_deg=45.0))
IMAGING = sct("363679005", "Imaging procedure")  # CID 100
AUDIENCES = (TAKES, ("LABELMAP", "SR", "TEXT", "KOS"))
"""One peer takes everything, one prefers label maps: between them they are sent every form there is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One study and what models found in it; ``finder`` None: it was not analysed."""

    series: str
    finder: Finder | None = None
    second_series: bool = False
    stamp: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What came of a case; ``paths`` holds each object's file, named after its kind and its place in the set."""

    sources: tuple[Path, ...]
    findings: tuple[ModelFindings, ...]
    objects: tuple[EncodedObject, ...]
    paths: tuple[Path, ...]


SUPERSEDING = {"job_key": "later", "predecessors": (f"{COMPREHENSIVE_SR_STORAGE}:2.25.31415",), "supersedes": True}
CHINESE = {"language": "zh-CN"}
CASES: dict[str, Case] = {
    **{name: Case(series=name, finder=organs_and_lesions) for name in (
        "axial CT", "sagittal MR", "coronal CT", "oblique CT", "tilted CT", "one slice of CT", "Enhanced CT",
        "Enhanced MR", "name in GB18030", "name in UTF-8", "name in Japanese", "name in Korean", "MR without patient",
        "lossy CT", "over-anonymised MR")},
    "findings in Chinese": Case(series="axial CT", finder=organs_and_lesions, stamp=CHINESE),
    "findings with remarks": Case(
        series="axial CT", finder=partial(organs_and_lesions, warnings=("uneven spacing: 2 of 11 gaps",))),
    "findings by contour": Case(series="Enhanced CT", finder=partial(organs_and_lesions, contoured=True)),
    "findings with procedure and site": Case(
        series="coronal CT", finder=partial(organs_and_lesions, procedure=IMAGING, finding_site=LUNG.type)),
    "uncertainty": Case(series="Enhanced MR", finder=uncertain),
    "organs and no lesion": Case(series="axial CT", finder=organs_alone),
    "nothing found": Case(series="sagittal MR", finder=nothing),
    "nothing found, in Chinese": Case(series="name in GB18030", finder=nothing, stamp=CHINESE),
    "overlapping labels": Case(series="axial CT", finder=overlapping),
    "overlapping labels on Enhanced MR": Case(series="Enhanced MR", finder=overlapping),
    "detection without masks": Case(series="axial CT", finder=detections_alone),
    "detection on Enhanced CT": Case(series="Enhanced CT", finder=detections_alone),
    "classification": Case(series="axial CT", finder=classes),
    "classification in Chinese": Case(series="Enhanced MR", finder=classes, stamp=CHINESE),
    "104 labels": Case(series="axial CT", finder=many_organs),
    "30 labels on Enhanced CT": Case(series="Enhanced CT", finder=partial(many_organs, count=30)),
    "three models": Case(series="axial CT", finder=two_models),
    "three models on two series": Case(series="tilted CT", finder=two_models, second_series=True),
    "superseding results": Case(series="axial CT", finder=organs_and_lesions, stamp=SUPERSEDING),
    "superseding nothing found, in Chinese": Case(series="axial CT", finder=nothing, stamp={**SUPERSEDING, **CHINESE}),
    "not analysed": Case(series="axial CT"),
    "not analysed, in Chinese": Case(series="name in GB18030", stamp=CHINESE),
    "not analysed, without patient": Case(series="MR without patient"),
}


def encoded(case: Case, folder: Path) -> Result:
    """Write the study's files, read them as the node does, encode all kinds of objects, and write those."""
    sources = stored(case.series, folder)
    groups = [sources, *([stored_again(sources, folder)] if case.second_series else [])]
    return encoded_of(groups, case, folder)


def encoded_of(groups: Sequence[Sequence[Path]], case: Case, folder: Path) -> Result:
    """Read series of files as the node does, encode all kinds of objects, and write those."""
    if case.finder is None:
        objects, found = _notice(groups[0], case), ()
    else:
        loaded = [load(paths, ANY_STACK) for paths in groups]
        found = case.finder(loaded)
        marked = _stamp(case, found)
        objects = (*_few_manifests(encode_all(_material(found, loaded, marked))), *_rejections(loaded, marked))
    paths = []
    for number, one in enumerate(objects):
        paths.append(folder / f"result{number:02d}.{one.kind}.dcm")
        paths[-1].write_bytes(one.payload)
    return Result(sources=tuple(path for paths in groups for path in paths), findings=found, objects=objects,
                  paths=tuple(paths))


def _stamp(case: Case, found: Sequence[ModelFindings]) -> Stamp:
    return stamp(*(one.provenance for one in found), **{"job_key": "job", **case.stamp})


def _few_manifests(objects: Sequence[EncodedObject]) -> list[EncodedObject]:
    """Leave the first manifest and the last: all others differ from them in how many objects they name, and no more."""
    manifests = [one for one in objects if one.kind == "KOS"]
    return [one for one in objects if one.kind != "KOS" or one in (*manifests[:1], *manifests[-1:])]


def _rejections(loaded: Sequence[LoadedSeries], marked: Stamp) -> tuple[EncodedObject, ...]:
    """Return the note that takes back what an earlier analysis sent, where there was one."""
    if not marked.predecessors:
        return ()
    earlier = [InstanceRef(sop_class_uid=COMPREHENSIVE_SR_STORAGE, sop_instance_uid="2.25.31415"),
               InstanceRef(sop_class_uid=SEGMENTATION_STORAGE, sop_instance_uid="2.25.27182")]
    return (encode_rejection(earlier, loaded[0].sources[0], marked, "archive"),)


def _notice(sources: Sequence[Path], case: Case) -> tuple[EncodedObject, ...]:
    headers = load_headers(sources)
    reason = NotAnalysed(reason="MissingSlices", text="gap of 7.0 mm after slice 12 where 4.0 mm is the spacing",
                         study_uid=str(headers[0].StudyInstanceUID))
    marked = stamp(**{"job_key": "job", **case.stamp, "provenance": ()})
    return (encode_notice(reason, headers, marked),)


def _material(found: tuple[ModelFindings, ...], loaded: Sequence[LoadedSeries], marked: Stamp) -> Material:
    by_uid = {one.volume.stack.series_uid: one for one in loaded}
    return Material(
        findings=found, models=tuple(_model(one) for one in found), stamp=marked, audiences=AUDIENCES,
        volumes={uid: one.volume for uid, one in by_uid.items()},
        sources={uid: one.sources for uid, one in by_uid.items()})


def _model(one: ModelFindings) -> ModelFile:
    labels = one.segmentation.labels if one.segmentation is not None else (NODULE,)
    return ModelFile(
        name=one.provenance.model_name, task="segmentation", bundle="", digest=one.provenance.model_digest,
        intended_use=one.provenance.intended_use, inputs=(ANY_STACK,), labels=labels, outputs=Outputs())
