"""Measurement reports become boxes: each group with coordinates is one finding (PS3.16 TID 1410, 1411, 1501)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicomnode.domain.dicom import Code
from dicomnode.domain.volume import SliceStack
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import Box, code_of, refuse_other_frame

MEASUREMENT_GROUP: Final = "125007"
FINDING: Final = "121071"
TRACKING_IDENTIFIER: Final = "112039"
TRACKING_UID: Final = "112040"
DIAMETERS: Final[Mapping[str, int]] = {
    "81827009": 0, "M-02550": 0,  # Diameter
    "103339001": 1, "G-A185": 1,  # Long axis
    "410668003": 2, "G-D7FE": 2,  # Length
}
"""Concepts that say how large a finding is, best first (PS3.16 CID 7470, and their SNOMED-RT values)."""
MILLIMETRES: Final[Mapping[str, float]] = {"mm": 1.0, "cm": 10.0}
CURVE_POINTS: Final = 360
FLAT_MM: Final = 1e-3

Points = NDArray[np.float64]


def boxes_of_sr(dataset: Dataset, stack: SliceStack) -> Iterator[Box]:
    """Yield one box per measurement group that has coordinates on the images.

    The box bounds everything drawn, along the patient's axes. What is drawn on one slice says nothing of its height:
    the stated diameter stands for it, without one the distance between slices. A line on a slice is the axis of
    a ball. A single point needs a diameter.

    Raises
    ------
    UnusableAnnotation
        If coordinates are of another frame of reference, or a point has no diameter.
    """
    for group in _groups(dataset):
        items = list(_items(group))
        drawn = [one for one in items if one.get("ValueType") in {"SCOORD", "SCOORD3D"}]
        parts = [points for one in drawn if (points := _points(one, stack)) is not None]
        if parts:
            yield _box(np.concatenate(parts), items, stack)


def _box(points: Points, items: Sequence[Dataset], stack: SliceStack) -> Box:
    diameter, flat = _diameter_mm(items), float(np.ptp(points @ stack.normal_lps)) < FLAT_MM
    if len(points) > 1 and flat:
        points, diameter = _balled(points, diameter)
    if len(points) == 1 and not diameter:
        raise UnusableAnnotation("a finding is a single point without a diameter: how large it is cannot be told")
    if len(points) == 1:
        centre, size = points[0], np.full(3, diameter or 0.0)
    else:
        if flat:
            half = (diameter or stack.slice_spacing_mm) / 2 * stack.normal_lps
            points = np.concatenate([points - half, points + half])
        low, high = points.min(axis=0), points.max(axis=0)
        centre, size = (low + high) / 2, high - low
    kind = next((code for one in items if _concept(one) == FINDING
                 and (code := code_of(one, "ConceptCodeSequence"))), None)
    named = _text(items, TRACKING_IDENTIFIER, "TextValue")
    return Box(centre_lps_mm=centre, size_lps_mm=np.maximum(size, FLAT_MM), diameter_mm=diameter, type=kind,
               name=kind.meaning if kind else named, tracking_uid=_text(items, TRACKING_UID, "UID"))


def _balled(points: Points, diameter_mm: float | None) -> tuple[Points, float | None]:
    """Return the middle of a line on a slice, and the stated diameter or its length; anything else as it is.

    A line says nothing of how wide a finding is: as a box it would have no width.
    """
    _, spread, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    if spread[1] > FLAT_MM:
        return points, diameter_mm
    along = points @ directions[0]
    ends = points[[along.argmin(), along.argmax()]]
    return ends.mean(axis=0, keepdims=True), diameter_mm or float(np.ptp(along))


def _groups(dataset: Dataset) -> Iterator[Dataset]:
    for item in dataset.get("ContentSequence") or ():
        if item.get("ValueType") == "CONTAINER" and _concept(item) == MEASUREMENT_GROUP:
            yield item
        else:
            yield from _groups(item)


def _items(item: Dataset) -> Iterator[Dataset]:
    for child in item.get("ContentSequence") or ():
        yield child
        yield from _items(child)


def _points(item: Dataset, stack: SliceStack) -> Points | None:
    """Return the points that bound what an item draws, (n, 3) in LPS mm; None if it is not on these images."""
    kind = str(item.get("GraphicType", ""))
    values = np.array([float(value) for value in item.GraphicData])
    if item.ValueType == "SCOORD3D":
        refuse_other_frame(str(item.get("ReferencedFrameOfReferenceUID", "")), stack)
        return _bounding(kind, values.reshape(-1, 3))
    plane = _plane_index(item, stack)
    if plane is None:
        return None
    if kind == "CIRCLE":
        centre, edge = values.reshape(-1, 2)
        radius = float(np.linalg.norm(edge - centre))
        kind, values = "ELLIPSE", np.array([centre + offset for offset in (
            (radius, 0), (-radius, 0), (0, radius), (0, -radius))])
    # in SCOORD the centre of the first pixel is 0.5\0.5 (PS3.3 C.18.6.1.2)
    at = [stack.to_lps_mm((plane, row - 0.5, column - 0.5)) for column, row in values.reshape(-1, 2)]
    return _bounding(kind, np.array(at))


def _bounding(kind: str, points: Points) -> Points:
    """Return points whose bounding box is that of the drawn shape."""
    if kind == "ELLIPSE":  # ends of the major axis, then of the minor one
        centre, a, b = points.mean(axis=0), (points[1] - points[0]) / 2, (points[3] - points[2]) / 2
        angles = np.linspace(0, 2 * np.pi, CURVE_POINTS, endpoint=False)[:, None]
        return np.asarray(centre + np.cos(angles) * a + np.sin(angles) * b)
    if kind == "ELLIPSOID":  # ends of three axes
        centre, halves = points.mean(axis=0), (points[1::2] - points[0::2]) / 2
        reach = np.sqrt((halves**2).sum(axis=0))
        return np.stack([centre - reach, centre + reach])
    return points


def _plane_index(item: Dataset, stack: SliceStack) -> int | None:
    """Return the slice that a SCOORD was drawn on; None if its image is not of this series."""
    for child in item.get("ContentSequence") or ():
        for reference in child.get("ReferencedSOPSequence") or ():
            name = str(reference.get("ReferencedSOPInstanceUID", ""))
            frames = reference.get("ReferencedFrameNumber") or 1
            frame = int(frames if isinstance(frames, int | str) else frames[0])
            for k, plane in enumerate(stack.planes):
                if plane.instance.sop_instance_uid == name and plane.frame == frame:
                    return k
    return None


def _diameter_mm(items: Sequence[Dataset]) -> float | None:
    found: dict[int, float] = {}
    for item in items:
        rank = DIAMETERS.get(_concept(item))
        if rank is None or item.get("ValueType") != "NUM":
            continue
        for measured in item.get("MeasuredValueSequence") or ():
            unit: Code | None = code_of(measured, "MeasurementUnitsCodeSequence")
            if unit is not None and unit.value in MILLIMETRES and measured.get("NumericValue") is not None:
                found.setdefault(rank, float(measured.NumericValue) * MILLIMETRES[unit.value])
    return found[min(found)] if found else None


def _concept(item: Dataset) -> str:
    code = code_of(item, "ConceptNameCodeSequence")
    return code.value if code else ""


def _text(items: Sequence[Dataset], concept: str, keyword: str) -> str:
    return next((str(one.get(keyword, "")) for one in items if _concept(one) == concept), "")
