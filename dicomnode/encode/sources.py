"""Source images as results refer to them: one header to inherit from, and one light reference per plane."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Final

from pydicom import Dataset

from dicomnode.domain.volume import SlicePlane, SliceStack, Vector
from dicomnode.errors import EncodingError

TYPE_2: Final = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber",
    "StudyID", "ReferringPhysicianName", "PositionReferenceIndicator",
)
"""Attributes that results carry even where the source has none (Type 2 of Patient, Study, Frame of Reference)."""
UNSTATED_METHOD: Final = "Not stated by the source"
"""DeidentificationMethod where the source says that identity was removed, but not how (Type 1C, PS3.3 C.7.1.1)."""
BULKY: Final = frozenset({
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "PerFrameFunctionalGroupsSequence", "IconImageSequence",
    "OverlayData",
})
REFERENCE: Final = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")


def head_of(source: Dataset) -> Dataset:
    """Return a copy of a source's header with every text decoded, ready to be written as ISO_IR 192.

    Left out are pixel data, private attributes and the groups of frames. Type 2 attributes that the source lacks
    are present and empty; an absent method of de-identification is stated as such.
    """
    head = Dataset()
    for tag in source.keys():  # noqa: SIM118  (a data set iterates over elements, which would parse pixel data)
        if not tag.is_private and source[tag].keyword not in BULKY:
            head.add(deepcopy(source[tag]))
    _decode(head)
    head.SpecificCharacterSet = "ISO_IR 192"
    methods = ("DeidentificationMethod", "DeidentificationMethodCodeSequence")
    if head.get("PatientIdentityRemoved") == "YES" and not any(head.get(keyword) for keyword in methods):
        head.DeidentificationMethod = UNSTATED_METHOD
    for keyword in TYPE_2:
        if keyword not in head:
            setattr(head, keyword, "")
    return head


def unnamed(head: Dataset) -> Dataset:
    """Return the header with an empty PatientName: highdicom logs and warns with the name where it dislikes it."""
    copy = Dataset(dict(head.items()))
    copy.add_new("PatientName", "PN", "")
    return copy


def state_body_part(result: Dataset, head: Dataset) -> None:
    """Say which part of the body was examined, as the source does; that its side is unknown where it does not.

    Laterality (0020,0060) is Type 2C, required of a paired structure (PS3.3 C.7.3.1): where nobody says what was
    examined it may be one, and stands empty.
    """
    if head.get("BodyPartExamined"):
        result.BodyPartExamined = head.BodyPartExamined
    else:
        result.Laterality = head.get("Laterality") or ""


def _decode(dataset: Dataset) -> None:
    """Make every text of a data set, nested ones included, a plain string; ``Dataset.decode`` spoils decoded names."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                _decode(item)
                item.pop("SpecificCharacterSet", None)
        elif element.VR == "PN" and element.value is not None:
            element.value = [str(name) for name in element.value] if element.VM > 1 else str(element.value)


def by_instance(sources: Sequence[Dataset], stack: SliceStack) -> Mapping[str, Dataset]:
    """Return sources by SOP Instance UID, all planes of the stack among them.

    Raises
    ------
    EncodingError
        If a plane's instance is not among the sources.
    """
    found = {str(source.SOPInstanceUID): source for source in sources}
    missing = [p.instance.sop_instance_uid for p in stack.planes if p.instance.sop_instance_uid not in found]
    if missing:
        msg = (f"series {stack.series_uid}: {len(missing)} of {len(stack.planes)} planes have no header among the "
               f"sources, the first is {missing[0]}; pass every header that the stack was read from")
        raise EncodingError(msg)
    return found


def is_multiframe(source: Dataset) -> bool:
    """Whether the geometry of a source is per frame."""
    return "PerFrameFunctionalGroupsSequence" in source


def reference(source: Dataset) -> Dataset:
    """Return what a reference to an image needs, nothing else."""
    light = Dataset()
    for keyword in REFERENCE:
        setattr(light, keyword, str(source.get(keyword, "")))
    return light


def single_frame(head: Dataset, stack: SliceStack, found: Mapping[str, Dataset]) -> list[Dataset]:
    """Return one light image per plane, in stack order, with the stack's orientation and pixel spacing.

    The first is the whole header, since patient and study are taken from it. Positions keep the source's own
    decimal strings; orientation and spacing are those of the first plane, within ``SAME_ORIENTATION_TOLERANCE``.
    """
    shared = Dataset()
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "Modality"):
        setattr(shared, keyword, head.get(keyword, ""))
    shared.FrameOfReferenceUID = stack.frame_of_reference_uid
    shared.Rows, shared.Columns = stack.rows, stack.columns
    shared.ImageOrientationPatient = _cosines(stack.planes[0])
    shared.PixelSpacing = [decimal(value) for value in stack.planes[0].pixel_spacing_mm]
    shared.SliceThickness = decimal(_thickness(stack))
    head.update(shared)
    head.pop("SpacingBetweenSlices", None)
    images = []
    for index, plane in enumerate(stack.planes):
        image = head if index == 0 else Dataset(dict(shared.items()))
        image.SOPClassUID, image.SOPInstanceUID = plane.instance.sop_class_uid, plane.instance.sop_instance_uid
        image.add(found[plane.instance.sop_instance_uid]["ImagePositionPatient"])
        images.append(image)
    return images


def multi_frame(head: Dataset, stack: SliceStack, source: Dataset) -> list[Dataset]:
    """Return one light multi-frame image: the stack's orientation and spacing shared, each frame's own position.

    Frames outside the stack get places of their own beyond its end: highdicom wants all places to differ, and the
    frames themselves are empty and never written.
    """
    head.FrameOfReferenceUID = stack.frame_of_reference_uid
    head.Rows, head.Columns = stack.rows, stack.columns
    head.NumberOfFrames = source.NumberOfFrames
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing = [decimal(value) for value in stack.planes[0].pixel_spacing_mm]
    measures.SliceThickness = decimal(_thickness(stack))
    orientation.ImageOrientationPatient = _cosines(stack.planes[0])
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    head.SharedFunctionalGroupsSequence = [shared]
    places = {plane.frame: plane.position_lps_mm for plane in stack.planes}
    beyond = stack.planes[-1].position_lps_mm
    step = stack.normal_lps * stack.slice_spacing_mm
    head.PerFrameFunctionalGroupsSequence = [
        _frame(places.get(number, beyond + number * step)) for number in range(1, int(source.NumberOfFrames) + 1)]
    return [head]


def _frame(position_lps_mm: Vector) -> Dataset:
    position, group = Dataset(), Dataset()
    position.ImagePositionPatient = [decimal(float(value)) for value in position_lps_mm]
    group.PlanePositionSequence = [position]
    return group


def _thickness(stack: SliceStack) -> float:
    return stack.planes[0].thickness_mm or stack.slice_spacing_mm


def _cosines(plane: SlicePlane) -> list[str]:
    return [decimal(float(value)) for value in (*plane.row_lps, *plane.column_lps)]


def decimal(value: float) -> str:
    """Return a decimal string of at most 16 characters (PS3.5 Table 6.2-1)."""
    for digits in range(15, 0, -1):
        text = f"{value + 0.0:.{digits}g}"
        if len(text) <= 16:  # noqa: PLR2004
            return text
    return f"{value:.0f}"
