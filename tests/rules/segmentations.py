"""Segmentations: what each segment is, and that each frame lies on the source plane that it names."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from pydicom import Dataset

from tests.rules.scene import Scene, frame_of, frames, kind_of

KINDS = {"SEG", "LABELMAP"}
ON_SOURCES = {*KINDS, "PM"}
TOLERANCE_MM = 1e-3
LOSSY = "01"


def segments_are_numbered_and_coloured(one: Dataset, _scene: Scene) -> Iterator[str]:
    if kind_of(one) not in KINDS:
        return
    numbers = [int(item.SegmentNumber) for item in _segments(one)]
    if numbers != list(range(1, len(numbers) + 1)):
        yield f"segment numbers are {numbers}"
    for item in _segments(one):
        if len(item.get("RecommendedDisplayCIELabValue") or []) != 3:
            yield f"segment {item.SegmentNumber} has no colour"
        if not item.get("SegmentLabel"):
            yield f"segment {item.SegmentNumber} has no label"


def labels_and_colours_tell_segments_apart(one: Dataset, _scene: Scene) -> Iterator[str]:
    if kind_of(one) not in KINDS:
        return
    labels = [str(item.SegmentLabel) for item in _segments(one)]
    if len(set(labels)) != len(labels):
        yield "two segments have one label"


def segments_say_which_model_drew_them(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.3 C.8.20.2: AUTOMATIC, with name, version, family, and the digest of the weights."""
    for item in _segments(one) if kind_of(one) in KINDS else ():
        said = item.get("SegmentationAlgorithmIdentificationSequence")
        if item.get("SegmentAlgorithmType") != "AUTOMATIC" or not said:
            yield f"segment {item.SegmentNumber} does not identify its algorithm"
        elif not said[0].get("AlgorithmVersion") or "sha256:" not in str(said[0].get("AlgorithmParameters", "")):
            yield f"segment {item.SegmentNumber} does not say which version and weights drew it"


def tracked_segments_have_both_identifiers(one: Dataset, _scene: Scene) -> Iterator[str]:
    for item in _segments(one) if kind_of(one) in KINDS else ():
        if bool(item.get("TrackingID")) != bool(item.get("TrackingUID")):
            yield f"segment {item.SegmentNumber} has one tracking identifier of two"


def frames_lie_on_their_source(one: Dataset, scene: Scene) -> Iterator[str]:
    """Position, orientation and spacing of each frame equal those of the one source frame that it names."""
    if kind_of(one) not in ON_SOURCES:
        return
    for number, group in enumerate(one.PerFrameFunctionalGroupsSequence, start=1):
        named = [item for derivation in group.get("DerivationImageSequence", [])
                 for item in derivation.SourceImageSequence]
        if len(named) != 1:
            yield "a frame does not name its one source image"
            continue
        source = scene.known.get(str(named[0].ReferencedSOPInstanceUID))
        if source is None:
            continue
        if frames(source) > 1 and not named[0].get("ReferencedFrameNumber"):
            yield "a frame does not name the frame of its source"
            continue
        wanted = frame_of(source, int(named[0].get("ReferencedFrameNumber") or 1))
        for what, met, right in zip(("position", "orientation", "spacing"), frame_of(one, number), wanted, strict=True):
            if not np.allclose(met, right, atol=TOLERANCE_MM):
                yield f"the {what} of a frame, {met}, is not its source's, {right}"


def the_grid_is_the_sources(one: Dataset, scene: Scene) -> Iterator[str]:
    if kind_of(one) not in ON_SOURCES:
        return
    fields = {(source.get("Rows"), source.get("Columns"), source.get("FrameOfReferenceUID")) for source in
              scene.sources}
    if (one.Rows, one.Columns, one.get("FrameOfReferenceUID")) not in fields:
        yield "Rows, Columns and Frame of Reference are those of no source"


def no_binary_frame_is_empty(one: Dataset, _scene: Scene) -> Iterator[str]:
    if kind_of(one) != "SEG":
        return
    drawn = one.pixel_array.reshape(-1, one.Rows, one.Columns)
    empty = [number for number, frame in enumerate(drawn, start=1) if not frame.any()]
    if one.SegmentationType != "BINARY" or empty:
        yield f"{one.SegmentationType} with {len(empty)} empty frames"


def label_maps_hold_only_their_segments(one: Dataset, _scene: Scene) -> Iterator[str]:
    """PS3.3 C.8.20.2.3: every stored value is a segment; all segments are drawn."""
    if kind_of(one) != "LABELMAP":
        return
    stored = set(np.unique(one.pixel_array).tolist()) - {0}
    if stored != {int(item.SegmentNumber) for item in _segments(one)}:
        yield f"stores values {sorted(stored)[:20]}, which are not its segments"


def lossy_sources_are_told(one: Dataset, scene: Scene) -> Iterator[str]:
    """PS3.3 C.8.20.2, C.7.6.1.1.5: 01 where any source ever was."""
    if kind_of(one) in KINDS and any(source.get("LossyImageCompression") == LOSSY for source in scene.sources) \
            and one.get("LossyImageCompression") != LOSSY:
        yield "does not say that a source was compressed with loss"


def _segments(one: Dataset) -> list[Dataset]:
    """Return the segments; without the background of a label map, which is no structure."""
    return [item for item in one.get("SegmentSequence", []) if int(item.SegmentNumber) > 0]


RULES = (
    segments_are_numbered_and_coloured, labels_and_colours_tell_segments_apart, segments_say_which_model_drew_them,
    tracked_segments_have_both_identifiers, frames_lie_on_their_source, the_grid_is_the_sources,
    no_binary_frame_is_empty, label_maps_hold_only_their_segments, lossy_sources_are_told,
)
