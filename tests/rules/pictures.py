"""Pictures, presentation states and selections: what they show, where, and that they warn."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset

from tests.rules.scene import Scene, content, frames, items_of, kind_of

REJECTED = "113001"


def captures_are_pictures(one: Dataset, _scene: Scene) -> Iterator[str]:
    """No frame of reference to measure in; burned-in text is said to be there (PS3.3 C.8.6.1, C.7.6.1)."""
    if kind_of(one) != "SC":
        return
    if one.get("BurnedInAnnotation") != "YES" or list(one.get("ImageType", []))[:2] != ["DERIVED", "SECONDARY"]:
        yield "does not say DERIVED, SECONDARY, with burned-in annotation"
    if one.get("FrameOfReferenceUID") or one.get("ImagePositionPatient"):
        yield "claims a place in the patient"


def contents_are_identified(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.3 Table 10-12: label (Type 1), description and creator (Type 2, empty: no person made it)."""
    if kind_of(one) not in {"SEG", "LABELMAP", "PM", "GSPS"}:
        return
    lacking = [keyword for keyword in ("ContentDescription", "ContentCreatorName") if keyword not in one]
    if lacking or not one.get("ContentLabel"):
        yield f"has no {', '.join(lacking) or 'ContentLabel'}"


def graphics_lie_inside_the_image(one: Dataset, scene: Scene) -> Iterator[str]:
    if kind_of(one) != "GSPS":
        return
    for annotation in one.get("GraphicAnnotationSequence", []):
        reference = annotation.ReferencedImageSequence[0]
        image = scene.known.get(str(reference.ReferencedSOPInstanceUID))
        if image is None:
            continue
        if frames(image) > 1 and not reference.get("ReferencedFrameNumber"):
            yield "draws on no frame of a multi-frame image"
        for points in _points(annotation):
            columns, rows = points[0::2], points[1::2]
            if min(columns) < 0 or max(columns) > image.Columns or min(rows) < 0 or max(rows) > image.Rows:
                yield "draws outside the image"


def graphics_warn(one: Dataset, _scene: Scene) -> Iterator[str]:
    if kind_of(one) != "GSPS":
        return
    layers = {str(layer.GraphicLayer) for layer in one.get("GraphicLayerSequence", [])}
    for annotation in one.get("GraphicAnnotationSequence", []):
        texts = " ".join(str(item.UnformattedTextValue) for item in annotation.get("TextObjectSequence", []))
        if "NOT VERIFIED" not in texts:
            yield "a box does not say NOT VERIFIED"
        if str(annotation.GraphicLayer) not in layers:
            yield f"draws on layer {annotation.GraphicLayer}, which is not there"


def whole_images_are_shown(one: Dataset, scene: Scene) -> Iterator[str]:
    """PS3.3 C.10.4: every referenced image has a displayed area, and a presentation state changes no proportion."""
    if kind_of(one) != "GSPS":
        return
    shown = {str(item.ReferencedSOPInstanceUID) for area in one.DisplayedAreaSelectionSequence
             for item in area.get("ReferencedImageSequence", [])}
    named = {str(item.ReferencedSOPInstanceUID) for series in one.ReferencedSeriesSequence
             for item in series.ReferencedImageSequence}
    everywhere = any(not area.get("ReferencedImageSequence") for area in one.DisplayedAreaSelectionSequence)
    if named - shown and not everywhere:
        yield f"{len(named - shown)} referenced images have no displayed area"
    drawn = {str(item.ReferencedSOPInstanceUID) for item in items_of(
        Dataset({one["GraphicAnnotationSequence"].tag: one["GraphicAnnotationSequence"]}), "ReferencedImageSequence")}
    if drawn - named:
        yield "draws on images that it does not reference"
    for area in one.DisplayedAreaSelectionSequence:
        sizes = {(image.Columns, image.Rows) for image in scene.sources}
        if list(area.DisplayedAreaTopLeftHandCorner) != [1, 1] \
                or tuple(area.DisplayedAreaBottomRightHandCorner) not in sizes:
            yield "does not show whole images"


def maps_say_what_their_numbers_mean(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.3 C.7.6.16.2.11: unit, quantity, and one number for one number."""
    if kind_of(one) != "PM":
        return
    mappings = list(items_of(one, "RealWorldValueMappingSequence"))
    if not mappings:
        yield "does not say what its numbers mean"
    for item in mappings:
        if not item.get("MeasurementUnitsCodeSequence") or not item.get("QuantityDefinitionSequence"):
            yield "a mapping has no unit or no quantity"
        if (item.get("RealWorldValueIntercept"), item.get("RealWorldValueSlope")) != (0, 1):
            yield "a mapping changes its numbers"
    values = one.pixel_array
    if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
        yield f"holds numbers of {values.min()} to {values.max()}, which are no fractions"


def manifests_name_other_results(one: Dataset, scene: Scene) -> Iterator[str]:
    """PS3.16 TID 2010: at least one object, none twice, not itself."""
    if kind_of(one) != "KOS":
        return
    named = [str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for item in content(one)
             if "ReferencedSOPSequence" in item]
    if not named or len(set(named)) != len(named) or str(one.SOPInstanceUID) in named:
        yield f"names {len(named)} objects, {len(set(named))} different ones"
    title = one.ConceptNameCodeSequence[0].CodeValue
    if title != REJECTED and set(named) & scene.source_uids:
        yield "names source images among the results"


def _points(annotation: Dataset) -> Iterator[list[float]]:
    for item in annotation.get("GraphicObjectSequence", []):
        yield [float(value) for value in item.GraphicData]
    for item in annotation.get("TextObjectSequence", []):
        if "BoundingBoxTopLeftHandCorner" in item:
            yield [*map(float, item.BoundingBoxTopLeftHandCorner), *map(float, item.BoundingBoxBottomRightHandCorner)]
        if "AnchorPoint" in item:
            yield [*map(float, item.AnchorPoint)]


RULES = (
    captures_are_pictures, maps_say_what_their_numbers_mean, contents_are_identified, graphics_lie_inside_the_image,
    graphics_warn, whole_images_are_shown, manifests_name_other_results,
)
