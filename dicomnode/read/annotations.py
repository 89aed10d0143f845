"""What people and programs have marked on images: structures as masks, findings as boxes, and what they refer to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import UID, RTStructureSetStorage, SegmentationStorage

from dicomnode.domain.dicom import Code
from dicomnode.domain.volume import SliceStack, Vector
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.part10 import PARSE_ERRORS

LABEL_MAP_SEGMENTATION_STORAGE: Final = UID("1.2.840.10008.5.1.4.1.1.66.7")
SEG_CLASSES: Final = frozenset({SegmentationStorage, LABEL_MAP_SEGMENTATION_STORAGE})
SR_PREFIX: Final = "1.2.840.10008.5.1.4.1.1.88."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Structure:
    """One structure that somebody marked, on the grid of the images.

    Parameters
    ----------
    number:
        Segment Number, ROI Number, or the value in a mask.
    name:
        Segment Label, ROI Name; '' where the source has only values.
    file_names:
        What the file is called, without its suffix, where it holds only values.
    mask_zyx:
        bool, shape ``stack.shape_zyx``.
    """

    number: int
    name: str
    mask_zyx: NDArray[np.bool_]
    category: Code | None = None
    type: Code | None = None
    modifier: Code | None = None
    colour_rgb: tuple[int, int, int] | None = None
    tracking_uid: str = ""
    notes: tuple[str, ...] = ()
    file_names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Box:
    """One finding with a place: centre and size along the patient's axes, in LPS mm."""

    centre_lps_mm: Vector
    size_lps_mm: Vector
    name: str = ""
    type: Code | None = None
    tracking_uid: str = ""
    diameter_mm: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """An annotation object and the images it speaks of.

    ``kind`` is SEG, RTSTRUCT or SR.
    """

    path: Path
    kind: str
    study_uid: str
    frame_of_reference_uids: frozenset[str]
    series_uids: frozenset[str]
    instance_uids: frozenset[str]


def references(path: Path) -> References | None:
    """Return what an annotation object refers to; None for any other file.

    Raises
    ------
    UnusableAnnotation
        If it says it is an annotation and cannot be read.
    """
    try:
        dataset = dcmread(path, stop_before_pixels=True)
        sop_class = str(dataset.get("SOPClassUID", ""))
    except (*PARSE_ERRORS, OSError):
        return None
    kind = kind_of(sop_class)
    if not kind:
        return None
    with reading(path):
        series, instances, frames = set[str](), set[str](), set[str]()
        _collect(dataset, series, instances, frames)
        return References(
            path=path, kind=kind, study_uid=str(dataset.get("StudyInstanceUID", "")), series_uids=frozenset(series),
            instance_uids=frozenset(instances), frame_of_reference_uids=frozenset(frames))


def kind_of(sop_class_uid: str) -> str:
    """Return SEG, RTSTRUCT or SR for a SOP Class that can carry annotations, else ''."""
    if sop_class_uid in SEG_CLASSES:
        return "SEG"
    if sop_class_uid == RTStructureSetStorage:
        return "RTSTRUCT"
    return "SR" if sop_class_uid.startswith(SR_PREFIX) else ""


def opened(path: Path) -> Dataset:
    """Read an annotation object whole.

    Raises
    ------
    UnusableAnnotation
        If it cannot be parsed.
    """
    with reading(path):
        return dcmread(path)


class reading:  # noqa: N801
    """Turn what pydicom raises about damaged content into ``UnusableAnnotation``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """End; foreign errors become ours."""
        if isinstance(error, (*PARSE_ERRORS, OSError, RuntimeError)) and not isinstance(error, UnusableAnnotation):
            raise UnusableAnnotation(f"damaged or incomplete ({type(error).__name__})") from error


def refuse_other_frame(found: str, stack: SliceStack) -> None:
    """Refuse coordinates of another frame of reference: they mean other places (PS3.3 C.7.4.1)."""
    if found and stack.frame_of_reference_uid and found != stack.frame_of_reference_uid:
        raise UnusableAnnotation(
            f"its Frame of Reference {found} is not that of the images, {stack.frame_of_reference_uid}; "
            "a registration would be needed")


def code_of(dataset: Dataset, keyword: str) -> Code | None:
    """Return the first code of a sequence; None where there is none that a domain code can hold."""
    for item in dataset.get(keyword) or ():
        value = item.get("CodeValue") or item.get("LongCodeValue") or item.get("URNCodeValue")
        try:
            return Code(value=str(value or ""), scheme=str(item.get("CodingSchemeDesignator", "")),
                        meaning=str(item.get("CodeMeaning", ""))[:64])
        except ValueError:
            continue
    return None


def _collect(dataset: Dataset, series: set[str], instances: set[str], frames: set[str], depth: int = 0) -> None:
    """Gather every Series, SOP Instance and Frame of Reference UID that the content names."""
    for element in dataset:
        if element.VR == "SQ":
            if element.keyword == "PerFrameFunctionalGroupsSequence" and series:
                continue
            for item in element.value or ():
                _collect(item, series, instances, frames, depth + 1)
        elif element.keyword == "SeriesInstanceUID" and depth:
            series.add(str(element.value))
        elif element.keyword == "ReferencedSOPInstanceUID":
            instances.add(str(element.value))
        elif element.keyword in {"FrameOfReferenceUID", "ReferencedFrameOfReferenceUID"}:
            frames.add(str(element.value))

