"""RT Structure Sets: each contour closed, in the plane of the image that it names, inside it; nothing approved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset

from tests.rules.scene import Scene, frame_of, frames, kind_of

IN_PLANE_MM = 1e-3


def structures_belong_together(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.3 C.8.8.5, C.8.8.6, C.8.8.8: one number for each structure, in all three sequences."""
    if kind_of(one) != "RTSTRUCT":
        return
    numbers = [int(item.ROINumber) for item in one.StructureSetROISequence]
    drawn = [int(item.ReferencedROINumber) for item in one.ROIContourSequence]
    observed = [int(item.ReferencedROINumber) for item in one.RTROIObservationsSequence]
    if not set(drawn) == set(observed) == set(numbers) or len(set(numbers)) != len(numbers):
        yield f"structures are {numbers}, contours {drawn}, observations {observed}"
    for item in one.StructureSetROISequence:
        if item.get("ROIGenerationAlgorithm") != "AUTOMATIC" or not item.get("ROIName"):
            yield f"structure {item.ROINumber} has no name, or was not generated automatically"
        if item.ReferencedFrameOfReferenceUID != one.ReferencedFrameOfReferenceSequence[0].FrameOfReferenceUID:
            yield f"structure {item.ROINumber} lies in another frame of reference"
    for item in one.ROIContourSequence:
        if len(item.get("ROIDisplayColor") or []) != 3:
            yield f"structure {item.ReferencedROINumber} has no colour"


def structures_are_not_approved(one: Dataset, _scene: Scene) -> Iterator[str]:
    if kind_of(one) == "RTSTRUCT" and (
            one.get("ApprovalStatus") != "UNAPPROVED" or "NOT VERIFIED" not in one.get("StructureSetLabel", "")):
        yield "is not UNAPPROVED, or its label does not say NOT VERIFIED"


def contours_lie_in_their_image(one: Dataset, scene: Scene) -> Iterator[str]:
    """Points lie in the plane of the named image, within the outer edges of its pixels."""
    for structure in one.get("ROIContourSequence", []):
        for contour in structure.ContourSequence:
            reference = contour.ContourImageSequence[0]
            image = scene.known.get(str(reference.ReferencedSOPInstanceUID))
            if image is None:
                continue
            if frames(image) > 1 and not reference.get("ReferencedFrameNumber"):
                yield "a contour names no frame of a multi-frame image"
                continue
            yield from _misplaced(contour, image, int(reference.get("ReferencedFrameNumber") or 1))


def _misplaced(contour: Dataset, image: Dataset, number: int) -> Iterator[str]:
    position, orientation, spacing = frame_of(image, number)
    row, column = np.array(orientation[:3]), np.array(orientation[3:])
    points = np.array(contour.ContourData, float).reshape(-1, 3) - position
    if len(points) != int(contour.NumberOfContourPoints) or contour.ContourGeometricType != "CLOSED_PLANAR":
        yield f"a contour of {len(points)} points says that it has {contour.NumberOfContourPoints}"
    if np.abs(points @ np.cross(row, column)).max() > IN_PLANE_MM:
        yield "a contour lies beside the plane of its image"
    across, down = points @ row / spacing[1], points @ column / spacing[0]
    edge = 0.5 + IN_PLANE_MM
    if min(across.min(), down.min()) < -edge or across.max() > image.Columns - 1 + edge \
            or down.max() > image.Rows - 1 + edge:
        yield "a contour leaves its image"


RULES = (structures_belong_together, structures_are_not_approved, contours_lie_in_their_image)
