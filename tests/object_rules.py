"""The project's own checker of results: what validators do not look at. Returns sentences, one per broken rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from pydicom import DataElement, Dataset
from pydicom.sr.codedict import codes

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, MANUFACTURER, MODEL_NAME

SAME_AS_SOURCE = (
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
    "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber",
)
COPIED_REFERENCES = {"ReferencedStudySequence", "ReferencedPatientSequence"}


def _values(context_group: object) -> set[str]:
    return {getattr(context_group, name).value for name in context_group.concepts}  # type: ignore[attr-defined]


CATEGORIES = _values(codes.cid7150)
MEASUREMENT_TITLES, TEXT_TITLES, PROCEDURES = _values(codes.cid7021), _values(codes.cid7000), _values(codes.cid100)


def broken_rules(results: Sequence[Dataset], sources: Sequence[Dataset]) -> list[str]:
    """Return every rule that a set of results breaks, with the object it is broken in."""
    found = []
    known = {str(one.SOPInstanceUID) for one in (*results, *sources)}
    for one in results:
        checks = [_labels, _identity, _copied, _characters, _references]
        checks += [_segments] if one.Modality == "SEG" else [_report] if one.Modality == "SR" else []
        found += [f"{one.SeriesDescription}: {text}" for check in checks for text in check(one, sources, known)]
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID"):
        values = [one[keyword].value for one in results]
        if len(set(values)) != len(values):
            found.append(f"{keyword} stands twice")
    return found


def _labels(one: Dataset, _sources: Sequence[Dataset], _known: set[str]) -> Iterator[str]:
    if not (one.SeriesDescription.startswith("AI ") and " - NOT VERIFIED" in one.SeriesDescription):
        yield "SeriesDescription does not say AI and NOT VERIFIED"
    if one.get("ContentQualification") not in {"RESEARCH", "PRODUCT"}:
        yield "ContentQualification is absent"
    if (one.Manufacturer, one.ManufacturerModelName) != (MANUFACTURER, MODEL_NAME):
        yield "the equipment is not this node"
    if one.Modality == "SR" and (one.VerificationFlag, one.CompletionFlag) != ("UNVERIFIED", "COMPLETE"):
        yield "flags are not UNVERIFIED, COMPLETE"


def _identity(one: Dataset, sources: Sequence[Dataset], _known: set[str]) -> Iterator[str]:
    if not one.SOPInstanceUID.startswith("2.25.") or not one.SeriesInstanceUID.startswith("2.25."):
        yield "UIDs are not derived"
    if one.SeriesInstanceUID in {source.SeriesInstanceUID for source in sources}:
        yield "lies in a source series"
    if one.file_meta.ImplementationClassUID != IMPLEMENTATION_CLASS_UID:
        yield "another implementation wrote the file"
    if len(one.file_meta.ImplementationVersionName) > 16:
        yield "ImplementationVersionName over 16 characters"


def _copied(one: Dataset, sources: Sequence[Dataset], _known: set[str]) -> Iterator[str]:
    for keyword in SAME_AS_SOURCE:
        if str(one.get(keyword, "")) != str(sources[0].get(keyword, "")):
            yield f"{keyword} differs from the source"
    if one.get("TimezoneOffsetFromUTC") is None or one.get("SeriesDate") is None or one.get("SeriesTime") is None:
        yield "TimezoneOffsetFromUTC, SeriesDate or SeriesTime is absent"


def _characters(one: Dataset, _sources: Sequence[Dataset], _known: set[str]) -> Iterator[str]:
    if one.SpecificCharacterSet != "ISO_IR 192":
        yield "is not written as ISO_IR 192"
    if "?" in str(one.PatientName) or "�" in str(one.PatientName):
        yield "PatientName lost characters"


def _references(one: Dataset, _sources: Sequence[Dataset], known: set[str]) -> Iterator[str]:
    predecessors = one.get("PredecessorDocumentsSequence", [])
    earlier = set(_instances(predecessors))
    ours = [element for element in one if element.keyword not in COPIED_REFERENCES]
    for element in _elements(ours):
        if element.keyword == "ReferencedSOPInstanceUID" and element.value not in known | earlier:
            yield f"refers to {element.value}, which is neither a source nor a result"


def _segments(one: Dataset, _sources: Sequence[Dataset], _known: set[str]) -> Iterator[str]:
    numbers = [item.SegmentNumber for item in one.SegmentSequence]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"segment numbers are {numbers}"
    for item in one.SegmentSequence:
        category = item.SegmentedPropertyCategoryCodeSequence[0]
        if category.CodeValue not in CATEGORIES:
            yield f"category {category.CodeValue} is not in CID 7150"
        if "RecommendedDisplayCIELabValue" not in item:
            yield f"segment {item.SegmentNumber} has no colour"
    for group in one.PerFrameFunctionalGroupsSequence:
        if len(group.DerivationImageSequence[0].SourceImageSequence) != 1:
            yield "a frame does not name its one source image"


def _report(one: Dataset, sources: Sequence[Dataset], _known: set[str]) -> Iterator[str]:
    title = one.ConceptNameCodeSequence[0].CodeValue
    items = list(_content(one))
    if title not in MEASUREMENT_TITLES | TEXT_TITLES:
        yield f"title {title} is neither in CID 7021 nor in CID 7000"
    yield from _groups_with_coordinates(title, items)
    for item in items:
        name = item.ConceptNameCodeSequence[0].CodeMeaning if "ConceptNameCodeSequence" in item else ""
        if name == "Procedure reported" and item.ConceptCodeSequence[0].CodeValue not in PROCEDURES:
            yield f"procedure {item.ConceptCodeSequence[0].CodeValue} is not in CID 100"
        if item.ValueType == "SCOORD":
            yield from _inside(item, sources)


def _groups_with_coordinates(title: str, items: Sequence[Dataset]) -> Iterator[str]:
    groups = [item for item in items if item.ValueType == "CONTAINER" and "ConceptNameCodeSequence" in item
              and item.ConceptNameCodeSequence[0].CodeValue == "125007"]
    bare = [group for group in groups if not any(item.ValueType == "SCOORD" for item in _content(group))]
    if title == "126000" and bare:
        yield f"titled 126000, but {len(bare)} of {len(groups)} groups have no coordinates"


def _inside(item: Dataset, sources: Sequence[Dataset]) -> Iterator[str]:
    image = item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    source = next(one for one in sources if one.SOPInstanceUID == image)
    columns, rows = item.GraphicData[0::2], item.GraphicData[1::2]
    if min(columns) < 0 or max(columns) > source.Columns or min(rows) < 0 or max(rows) > source.Rows:
        yield "coordinates lie outside the image"
    points = list(zip(columns, rows, strict=True))
    if item.GraphicType == "POLYLINE" and points[0] != points[-1]:
        yield "an outline is not closed"
    if any(first == second for first, second in pairwise(points)):
        yield "an outline repeats a point"


def _content(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence", []):
        yield child
        yield from _content(child)


def _elements(one: Iterable[DataElement]) -> Iterator[DataElement]:
    for element in one:
        if element.VR == "SQ":
            for item in element.value:
                yield from _elements(item)
        else:
            yield element


def _instances(sequence: Sequence[Dataset]) -> Iterator[str]:
    for item in sequence:
        for element in _elements(item):
            if element.keyword == "ReferencedSOPInstanceUID":
                yield str(element.value)
