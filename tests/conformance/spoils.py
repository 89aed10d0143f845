"""Ways to spoil a right result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydicom import DataElement, Dataset, config
from pydicom.tag import Tag

from tests.rules.scene import concept, content, groups_of

Spoil = Callable[[Dataset], object]


def put(*path: str, **values: object) -> Spoil:
    """Set attributes in the first item of a path of sequences; None removes one."""
    def spoil(one: Dataset) -> None:
        for keyword in path:
            one = one[keyword].value[0]
        for keyword, value in values.items():
            if value is None:
                delattr(one, keyword)
            else:
                setattr(one, keyword, value)

    return spoil


def coded(code: str, **values: object) -> Spoil:
    """Change the coded value of the first content item of that name."""
    return lambda one: put("ConceptCodeSequence", **values)(named(one, code))


def named(one: Dataset, code: str) -> Dataset:
    """Return the first content item whose name has that code."""
    return next(item for item in content(one) if concept(item) == code)


def without(code: str) -> Spoil:
    """Remove every content item of that name."""
    def spoil(one: Dataset) -> None:
        for item in [one, *content(one)]:
            if "ContentSequence" in item:
                item.ContentSequence = [part for part in item.ContentSequence if concept(part) != code]

    return spoil


def typed(code: str, value_type: str) -> Dataset:
    """Return a content item of that name that says no more than its type."""
    item, name = Dataset(), Dataset()
    name.CodeValue, name.CodingSchemeDesignator, name.CodeMeaning = code, "DCM", "x"
    item.ValueType, item.ConceptNameCodeSequence = value_type, [name]
    return item


def untyped(keyword: str, vr: str, value: str) -> Spoil:
    """Set a value that its representation forbids."""
    def spoil(one: Dataset) -> None:
        one[keyword] = DataElement(Tag(keyword), vr, value, validation_mode=config.IGNORE)

    return spoil


def second_finding(one: Dataset) -> None:
    group = groups_of(one)[1]
    group.ContentSequence = [*group.ContentSequence, typed("121071", "CODE")]


def blank_frames(one: Dataset) -> None:
    one.PixelData = bytes(len(one.PixelData))


def outside(one: Dataset) -> None:
    item = next(item for item in content(one) if item.ValueType == "SCOORD")
    item.GraphicData = [value + 100 for value in item.GraphicData]


def open_outline(one: Dataset) -> None:
    item = next(item for item in content(one) if item.ValueType == "SCOORD")
    item.GraphicData = list(item.GraphicData)[:-2]


def numeric(code: str, value: float) -> Spoil:
    return lambda one: put("MeasuredValueSequence", NumericValue=value)(named(one, code))


def tilted_frame(one: Dataset) -> None:
    position = one.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0]
    position.ImagePositionPatient = [*position.ImagePositionPatient[:2], float(position.ImagePositionPatient[2]) + 2]


def shifted_contour(one: Dataset) -> None:
    contour = one.ROIContourSequence[0].ContourSequence[0]
    points = np.array(contour.ContourData, float).reshape(-1, 3) + np.array([0, 0, 0.5])
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]


def wide_contour(one: Dataset) -> None:
    contour = one.ROIContourSequence[0].ContourSequence[0]
    points = np.array(contour.ContourData, float).reshape(-1, 3) + np.array([50, 0, 0])
    contour.ContourData = [f"{value:.4f}" for value in points.ravel()]


def two_references(one: Dataset) -> None:
    derivation = one.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    derivation.SourceImageSequence = [*derivation.SourceImageSequence, *derivation.SourceImageSequence]


def gapped_numbers(one: Dataset) -> None:
    one.SegmentSequence[-1 if one.SegmentSequence[-1].SegmentNumber else 0].SegmentNumber = 40
