"""The matrix: every kind of study and finding, encoded as the worker encodes it. One line adds a case.

Kinds of objects need no line: all that ``run.encoding`` can make is made for every case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.sr.codedict import codes

from dicomnode.domain.dicom import COMPREHENSIVE_SR_STORAGE, SEGMENTATION_STORAGE, InstanceRef
from dicomnode.domain.findings import (
    Classification,
    Detection,
    EncodedObject,
    ModelFindings,
    NotAnalysed,
    ParametricMap,
    Presence,
    Segmentation,
)
from dicomnode.domain.model import InputRole, Label, ModelFile, Outputs, SpacingLimits
from dicomnode.domain.node import TAKES
from dicomnode.domain.settings import ClassLabel
from dicomnode.domain.volume import SliceStack
from dicomnode.encode.kos import encode_rejection
from dicomnode.encode.series import Stamp
from dicomnode.encode.text import encode_notice
from dicomnode.infer.measure import QUANTITY
from dicomnode.read.series import LoadedSeries, load, load_headers
from dicomnode.run.encoding import Material, encode_all
from tests.conformance.sources import stored, stored_again
from tests.findings import (
    HEART,
    LEFT_KIDNEY,
    LUNG,
    NODULE,
    STRUCTURE,
    block,
    findings,
    lesion,
    organ,
    provenance,
    sct,
    stamp,
)

ANY_STACK = InputRole(role="any", modality="", spacing_mm=SpacingLimits(uneven=10.0, tilt_deg=45.0))
LIVER = Label(value=1, name="Liver", category=STRUCTURE, type=sct("10200004", "Liver"), colour_rgb=(150, 80, 40))
SPLEEN = Label(value=2, name="Spleen", category=STRUCTURE, type=sct("78961009", "Spleen"), colour_rgb=(90, 60, 160))
AUDIENCES = (TAKES, ("LABELMAP", "SR", "TEXT", "KOS"))
"""One peer takes everything, one prefers label maps: between them they are sent every form there is."""
IMAGING = sct("363679005", "Imaging procedure")  # CID 100
CLASSES = (("Pleural effusion", "60046008", Presence.PRESENT), ("Pneumothorax", "36118008", Presence.ABSENT),
           ("Normal", "17621005", Presence.UNDETERMINED))

Finder = Callable[[Sequence[LoadedSeries]], tuple[ModelFindings, ...]]


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


def organs_and_lesions(loaded: Sequence[LoadedSeries], **changes: object) -> tuple[ModelFindings, ...]:
    """Two organs and two nodules, one of them on a single slice, and the probability of each voxel."""
    stack = loaded[0].volume.stack
    changes.setdefault("parametric", _map(stack, "probability"))
    shape = stack.shape_zyx
    middle = min(5, shape[0] - 1)
    return (findings(stack, _organs(shape), **changes, lesions=[
        block(shape, slice(middle, middle + 3), slice(6, 9), slice(5, 8)),
        block(shape, slice(middle, middle + 1), slice(12, 15), slice(6, 10))]),)


def _map(stack: SliceStack, quantity: str) -> ParametricMap:
    """Return numbers that differ everywhere."""
    values = np.linspace(0, 1, num=int(np.prod(stack.shape_zyx)), dtype=np.float32).reshape(stack.shape_zyx)
    return ParametricMap(values_zyx=values, quantity=QUANTITY[quantity], labels=(NODULE,))


def uncertain(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """The uncertainty of two labels instead of a probability."""
    shown = replace(_map(loaded[0].volume.stack, "uncertainty"), labels=(LUNG, NODULE))
    return organs_and_lesions(loaded, parametric=shown)


def _organs(shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    mask = np.zeros(shape, np.uint8)
    mask[: max(1, shape[0] - 2), 3:20, 3:12] = LUNG.value
    mask[shape[0] // 3:, 3:18, 15:26] = LEFT_KIDNEY.value
    return mask


def organs_alone(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """Organs were marked, and no nodule that the model looked for."""
    stack = loaded[0].volume.stack
    return (findings(stack, _organs(stack.shape_zyx)),)


def nothing(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    stack = loaded[0].volume.stack
    return (findings(stack, np.zeros(stack.shape_zyx, np.uint8)),)


def overlapping(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """Two organs that share voxels."""
    stack = loaded[0].volume.stack
    bits = np.zeros(stack.shape_zyx, np.uint8)
    bits[2:9, 2:16, 2:18] |= 1
    bits[5:11, 8:22, 10:26] |= 2
    drawn = Segmentation(mask_zyx=bits, stack=stack, labels=(LIVER, SPLEEN), overlapping=True)
    organs = tuple(organ(label, drawn.voxels(label) * label.value) for label in drawn.labels)
    return (ModelFindings(provenance=provenance("overlapping"), stack=stack, segmentation=drawn, organs=organs),)


def detections_alone(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """Boxes of a detector, without masks; one lies at the very edge of the image."""
    stack = loaded[0].volume.stack
    shape = stack.shape_zyx
    found = [lesion(block(shape, slice(4, 7), slice(6, 11), slice(5, 9))),
             lesion(block(shape, slice(0, 2), slice(0, 3), slice(shape[2] - 2, shape[2])), 2, probability=0.31,
                    side="right")]
    boxes = tuple(replace(one, volume_ml=None, box_zyx=_edges(one)) for one in found)
    return (ModelFindings(provenance=provenance("detector"), stack=stack, detections=boxes, looked_for=(NODULE,)),)


def _edges(one: Detection) -> tuple[float, float, float, float, float, float]:
    top, left, bottom, right = one.box_yx
    return one.key_slice - 1.5, top - 0.5, left - 0.5, one.key_slice + 1.5, bottom + 0.5, right + 0.5


def classes(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """One class is present, one absent, one undetermined."""
    return (ModelFindings(
        provenance=provenance("chest_classes"), stack=loaded[0].volume.stack, classifications=tuple(
            Classification(of=ClassLabel(value=value, name=name, code=sct(code, name)), presence=presence,
                           probability=0.9 - 0.3 * value)
            for value, (name, code, presence) in enumerate(CLASSES))),)


def many_organs(loaded: Sequence[LoadedSeries], *, count: int = 104) -> tuple[ModelFindings, ...]:
    """As many organs as whole-body models mark."""
    stack = loaded[0].volume.stack
    names = sorted(code for code in codes.cid7192.concepts.values() if code.scheme_designator == "SCT")
    labels = tuple(
        Label(value=value, name=code.meaning.capitalize()[:64], category=STRUCTURE, type=sct(code.value, code.meaning),
              colour_rgb=(value * 2, 255 - value * 2, value * 5 % 256))
        for value, code in enumerate(names[:: len(names) // count][:count], start=1))
    mask = np.zeros(stack.shape_zyx, np.uint8)
    for label in labels:
        row, column = divmod(label.value - 1, 13)
        mask[2:5, row * 3:row * 3 + 2, column * 2:column * 2 + 2] = label.value
    return (findings(stack, mask, labels=labels, model=provenance("whole_body")),)


def two_models(loaded: Sequence[LoadedSeries]) -> tuple[ModelFindings, ...]:
    """A model that segments, one that detects and one that classifies; the last one's series where there are two."""
    stack = loaded[-1].volume.stack
    heart = np.zeros(stack.shape_zyx, np.uint8)
    heart[3:8, 4:14, 6:20] = HEART.value
    second = findings(stack, heart, labels=(HEART,), model=provenance("heart", research=False))
    return (*organs_and_lesions(loaded[:1]), second, *classes(loaded))


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


def stacks_of(found: Sequence[ModelFindings]) -> dict[str, SliceStack]:
    """Return the stack of each series that findings lie on."""
    return {one.stack.series_uid: one.stack for one in found}
