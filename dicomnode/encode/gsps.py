"""Boxes for viewers that draw no SR: a Grayscale Softcopy Presentation State over the key slices (PS3.3 A.33.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from highdicom import pr
from highdicom.color import CIELabColor
from pydicom import Dataset

from dicomnode.domain.findings import Detection, EncodedObject, ModelFindings, listed
from dicomnode.domain.volume import SlicePlane, SliceStack, Volume
from dicomnode.encode import sources as images
from dicomnode.encode.groups import frames_of
from dicomnode.encode.looks import Look, look_of
from dicomnode.encode.place import box
from dicomnode.encode.series import Role, Stamp, encoding, finish, identity, local_time

GSPS_SLOT: Final = 5
MOST_SLOTS: Final = 5
"""Slots 5 to 9 of a set's series numbers are presentation states; further ones share the last."""
TEXT_ROWS: Final = 0.12
TEXT_COLUMNS: Final = 0.4
"""Room for the text beside a box, as fractions of the image."""
GAP_PIXELS: Final = 2.0
OWN: Final = ("SOPClassUID", "SOPInstanceUID", "NumberOfFrames", "RescaleSlope", "RescaleIntercept", "RescaleType",
              "WindowCenter", "WindowWidth", "VOILUTSequence")
"""What each image has of its own: ``looks`` states it, highdicom must not find it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Mark:
    """One finding on its key slice, and how that slice is shown."""

    findings: ModelFindings
    found: Detection
    look: Look

    @property
    def plane(self) -> SlicePlane:
        return self.findings.stack.planes[self.found.key_slice]


def encode_gsps(findings: Sequence[ModelFindings], volumes: Mapping[str, Volume],
                sources: Mapping[str, Sequence[Dataset]], stamp: Stamp) -> tuple[EncodedObject, ...]:
    """Return a presentation state for each series with findings: a box and its text on each key slice.

    The images are shown as they show themselves: same rescale, same window, same polarity, whole area. A state has
    one Modality LUT (PS3.3 C.11.1): where key slices differ in theirs, as in PET, each kind gets a state of its own.

    Parameters
    ----------
    volumes:
        By SeriesInstanceUID; used where an image has no window of its own.

    Raises
    ------
    EncodingError
        If a header is missing or unfit.
    """
    by_series: dict[str, list[tuple[ModelFindings, Detection]]] = {}
    for one, found in listed(findings):
        by_series.setdefault(one.stack.series_uid, []).append((one, found))
    objects: list[EncodedObject] = []
    for series_uid, pairs in by_series.items():
        with encoding("the presentation state", series_uid):
            by_uid = images.by_instance(sources[series_uid], pairs[0][0].stack)
            marks = [_mark(one, found, by_uid, volumes.get(series_uid)) for one, found in pairs]
            for number, group in enumerate(_alike(marks), start=1):
                role = _role(series_uid, number, len(objects), group)
                objects.append(_state(group, by_uid, stamp, role))
    return tuple(objects)


def _role(series_uid: str, number: int, place: int, marks: Sequence[_Mark]) -> Role:
    models = tuple(dict.fromkeys(mark.findings.provenance.model_name for mark in marks))
    name = f"gsps|{series_uid}|{number}"
    return Role(kind="GSPS", group=name, name=name, slot=GSPS_SLOT + min(place, MOST_SLOTS - 1), subject="boxes",
                models=models)


def _mark(one: ModelFindings, found: Detection, by_uid: Mapping[str, Dataset], volume: Volume | None) -> _Mark:
    plane = one.stack.planes[found.key_slice]
    values = None if volume is None else volume.values_zyx[found.key_slice]
    return _Mark(findings=one, found=found, look=look_of(by_uid[plane.instance.sop_instance_uid], plane, values))


def _alike(marks: Sequence[_Mark]) -> list[list[_Mark]]:
    """Group marks whose images have one Modality LUT and one polarity."""
    groups: list[list[_Mark]] = []
    for mark in marks:
        known = next((group for group in groups if group[0].look.modality == mark.look.modality
                      and group[0].look.inverted == mark.look.inverted), None)
        if known is None:
            groups.append([mark])
        else:
            known.append(mark)
    return groups


def _state(marks: Sequence[_Mark], by_uid: Mapping[str, Dataset], stamp: Stamp, role: Role) -> EncodedObject:
    stack = marks[0].findings.stack
    head = images.head_of(by_uid[stack.planes[0].instance.sop_instance_uid])
    referenced = _referenced(marks, by_uid, images.unnamed(head))
    layers = _layers(marks)
    result = pr.GrayscaleSoftcopyPresentationState(
        referenced_images=list(referenced.values()), content_label="AI_FINDINGS",
        content_description=f"{', '.join(role.models)} - NOT VERIFIED"[:64],
        graphic_layers=list(layers.values()),
        graphic_annotations=[_annotation(mark, referenced, layers[mark.found.label.name]) for mark in marks],
        **identity(stamp, role))
    _complete(result, head, marks, stamp)
    return finish(result, head, stamp, role)


def _referenced(marks: Sequence[_Mark], by_uid: Mapping[str, Dataset], light: Dataset) -> dict[str, Dataset]:
    """Return what is referenced, in stack order: the key slices' images, patient and study with the first."""
    shared = Dataset(dict(light.items()))
    for keyword in OWN:
        shared.pop(keyword, None)
    stack = marks[0].findings.stack
    shared.Rows, shared.Columns, shared.SamplesPerPixel = stack.rows, stack.columns, 1
    found: dict[str, Dataset] = {}
    for mark in sorted(marks, key=lambda one: one.found.key_slice):
        uid = mark.plane.instance.sop_instance_uid
        image = Dataset(dict(shared.items()))
        image.SOPClassUID, image.SOPInstanceUID = mark.plane.instance.sop_class_uid, uid
        if images.is_multiframe(by_uid[uid]):
            image.NumberOfFrames = by_uid[uid].NumberOfFrames
            image.SharedFunctionalGroupsSequence, image.PerFrameFunctionalGroupsSequence = [Dataset()], []
        found.setdefault(uid, image)
    return found


