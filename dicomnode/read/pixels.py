"""Stored pixel values become real-world values: HU for CT (PS3.3 C.11.1)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder

from dicomnode.errors import MissingRescale, UndecodablePixels
from dicomnode.read.codestream import misfit
from dicomnode.read.frames import frame_numbers, frame_texts
from dicomnode.read.part10 import PARSE_ERRORS, Part10
from dicomnode.read.values import texts, whole

DECODE_ERRORS: Final = (*PARSE_ERRORS, RuntimeError, OSError)
"""Everything the decoders of pydicom, GDCM and pylibjpeg raise on damaged or unknown data."""
NOT_HU: Final = frozenset({"OD", "HGML", "ED", "EDW", "HU_MOD", "MGML", "Z_EFF", "PCT"})
"""Rescale Types of CT that are other quantities than Hounsfield units (PS3.3 C.11.1.1.2)."""
QUANTITIES: Final = (("CT",), ("PT",), ("NM",))
"""Modalities whose values mean the same however they are shown."""
NATIVE_BITS: Final = (8, 16, 32)

Stored = NDArray[np.integer]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelFormat:
    """How one image's pixels are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool

    @property
    def frame_bytes(self) -> int:
        """Bytes of one frame, native encoding."""
        return self.rows * self.columns * self.bits_allocated // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Rescale:
    """Real-world value = slope × stored value + intercept (PS3.3 C.11.1.1.2)."""

    slope: float
    intercept: float

    @property
    def is_whole(self) -> bool:
        """Whether integers stay integers."""
        return self.slope.is_integer() and self.intercept.is_integer()


def pixel_format(part: Part10) -> PixelFormat:
    """Read the Image Pixel Module.

    Raises
    ------
    UndecodablePixels
        If there are no pixel data, or they are not one grey value per pixel.
    """
    header = part.header
    samples, photometric = whole(header, "SamplesPerPixel", 1), "".join(texts(header, "PhotometricInterpretation"))
    if part.pixels is None:
        raise _undecodable(part, "it has no pixel data")
    if not part.pixels.whole:
        raise _undecodable(part, "it has Float Pixel Data (7FE0,0008) or Double Float Pixel Data (7FE0,0009), as maps "
                                 "of measured values have: allowed is Pixel Data (7FE0,0010) of a CT or MR image")
    if samples != 1 or photometric not in {"MONOCHROME1", "MONOCHROME2"}:
        raise _undecodable(part, f"SamplesPerPixel = {samples}, PhotometricInterpretation = {photometric!r}: "
                                 "allowed is one MONOCHROME1 or MONOCHROME2 value per pixel")
    allocated = whole(header, "BitsAllocated", 0)
    stored = whole(header, "BitsStored", allocated)
    found = PixelFormat(
        rows=whole(header, "Rows", 0), columns=whole(header, "Columns", 0), bits_allocated=allocated,
        bits_stored=stored, high_bit=whole(header, "HighBit", stored - 1),
        signed=whole(header, "PixelRepresentation", 0) == 1,
    )
    if allocated not in NATIVE_BITS or not 1 <= stored <= found.high_bit + 1 <= allocated or not found.frame_bytes:
        raise _undecodable(part, f"{found}: allowed are 8, 16 or 32 bits allocated and a matrix that is not empty")
    return found


def refuse_half_rescaled(frames: Sequence[tuple[Dataset, int]]) -> None:
    """Refuse slices of which some state Rescale Slope and others none: their values are no one quantity.

    Raises
    ------
    MissingRescale
        With the numbers of both.
    """
    if any(texts(header, "Modality") == ("CT",) for header, _ in frames):
        return  # each must state its own
    silent = sum(not frame_texts(header, frame, "RescaleSlope") for header, frame in frames)
    if 0 < silent < len(frames):
        msg = (f"{silent} of {len(frames)} slices have no Rescale Slope (0028,1053), the others have: allowed are all "
               "or none, for their values are no one quantity")
        raise MissingRescale(msg)


def rescale(header: Dataset, frame: int) -> Rescale:
    """Return slope and intercept of one frame; identity where MR states none.

    Raises
    ------
    MissingRescale
        If a CT image states none, or states a quantity other than HU; if a Modality LUT stands in their place.

    Notes
    -----
    CT, PET and NM values are quantities: MONOCHROME1 only says which end is shown white (PS3.3 C.7.6.3.1.2), and they
    are never inverted. An MR value has no unit; one whose low end is shown white is inverted here, so that a network
    sees what people see.
    """
    how = _stated(header, frame)
    if texts(header, "PhotometricInterpretation") != ("MONOCHROME1",) or texts(header, "Modality") in QUANTITIES:
        return how
    bits = whole(header, "BitsStored", whole(header, "BitsAllocated", 0))
    ends = -1 if whole(header, "PixelRepresentation", 0) == 1 else (1 << bits) - 1  # lowest and highest, added
    return Rescale(slope=-how.slope, intercept=how.slope * ends + how.intercept)


