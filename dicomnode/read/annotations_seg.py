"""DICOM Segmentations of any maker become masks on the images they were drawn on (PS3.3 A.51, C.8.20)."""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from dicomnode.domain.volume import SliceStack
from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import Structure, code_of, refuse_other_frame
from dicomnode.read.frames import frame_numbers
from dicomnode.read.onto import Placement, laid, place

DEFLATED_IMAGE_FRAME: Final = "1.2.840.10008.1.2.8.1"
NATIVE: Final = frozenset({ExplicitVRLittleEndian, ImplicitVRLittleEndian})
INSIDE_FRACTION: Final = 0.5
"""A FRACTIONAL segment holds the voxels of at least this probability or occupancy."""
RLE_HEADER_BYTES: Final = 64
RLE_NO_OPERATION: Final = 128

Pieces = dict[int, list[tuple[int, NDArray[np.uint8]]]]
"""Segment number → frames that have it: index from 0, and its voxels packed to bits."""


def structures_of_seg(dataset: Dataset, stack: SliceStack) -> Iterator[Structure]:
    """Yield each segment as a mask, by number.

    BINARY, FRACTIONAL (half or more is inside) and LABELMAP segmentations, whose frames may be a part of the images,
    or lie in any of their orientations.

    Raises
    ------
    UnusableAnnotation
        If a frame does not lie on the images' voxels, or the pixels cannot be decoded.
    """
    refuse_other_frame(str(dataset.get("FrameOfReferenceUID", "")), stack)
    shape = (1, int(dataset.get("Rows", 0)), int(dataset.get("Columns", 0)))
    pieces, placements = _pieces(dataset), dict[int, Placement]()
    for item in sorted(dataset.get("SegmentSequence") or (), key=lambda one: int(one.SegmentNumber)):
        number = int(item.SegmentNumber)
        if number == 0:  # the background of a LABELMAP
            continue
        mask = np.zeros(stack.shape_zyx, bool)
        for frame, packed in pieces.get(number, ()):
            if frame not in placements:
                placements[frame] = place(_affine(dataset, frame), shape, stack)
            values = np.unpackbits(packed, count=shape[1] * shape[2]).view(bool).reshape(shape)
            cut, where = laid(values, placements[frame], stack.shape_zyx)
            mask[where] |= cut.astype(bool, copy=False)
        yield _structure(item, number, mask)


def _structure(item: Dataset, number: int, mask_zyx: NDArray[np.bool_]) -> Structure:
    lab = item.get("RecommendedDisplayCIELabValue")
    kinds = item.get("SegmentedPropertyTypeCodeSequence") or [Dataset()]
    return Structure(
        number=number, name=str(item.get("SegmentLabel", "")).strip(), mask_zyx=mask_zyx,
        category=code_of(item, "SegmentedPropertyCategoryCodeSequence"),
        type=code_of(item, "SegmentedPropertyTypeCodeSequence"),
        modifier=code_of(kinds[0], "SegmentedPropertyTypeModifierCodeSequence"),
        tracking_uid=str(item.get("TrackingUID", "")),
        colour_rgb=rgb_of_lab([int(value) for value in lab]) if lab is not None and len(lab) == 3 else None)  # noqa: PLR2004


def rgb_of_lab(lab: list[int]) -> tuple[int, int, int]:
    """Return an sRGB colour of a Recommended Display CIELab Value (PS3.3 C.10.7.1.1, D65 by adaptation)."""
    lightness, a, b = lab[0] * 100 / 65535, lab[1] * 255 / 65535 - 128, lab[2] * 255 / 65535 - 128
    fy = (lightness + 16) / 116
    cubes = [f**3 if f > 6 / 29 else 3 * (6 / 29) ** 2 * (f - 4 / 29) for f in (fy + a / 500, fy, fy - b / 200)]
    xyz = np.array(cubes) * (0.9505, 1.0, 1.089)
    linear = np.clip(np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.204, 1.057]]) @ xyz,
                     0, 1)
    red, green, blue = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)  # noqa: PLR2004
    return round(255 * red), round(255 * green), round(255 * blue)


