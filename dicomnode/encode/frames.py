"""Frames of a segmentation as bytes: what highdicom writes for one frame of a slice, repeated for each segment of it.

A data set per frame is most of what a segmentation of many structures costs; here a slice is described once.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

FRAME_CONTENT: Final = 0x00209111
SEGMENT_IDENTIFICATION: Final = 0x0062000A
PER_FRAME: Final = (0x5200, 0x9230)
PIXEL_DATA: Final = (0x7FE0, 0x0010)
ITEM: Final = (0xFFFE, 0xE000)
SEQUENCE_END: Final = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
UNDEFINED_LENGTH: Final = 0xFFFFFFFF
LONGEST_RUN: Final = 128
RLE_HEADER_BYTES: Final = 64

Place = tuple[str, int]
"""SOP Instance UID and frame number of the image that shows a slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """The functional groups of one slice, cut where those of its segments differ.

    Parameters
    ----------
    k:
        Index of the slice in the stack.
    indices:
        Dimension Index Values of its frame of segment 1: place of the segment, where that is a dimension, and of the
        slice.
    """

    k: int
    indices: tuple[int, ...]
    before: bytes
    content: bytes
    between: bytes
    segment: bytes

    def item(self, segment: int) -> bytes:
        """Return one item of the Per-frame Functional Groups Sequence; the segment counts where frames have one."""
        identification = self.segment and self.segment[:-2] + struct.pack("<H", segment)
        places = self.indices if len(self.indices) == 1 else (segment, *self.indices[1:])
        indices = struct.pack(f"<{len(places)}I", *places)
        content = self.content[: -len(indices)] + indices
        return _item(b"".join((self.before, content, self.between, identification)))


def planes_of(template: Dataset, stack_index: Mapping[Place, int]) -> tuple[Plane, ...]:
    """Return the slices of an object that has one frame for each, in the order of its frames."""
    items = template.PerFrameFunctionalGroupsSequence
    content, segment = (_encoded(_cut(items[0], tag, tag + 1)) for tag in (FRAME_CONTENT, SEGMENT_IDENTIFICATION))
    return tuple(_plane(item, stack_index, content, segment) for item in items)


def per_frame_groups(items: Sequence[bytes]) -> Iterator[bytes]:
    """Yield the element Per-frame Functional Groups Sequence."""
    yield struct.pack("<HH2s2xI", *PER_FRAME, b"SQ", sum(map(len, items)))
    yield from items


def packed(frames: Iterable[NDArray[np.bool_]], count: int, pixels: int) -> Iterator[bytes]:
    """Yield the element Pixel Data of ``count`` frames of ``pixels`` bits, without padding between frames."""
    whole = (count * pixels + 7) // 8
    yield struct.pack("<HH2s2xI", *PIXEL_DATA, b"OB", whole + whole % 2)
    rest: NDArray[np.bool_] = np.zeros(0, dtype=bool)
    for frame in frames:
        bits = frame.ravel() if not rest.size else np.concatenate([rest, frame.ravel()])
        full = len(bits) // 8 * 8
        yield np.packbits(bits[:full], bitorder="little").tobytes()
        rest = bits[full:]
    yield np.packbits(rest, bitorder="little").tobytes() + bytes(whole % 2)


def encapsulated(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the element Pixel Data of compressed frames, one fragment each, with its offset table (PS3.5 A.4)."""
    fragments = [_item(frame) for frame in frames]
    offsets = np.cumsum([0, *map(len, fragments[:-1])]).astype("<u4")
    yield struct.pack("<HH2s2xI", *PIXEL_DATA, b"OB", UNDEFINED_LENGTH)
    yield from chain([_item(offsets.tobytes())], fragments, [SEQUENCE_END])


def run_lengths(values_yx: NDArray[np.uint8] | NDArray[np.uint16]) -> bytes:
    """Return one frame in RLE Lossless (PS3.5 Annex G); no run crosses a row."""
    width = values_yx.dtype.itemsize
    planes = values_yx.astype(values_yx.dtype.newbyteorder(">")).reshape(*values_yx.shape, 1).view(np.uint8)
    segments = [_runs(np.ascontiguousarray(planes[..., byte])) for byte in range(width)]
    offsets = np.zeros(RLE_HEADER_BYTES // 4, "<u4")
    offsets[0] = width
    offsets[1: width + 1] = RLE_HEADER_BYTES + np.cumsum([0, *map(len, segments[:-1])])
    return b"".join((offsets.tobytes(), *segments))


def _runs(values_yx: NDArray[np.uint8]) -> bytes:
    """Return pairs of count and value; a run of one is a literal of one byte."""
    flat = values_yx.ravel()
    begins = np.empty(flat.size, dtype=bool)
    begins[0] = True
    np.not_equal(flat[1:], flat[:-1], out=begins[1:])
    begins[:: values_yx.shape[1]] = True
    starts = np.flatnonzero(begins)
    lengths = np.diff(starts, append=flat.size)
    pieces = -(-lengths // LONGEST_RUN)
    counts = np.full(int(pieces.sum()), LONGEST_RUN)
    counts[np.cumsum(pieces) - 1] = lengths - (pieces - 1) * LONGEST_RUN
    pairs = np.empty((len(counts), 2), np.uint8)
    pairs[:, 0] = (257 - counts) * (counts > 1)
    pairs[:, 1] = np.repeat(flat[starts], pieces)
    return pairs.tobytes()


def _plane(item: Dataset, stack_index: Mapping[Place, int], content: bytes, segment: bytes) -> Plane:
    image = item.DerivationImageSequence[0].SourceImageSequence[0]
    place = str(image.ReferencedSOPInstanceUID), int(image.get("ReferencedFrameNumber") or 1)
    indices = item.FrameContentSequence[0].DimensionIndexValues
    return Plane(k=stack_index[place], indices=tuple(indices) if isinstance(indices, Sequence) else (int(indices),),
                 before=_encoded(_cut(item, 0, FRAME_CONTENT)), content=content,
                 between=_encoded(_cut(item, FRAME_CONTENT + 1, SEGMENT_IDENTIFICATION)), segment=segment)


def _cut(item: Dataset, first: int, end: int) -> Dataset:
    """Return the elements of an item from one tag on, before another."""
    return Dataset({element.tag: element for element in item if first <= element.tag < end})


def _encoded(dataset: Dataset) -> bytes:
    file = DicomBytesIO()
    file.is_little_endian, file.is_implicit_VR = True, False
    write_dataset(file, dataset)
    return file.getvalue()


def _item(value: bytes) -> bytes:
    """Return an item of a sequence of items, its length made even."""
    return struct.pack("<HHI", *ITEM, len(value) + len(value) % 2) + value + bytes(len(value) % 2)