def _stated(header: Dataset, frame: int) -> Rescale:
    slope, intercept = frame_numbers(header, frame, "RescaleSlope"), frame_numbers(header, frame, "RescaleIntercept")
    is_ct = texts(header, "Modality") == ("CT",)
    name = "".join(texts(header, "SOPInstanceUID"))
    if not slope or not intercept or slope[0] == 0 or not np.isfinite([slope[0], intercept[0]]).all():
        if is_ct:
            msg = (
                f"SOP Instance {name}: Rescale Slope (0028,1053) or Intercept (0028,1052) is absent or no number: "
                "values cannot be read as HU"
            )
            raise MissingRescale(msg)
        if slope or intercept:
            msg = (
                f"SOP Instance {name}: Rescale Slope (0028,1053) and Intercept (0028,1052) are not both there: "
                "allowed are both, or neither: values are not guessed"
            )
            raise MissingRescale(msg)
        if "ModalityLUTSequence" in header:
            msg = (
                f"SOP Instance {name}: it has a Modality LUT Sequence (0028,3000); allowed are Rescale Slope and "
                "Intercept, or neither: values are not guessed"
            )
            raise MissingRescale(msg)
        return Rescale(slope=1.0, intercept=0.0)
    kind = "".join(frame_texts(header, frame, "RescaleType"))
    if is_ct and kind in NOT_HU:
        msg = f"SOP Instance {name}: Rescale Type (0028,1054) = {kind}: allowed is HU"
        raise MissingRescale(msg)
    return Rescale(slope=slope[0], intercept=intercept[0])


def stored_frames(part: Part10, frames: Sequence[int]) -> Iterator[Stored]:
    """Yield the stored values of the given frames (1-based), each ``(row, column)``.

    Raises
    ------
    UndecodablePixels
        If the pixel data are cut off, damaged, or of a transfer syntax without a decoder.
    """
    layout = pixel_format(part)
    syntax = part.transfer_syntax
    plain = not syntax.is_compressed or syntax.is_deflated
    if plain and (syntax.is_little_endian or layout.bits_allocated > 8):  # noqa: PLR2004
        found = _native(part, layout, frames)
    else:
        found = _decoded(part, layout, frames)
    for values in found:
        if values.shape != (layout.rows, layout.columns):
            raise _undecodable(part, f"a frame decodes to {values.shape}, Rows × Columns say "
                                     f"{layout.rows} × {layout.columns}")
        yield _significant(values, layout)


def _native(part: Part10, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Stored]:
    order = "<" if part.transfer_syntax.is_little_endian else ">"
    kind = np.dtype(f"{order}{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}")
    if part.pixels is None or part.pixels.length is None:
        raise _undecodable(part, "native pixel data without a length")
    end = min(part.end, part.pixels.value + part.pixels.length)
    with part.stream() as stream:
        for frame in frames:
            start = part.pixels.value + (frame - 1) * layout.frame_bytes
            if start + layout.frame_bytes > end:
                raise _undecodable(part, f"pixel data end after {max(0, end - part.pixels.value)} bytes, "
                                         f"frame {frame} needs {frame * layout.frame_bytes}: cut off, send it again")
            stream.seek(start)
            yield np.frombuffer(stream.read(layout.frame_bytes), kind).reshape(layout.rows, layout.columns)


def _decoded(part: Part10, layout: PixelFormat, frames: Sequence[int]) -> Iterator[Stored]:
    try:
        decoder = get_decoder(part.transfer_syntax)
        full = dcmread(part.path)
        if part.transfer_syntax.is_encapsulated:
            _refuse_misfits(part, full, layout, frames)
        for values, _ in decoder.iter_array(full, raw=True, indices=[frame - 1 for frame in frames]):
            yield values
    except DECODE_ERRORS as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise _undecodable(part, f"transfer syntax {part.transfer_syntax.name}: {reason}") from error


def _refuse_misfits(part: Part10, full: Dataset, layout: PixelFormat, frames: Sequence[int]) -> None:
    """Look at the first bytes of each frame before the first one is decoded."""
    wanted = set(frames)
    count = max(1, whole(part.header, "NumberOfFrames", 1))
    table = [full.get(keyword) for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    pieces = generate_frames(full.PixelData, number_of_frames=count,
                             extended_offsets=(table[0], table[1]) if all(table) else None)
    for number, frame in enumerate(pieces, start=1):
        if number not in wanted:
            continue
        wrong = misfit(frame, part.transfer_syntax, rows=layout.rows, columns=layout.columns,
                       frame_bytes=layout.frame_bytes)
        if wrong:
            raise _undecodable(part, f"frame {number}: {wrong}: nothing was decoded")


def _significant(values: Stored, layout: PixelFormat) -> Stored:
    """Keep Bits Stored up to High Bit: what lies above may be an overlay (PS3.5 Section 8.1.2)."""
    width = values.dtype.itemsize * 8
    if layout.bits_stored == width:
        return values
    above = width - 1 - layout.high_bit
    return np.right_shift(np.left_shift(values, above), width - layout.bits_stored)


def _undecodable(part: Part10, reason: str) -> UndecodablePixels:
    name = "".join(texts(part.header, "SOPInstanceUID")) or part.path.name
    return UndecodablePixels(f"SOP Instance {name}: {reason}")