def _layers(marks: Sequence[_Mark]) -> dict[str, pr.GraphicLayer]:
    """Return one layer per label, so that a viewer can hide one kind of finding; in the colour of the model file."""
    labels = {mark.found.label.name: mark.found.label for mark in marks}
    return {name: pr.GraphicLayer(layer_name=f"AI_{order}", order=order, description=f"AI {name}"[:64],
                                  display_color=CIELabColor.from_rgb(*label.colour_rgb))
            for order, (name, label) in enumerate(labels.items(), start=1)}


def _annotation(mark: _Mark, referenced: Mapping[str, Dataset], layer: pr.GraphicLayer) -> pr.GraphicAnnotation:
    found, stack = mark.found, mark.findings.stack
    tracking: dict[str, Any] = {"tracking_id": found.tracking_id, "tracking_uid": found.tracking_uid}
    outline = box(found, stack)
    frames = frames_of(mark.plane)
    return pr.GraphicAnnotation(
        referenced_images=[referenced[mark.plane.instance.sop_instance_uid]], graphic_layer=layer,
        referenced_frame_number=frames[0] if frames else None,
        graphic_objects=[pr.GraphicObject(graphic_type="POLYLINE", graphic_data=outline, units="PIXEL", **tracking)],
        text_objects=[pr.TextObject(
            text_value="\r\n".join(_text(found)), units="PIXEL", bounding_box=_beside(outline, stack),
            text_justification="LEFT", **tracking)])


def _text(found: Detection) -> Iterator[str]:
    yield f"{found.tracking_id} {found.side}".strip()
    chance = "" if found.probability is None else f", probability {found.probability:.2f}"
    yield f"{found.diameter_mm:.1f} mm{chance}"
    yield "AI - NOT VERIFIED"


def _beside(outline: np.ndarray[tuple[int, ...], np.dtype[np.float64]], stack: SliceStack
            ) -> tuple[float, float, float, float]:
    """Return room for the text, (left, top, right, bottom): right of the box, left of it where the image ends there."""
    wide, high = TEXT_COLUMNS * stack.columns, TEXT_ROWS * stack.rows
    (left, top), (right, _) = outline.min(axis=0), outline.max(axis=0)
    start = right + GAP_PIXELS if right + GAP_PIXELS + wide <= stack.columns else left - GAP_PIXELS - wide
    start = float(np.clip(start, 0, stack.columns - wide))
    upper = float(np.clip(top, 0, stack.rows - high))
    return start, upper, start + wide, upper + high


def _complete(result: Dataset, head: Dataset, marks: Sequence[_Mark], stamp: Stamp) -> None:
    """Set how the images are shown, the true proportions, and what highdicom takes from the clock."""
    moment = local_time(head, stamp)
    result.PresentationCreationDate = moment.strftime("%Y%m%d")
    result.PresentationCreationTime = moment.strftime("%H%M%S")
    images.state_body_part(result, head)
    row_mm, column_mm = marks[0].findings.stack.planes[0].pixel_spacing_mm
    area = result.DisplayedAreaSelectionSequence[0]
    del area.PresentationPixelAspectRatio
    area.PresentationPixelSpacing = [images.decimal(row_mm), images.decimal(column_mm)]
    result.update(marks[0].look.modality)
    result.PresentationLUTShape = "INVERSE" if marks[0].look.inverted else "IDENTITY"
    result.SoftcopyVOILUTSequence = list(_windows(marks))
    if not result.SoftcopyVOILUTSequence:
        del result.SoftcopyVOILUTSequence


def _windows(marks: Sequence[_Mark]) -> Iterator[Dataset]:
    """Yield each window once, with the images and frames that it belongs to (PS3.3 C.11.8)."""
    by_window: list[tuple[Dataset, list[SlicePlane]]] = []
    for mark in marks:
        known = next((planes for voi, planes in by_window if voi == mark.look.voi), None)
        if known is None:
            by_window.append((mark.look.voi, known := []))
        if mark.plane not in known:
            known.append(mark.plane)
    for voi, planes in by_window:
        if not voi:
            continue
        item = Dataset(dict(voi.items()))
        if len(by_window) > 1:
            item.ReferencedImageSequence = list(_references(planes))
        yield item


def _references(planes: Sequence[SlicePlane]) -> Iterator[Dataset]:
    frames: dict[tuple[str, str], list[int]] = {}
    for plane in planes:
        key = plane.instance.sop_class_uid, plane.instance.sop_instance_uid
        frames.setdefault(key, []).extend(frames_of(plane) or [])
    for (sop_class_uid, sop_instance_uid), numbers in frames.items():
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class_uid, sop_instance_uid
        if numbers:
            item.ReferencedFrameNumber = sorted(numbers)
        yield item
