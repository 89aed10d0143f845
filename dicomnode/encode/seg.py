"""A label map becomes a DICOM Segmentation on its source's own slices (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final

from pydicom import Dataset

from dicomnode.domain.findings import EncodedObject, ModelFindings
from dicomnode.encode.drawing import Drawing, drawing_of
from dicomnode.encode.frames import packed, per_frame_groups, planes_of
from dicomnode.encode.labelmap import encode_labelmap
from dicomnode.encode.parts import Part, parts_of
from dicomnode.encode.segments import Segment, numbers_of, segments_of
from dicomnode.encode.series import Role, Stamp, encoding, finish
from dicomnode.encode.template import places, template

SEG_SLOT: Final = 10
"""SeriesNumber of the first model's SEG, counted from the set's first; one more for each further model."""
PARTS_SLOT: Final = 40
MOST_PARTS_SLOTS: Final = 10
FRAMES: Final = ("PerFrameFunctionalGroupsSequence", "PixelData")


def encode_segs(findings: Sequence[ModelFindings], sources: Mapping[str, Sequence[Dataset]], stamp: Stamp,
                wanted: frozenset[str] = frozenset({"SEG"})) -> tuple[EncodedObject, ...]:
    """Return the segmentations of one set of results, in the forms that somebody will get.

    BINARY, as several objects by group of structures where a model marks more than ``parts.MOST_SEGMENTS``; and one
    LABELMAP that stands for all of them, unless segments may share voxels.
    """
    made: list[EncodedObject] = []
    for one in findings:
        segments = segments_of(one)
        if not segments or not wanted & {"SEG", "LABELMAP"}:
            continue
        with encoding("the segmentation", one.stack.series_uid):
            drawing = drawing_of(one, segments)
            headers = sources[one.stack.series_uid]
            if "SEG" in wanted:
                made += [_binary(drawing, part.segments, headers, stamp, _role(drawing, stamp, part, place))
                         for place, part in enumerate(parts_of(segments))]
            if "LABELMAP" in wanted and drawing.numbers_zyx is not None:
                slot = SEG_SLOT + stamp.place_of(_model(drawing))
                made.append(encode_labelmap(drawing, drawing.numbers_zyx, headers, stamp, slot=slot))
    return tuple(made)


def encode_seg(findings: ModelFindings, sources: Sequence[Dataset], stamp: Stamp) -> EncodedObject | None:
    """Return the findings' masks as one BINARY SEG on the source grid, or None where no voxel is marked.

    One frame per segment and slice that has voxels, each naming its source image (and frame). One segment per
    structure, one per lesion; labels that overlap stay whole, and SegmentsOverlap says so.

    Parameters
    ----------
    sources:
        Headers of the stack's images in any order; one for an Enhanced multi-frame image. Pixels are not needed.

    Raises
    ------
    EncodingError
        If a header is missing or unfit; our fault, never the reader's.
    """
    segments = segments_of(findings)
    if not segments:
        return None
    with encoding("the segmentation", findings.stack.series_uid):
        drawing = drawing_of(findings, segments)
        return _binary(drawing, segments, sources, stamp, _role(drawing, stamp, Part(name="", segments=segments), 0))


def _role(drawing: Drawing, stamp: Stamp, part: Part, place: int) -> Role:
    name = _model(drawing)
    if not part.name:
        return Role(kind="SEG", group=f"seg:{name}", name=f"seg|{name}", slot=SEG_SLOT + stamp.place_of(name),
                    subject="segmentation", models=(name,))
    return Role(kind="SEG", group=f"seg:{name}/{place + 1}", name=f"seg|{name}|{part.name}",
                slot=PARTS_SLOT + min(place, MOST_PARTS_SLOTS - 1), subject=f"segmentation {part.name}", models=(name,))


def _model(drawing: Drawing) -> str:
    return drawing.findings.provenance.model_name


def _binary(drawing: Drawing, chosen: Sequence[Segment], sources: Sequence[Dataset], stamp: Stamp, role: Role
            ) -> EncodedObject:
    """Write some segments as one object, numbered from 1."""
    findings, stack = drawing.findings, drawing.findings.stack
    segments = tuple(replace(one, number=number) for number, one in enumerate(chosen, start=1))
    made, head = template(findings, segments, drawing.slices(chosen), sources, stamp, role)
    planes = planes_of(made, places(findings))
    frames = [(written.number, segment, plane) for written, segment in zip(segments, chosen, strict=True)
              for plane in planes if segment.number in drawing.present[plane.k]]
    made.NumberOfFrames = len(frames)
    made.SegmentsOverlap = "YES" if drawing.overlap(chosen) else "NO"
    for keyword in FRAMES:
        delattr(made, keyword)
    tail = chain(per_frame_groups([plane.item(number) for number, _, plane in frames]),
                 packed((drawing.voxels(segment, plane.k) for _, segment, plane in frames), len(frames),
                        stack.rows * stack.columns))
    return replace(finish(made, head, stamp, role, tail=tail), segments=numbers_of(_model(drawing), segments))
