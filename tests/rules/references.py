"""References: each leads to an image of the source or an object of the set, of that class, in that place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pydicom import Dataset

from tests.rules.scene import Scene, content, elements, frames, items_of, kind_of

COPIED = {"ReferencedStudySequence", "ReferencedPatientSequence", "ReferencedRequestSequence",
          "ReferencedPerformedProcedureStepSequence"}
"""What is copied from the source as it is, and leads to what an archive may never have had."""
DETACHED_STUDY = "1.2.840.10008.3.1.2.3.1"
"""How a structure set refers to its study (PS3.3 C.8.8.5), by a class that was retired."""
EVIDENCE = ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence")
REJECTED = "113001"


def _ours(one: Dataset) -> Dataset:
    """Return a result without what it copies, and without what it replaces or rejects: those are elsewhere."""
    left_out = {*COPIED, "PredecessorDocumentsSequence"}
    if kind_of(one) == "KOS" and one.ConceptNameCodeSequence[0].CodeValue == REJECTED:
        left_out |= {"ContentSequence", *EVIDENCE}
    return Dataset({element.tag: element for element in one if element.keyword not in left_out})


def _references(one: Dataset) -> Iterator[Dataset]:
    for item, element in elements(_ours(one)):
        if element.keyword == "ReferencedSOPInstanceUID":
            yield item


def references_resolve(one: Dataset, scene: Scene) -> Iterator[str]:
    for item in _references(one):
        target = scene.known.get(str(item.ReferencedSOPInstanceUID))
        if item.get("ReferencedSOPClassUID") == DETACHED_STUDY:
            if item.ReferencedSOPInstanceUID != one.StudyInstanceUID:
                yield "calls another study its own"
        elif target is None:
            yield f"refers to {item.ReferencedSOPInstanceUID}, which is neither a source nor a result"
        elif item.get("ReferencedSOPClassUID") != target.SOPClassUID:
            yield f"refers to a {target.SOPClassUID.name} as {item.get('ReferencedSOPClassUID')}"


def frames_exist(one: Dataset, scene: Scene) -> Iterator[str]:
    for item in _references(one):
        target = scene.known.get(str(item.ReferencedSOPInstanceUID))
        numbers = _many(item.get("ReferencedFrameNumber"))
        if target is not None and not all(1 <= int(number) <= frames(target) for number in numbers):
            yield f"refers to frames {numbers} of an image of {frames(target)} frames"
        if target is not None and numbers and frames(target) == 1 and "NumberOfFrames" not in target:
            yield "names a frame of an image that has no frames"


def segments_exist(one: Dataset, scene: Scene) -> Iterator[str]:
    for item in _references(one):
        target = scene.known.get(str(item.ReferencedSOPInstanceUID))
        numbers = _many(item.get("ReferencedSegmentNumber"))
        if numbers and target is not None:
            there = {int(segment.SegmentNumber) for segment in target.get("SegmentSequence", [])}
            if not {int(number) for number in numbers} <= there:
                yield f"refers to segments {numbers} of an object that has {len(there)}"


def places_in_the_study_are_true(one: Dataset, scene: Scene) -> Iterator[str]:
    """Study → series → instance, wherever a result lists what it refers to."""
    for item in items_of(_ours(one), "ReferencedSeriesSequence"):
        instances = [*item.get("ReferencedSOPSequence", []), *item.get("ReferencedInstanceSequence", [])]
        for instance in instances:
            target = scene.known.get(str(instance.ReferencedSOPInstanceUID))
            if target is not None and target.SeriesInstanceUID != item.get("SeriesInstanceUID"):
                yield f"places {instance.ReferencedSOPInstanceUID} in a series where it is not"
    for item in items_of(_ours(one), *EVIDENCE, "StudiesContainingOtherReferencedInstancesSequence"):
        if item.get("StudyInstanceUID") != scene.source_of(one).StudyInstanceUID:
            yield "lists its evidence under another study"


def evidence_lists_what_is_named(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.3 C.17.2.3: whatever the content refers to stands in the evidence too."""
    if "ContentSequence" not in one or kind_of(one) not in {"SR3D", "SR", "TEXT", "KOS"}:
        return
    listed = {str(item.ReferencedSOPInstanceUID) for keyword in EVIDENCE for study in one.get(keyword, [])
              for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence}
    named = {str(image.ReferencedSOPInstanceUID) for item in content(one)
             for image in item.get("ReferencedSOPSequence", [])}
    if named - listed:
        yield f"{len(named - listed)} of {len(named)} objects that the content names are not in its evidence"
    if not listed:
        yield "names no evidence at all"


def series_named_in_the_content_exist(one: Dataset, scene: Scene) -> Iterator[str]:
    known = {str(found.SeriesInstanceUID) for found in scene.known.values()}
    for item in content(one):
        if item.get("ValueType") == "UIDREF" and item.ConceptNameCodeSequence[0].CodeValue == "121232" \
                and str(item.UID) not in known:
            yield f"names source series {item.UID}, which is not there"


def common_instance_references_are_complete(one: Dataset, scene: Scene) -> Iterator[str]:
    """PS3.3 C.12.2: every source image that a frame is derived from stands in the Referenced Series Sequence."""
    if kind_of(one) not in {"SEG", "LABELMAP", "PM"}:
        return
    listed = {str(item.ReferencedSOPInstanceUID) for series in one.get("ReferencedSeriesSequence", [])
              for item in series.ReferencedInstanceSequence}
    used = {str(item.ReferencedSOPInstanceUID) for item in items_of(one, "SourceImageSequence")}
    if used & scene.source_uids - listed:
        yield f"{len(used - listed)} of its source images are not in its Referenced Series Sequence"


def _many(value: object) -> list[object]:
    if value is None:
        return []
    return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]


RULES = (
    references_resolve, frames_exist, segments_exist, places_in_the_study_are_true, evidence_lists_what_is_named,
    series_named_in_the_content_exist, common_instance_references_are_complete,
)