def _pieces(dataset: Dataset) -> Pieces:
    pieces: Pieces = defaultdict(list)
    kind = str(dataset.get("SegmentationType", "BINARY"))
    for frame, values in enumerate(_frames(dataset)):
        if kind == "LABELMAP":
            for number in np.flatnonzero(np.bincount(values.ravel())):
                if number:
                    pieces[int(number)].append((frame, np.packbits(values == number)))
            continue
        inside = values > 0 if kind == "BINARY" \
            else values >= max(1.0, INSIDE_FRACTION * int(dataset.get("MaximumFractionalValue", 255)))
        if inside.any():
            pieces[_segment_number(dataset, frame)].append((frame, np.packbits(inside)))
    return pieces


def _segment_number(dataset: Dataset, frame: int) -> int:
    for groups in (dataset.PerFrameFunctionalGroupsSequence[frame], dataset.SharedFunctionalGroupsSequence[0]):
        if groups.get("SegmentIdentificationSequence"):
            return int(groups.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
    raise UnusableAnnotation(f"frame {frame + 1} does not say which segment it shows (PS3.3 C.8.20.3.1)")


def _affine(dataset: Dataset, frame: int) -> NDArray[np.float64]:
    """Return the 4×4 of one frame: (0, row, column, 1) → LPS mm."""
    position, cosines, spacing = (frame_numbers(dataset, frame + 1, keyword) for keyword in (
        "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"))
    if (len(position), len(cosines), len(spacing)) != (3, 6, 2):
        raise UnusableAnnotation(f"frame {frame + 1} has no position, orientation or spacing in the patient")
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = np.cross(row, column), column * spacing[0], row * spacing[1]
    affine[:3, 3] = position
    return affine


def _frames(dataset: Dataset) -> Iterator[NDArray[np.unsignedinteger]]:
    """Yield each frame's pixels, (row, column), in order."""
    syntax, bits = dataset.file_meta.TransferSyntaxUID, int(dataset.BitsAllocated)
    count, shape = int(dataset.get("NumberOfFrames", 1) or 1), (int(dataset.Rows), int(dataset.Columns))
    if bits == 1 and syntax in NATIVE:
        packed = np.frombuffer(dataset.PixelData, np.uint8)
        for frame in range(count):
            yield _bits(packed, frame * shape[0] * shape[1], shape)
    elif syntax == DEFLATED_IMAGE_FRAME or (syntax == RLELossless and bits == 1):
        for compressed in generate_frames(dataset.PixelData, number_of_frames=count):
            raw = zlib.decompress(compressed, -zlib.MAX_WBITS) if syntax == DEFLATED_IMAGE_FRAME else _rle(compressed)
            yield _bits(np.frombuffer(raw, np.uint8), 0, shape) if bits == 1 \
                else np.frombuffer(raw, f"<u{bits // 8}", count=shape[0] * shape[1]).reshape(shape)
    else:
        yield from iter_pixels(dataset)


def _bits(packed: NDArray[np.uint8], start: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return a frame of single bits, which may begin within a byte (PS3.5 Section 8.1.1)."""
    size, skip = shape[0] * shape[1], start % 8
    cut = packed[start // 8:-(-(start + size) // 8)]
    return np.unpackbits(cut, bitorder="little")[skip:skip + size].reshape(shape)


def _rle(compressed: bytes) -> bytes:
    """Decode the one segment of an RLE frame of packed bits (PS3.5 Annex G.3.2)."""
    out, at = bytearray(), RLE_HEADER_BYTES
    while at < len(compressed) - 1:
        head = compressed[at]
        if head < RLE_NO_OPERATION:
            out += compressed[at + 1:at + 2 + head]
            at += 2 + head
        elif head > RLE_NO_OPERATION:
            out += compressed[at + 1:at + 2] * (257 - head)
            at += 2
        else:
            at += 1
    return bytes(out)
