"""What a rule sees: the results of one study beside its source images, and ways to walk through a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydicom import DataElement, Dataset

KINDS = {
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG", "1.2.840.10008.5.1.4.1.1.66.7": "LABELMAP",
    "1.2.840.10008.5.1.4.1.1.88.34": "SR3D", "1.2.840.10008.5.1.4.1.1.88.33": "SR",
    "1.2.840.10008.5.1.4.1.1.88.22": "SR", "1.2.840.10008.5.1.4.1.1.88.11": "TEXT",
    "1.2.840.10008.5.1.4.1.1.7": "SC", "1.2.840.10008.5.1.4.1.1.11.1": "GSPS",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT", "1.2.840.10008.5.1.4.1.1.30": "PM",
    "1.2.840.10008.5.1.4.1.1.88.59": "KOS",
}
"""Storage class → kind of result object; any other class is no result of the node."""


@dataclass(frozen=True)
class Scene:
    """One set of results and the images it was made from."""

    results: Sequence[Dataset]
    sources: Sequence[Dataset]

    @cached_property
    def known(self) -> dict[str, Dataset]:
        """Sources and results by SOP Instance UID."""
        return {str(one.SOPInstanceUID): one for one in (*self.sources, *self.results)}

    @cached_property
    def source_uids(self) -> set[str]:
        """SOP Instance UIDs of the source images."""
        return {str(one.SOPInstanceUID) for one in self.sources}

    def source_of(self, one: Dataset) -> Dataset:
        """Return an image of the result's study: the one whose patient and study it must repeat."""
        same = (source for source in self.sources if source.StudyInstanceUID == one.get("StudyInstanceUID"))
        return next(same, self.sources[0])


Rule = Callable[[Dataset, Scene], Iterator[str]]


def kind_of(one: Dataset) -> str:
    """Return the kind of a result, '' for what the node never writes."""
    return KINDS.get(str(one.get("SOPClassUID")), "")


def elements(one: Dataset, *, copied_from: Dataset | None = None) -> Iterator[tuple[Dataset, DataElement]]:
    """Yield every element with the item it stands in, sequences too; without what the source holds just so."""
    for element in one:
        if copied_from is not None and element.tag in copied_from and copied_from[element.tag] == element:
            continue
        yield one, element
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)


def items_of(one: Dataset, *keywords: str, copied_from: Dataset | None = None) -> Iterator[Dataset]:
    """Yield the items of every sequence of these names, however deep."""
    for _, element in elements(one, copied_from=copied_from):
        if element.keyword in keywords:
            yield from element.value


def content(item: Dataset) -> Iterator[Dataset]:
    """Yield every content item below one, depth first (PS3.3 C.17.3)."""
    for child in item.get("ContentSequence", []):
        yield child
        yield from content(child)


def concept(item: Dataset) -> str:
    """Return the code value of a content item's name, '' where it has none."""
    return str(item.ConceptNameCodeSequence[0].CodeValue) if item.get("ConceptNameCodeSequence") else ""


def groups_of(one: Dataset) -> list[Dataset]:
    """Return the measurement groups (125007, DCM) of a report."""
    return [item for item in content(one) if item.get("ValueType") == "CONTAINER" and concept(item) == "125007"]


def frame_of(source: Dataset, number: int) -> tuple[list[float], list[float], list[float]]:
    """Return position, orientation and pixel spacing of a frame of an image, in mm (LPS)."""
    if "PerFrameFunctionalGroupsSequence" not in source:
        return tuple([float(value) for value in source[keyword].value] for keyword in (  # type: ignore[return-value]
            "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    own, shared = source.PerFrameFunctionalGroupsSequence[number - 1], source.SharedFunctionalGroupsSequence[0]
    found = []
    for group, keyword in (("PlanePositionSequence", "ImagePositionPatient"),
                           ("PlaneOrientationSequence", "ImageOrientationPatient"),
                           ("PixelMeasuresSequence", "PixelSpacing")):
        holder = own if group in own else shared
        found.append([float(value) for value in holder[group].value[0][keyword].value])
    return found[0], found[1], found[2]


def frames(source: Dataset) -> int:
    """Return how many frames an image has; 1 where it does not say."""
    return int(source.get("NumberOfFrames") or 1)
