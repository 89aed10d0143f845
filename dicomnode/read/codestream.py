"""What a compressed frame says of itself, read from its first bytes, so that nothing is decoded which cannot be right.

A decoder allocates what the stream's own header asks for, whatever Rows and Columns say. A frame of some hundred bytes
may ask for 16 GB.
"""

from __future__ import annotations

from struct import Struct, error
from typing import Final, NamedTuple

from pydicom.uid import UID, JPEG2000TransferSyntaxes, RLELossless

SOC: Final = b"\xff\x4f"
SIZ: Final = b"\xff\x51"
BOX_SIGNATURE: Final = b"\x00\x00\x00\x0cjP  "
SOI: Final = b"\xff\xd8"
SOF_CODES: Final = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC} | {0xF7}
"""Start Of Frame: JPEG (ITU-T T.81 Table B.1) without DHT, JPG and DAC; 0xF7 is that of JPEG-LS (T.87)."""
LSE_CODE: Final = 0xF8
LSE_SIZES: Final = 4
"""JPEG-LS: the preset parameters of this kind give sizes beyond 65535 (T.87 Annex C.2.4.1.4)."""
BARE_CODES: Final = frozenset(range(0xD0, 0xD9)) | {0x01}
"""Markers without a length."""
FILL: Final = 0xFF
MOST_MARKERS: Final = 1000
MOST_TILES: Final = 65535
RLE_HEADER_BYTES: Final = 64
RLE_MOST_RUN_BYTES: Final = 128
RLE_TRUSTED_PIXELS: Final = 1 << 22
"""A segment can become 64 times as long: up to 2048² pixels that is half a gigabyte at most, beyond it is counted."""
RLE_MOST_GROWTH: Final = 2
"""An RLE segment is longer than what it encodes by 1 byte in 128 at most; twice as much cannot be meant."""

_SEGMENT: Final = Struct(">BBH")
_FRAME: Final = Struct(">BHHB")
_SIZE: Final = Struct(">HHIIIIIIIIH")
_RLE: Final = Struct("<16I")


class Claim(NamedTuple):
    """Rows, columns and samples per pixel of one frame."""

    rows: int
    columns: int
    samples: int


def misfit(frame: bytes, syntax: UID, *, rows: int, columns: int, frame_bytes: int) -> str:
    """Return why a compressed frame cannot be one grey image of this size; '' where nothing speaks against it.

    Parameters
    ----------
    frame_bytes:
        Of the decoded frame.
    """
    try:
        if syntax == RLELossless:
            return _rle_misfit(frame, frame_bytes, pixels=rows * columns)
        claim = _siz(frame) if syntax in JPEG2000TransferSyntaxes or syntax.name.startswith("High-Throughput") \
            else _sof(frame)
    except (error, IndexError, ValueError) as damage:
        return f"the compressed frame has no readable header ({type(damage).__name__})"
    if claim == Claim(rows, columns, 1):
        return ""
    return (f"the compressed frame is {claim.rows} × {claim.columns} with {claim.samples} samples by its own header, "
            f"the image says {rows} × {columns} with 1")


def _rle_misfit(frame: bytes, frame_bytes: int, *, pixels: int) -> str:
    """PS3.5 Annex G: a header of sixteen numbers, then one segment per byte of a pixel."""
    count, *offsets = _RLE.unpack_from(frame)
    wanted = frame_bytes // pixels
    if count != wanted:
        return f"the RLE frame has {count} segments, the image needs {wanted}"
    ends = [*offsets[1:count], len(frame)]
    if offsets[0] != RLE_HEADER_BYTES or any(
            end < start or end - start > RLE_MOST_GROWTH * pixels + RLE_HEADER_BYTES
            for start, end in zip(offsets[:count], ends, strict=True)):
        return f"the RLE frame has segments longer than {RLE_MOST_GROWTH} × {pixels} bytes, or out of order"
    if pixels > RLE_TRUSTED_PIXELS:
        for start, end in zip(offsets[:count], ends, strict=True):
            if _unpacked_bytes(frame, start, end) > pixels + RLE_MOST_RUN_BYTES:
                return f"an RLE segment decodes to more than {pixels} bytes"
    return ""


def _unpacked_bytes(frame: bytes, position: int, end: int) -> int:
    """Return how long a segment becomes, without unpacking it (PackBits, PS3.5 Annex G.3.2)."""
    total = 0
    while position < end:
        code = frame[position]
        if code > RLE_MOST_RUN_BYTES:
            total, position = total + 257 - code, position + 2
        else:
            total, position = total + code + 1, position + code + 2
    return total


def _siz(frame: bytes) -> Claim:
    """JPEG 2000: SIZ follows SOC at once (T.800 A.5.1); some writers put JP2 boxes around the codestream."""
    start = 0
    if frame.startswith(BOX_SIGNATURE):
        start = frame.index(SOC + SIZ)
    if frame[start:start + 4] != SOC + SIZ:
        raise ValueError
    _, _, x_end, y_end, x_start, y_start, tile_x, tile_y, tile_x_start, tile_y_start, count = _SIZE.unpack_from(
        frame, start + 4)
    x_step, y_step = frame[start + 4 + _SIZE.size + 1:start + 4 + _SIZE.size + 3]
    if not (tile_x and tile_y and x_step and y_step) or tile_x_start > x_start or tile_y_start > y_start:
        raise ValueError
    if -(-(x_end - tile_x_start) // tile_x) * -(-(y_end - tile_y_start) // tile_y) > MOST_TILES:
        raise ValueError
    return Claim(_across(y_start, y_end, y_step), _across(x_start, x_end, x_step), count)


def _across(start: int, end: int, step: int) -> int:
    return -(-end // step) - -(-start // step)


def _sof(frame: bytes) -> Claim:
    """JPEG and JPEG-LS: the first Start Of Frame; sizes of 0 stand elsewhere and are no image's."""
    if not frame.startswith(SOI):
        raise ValueError
    position = len(SOI)
    for _ in range(MOST_MARKERS):
        while frame[position + 1] == FILL:
            position += 1
        lead, code = frame[position], frame[position + 1]
        if lead != FILL or (code == LSE_CODE and frame[position + 4] == LSE_SIZES):
            raise ValueError
        if code in BARE_CODES:
            position += 2
            continue
        if code in SOF_CODES:
            _, rows, columns, samples = _FRAME.unpack_from(frame, position + _SEGMENT.size)
            return Claim(rows, columns, samples)
        position += 2 + _SEGMENT.unpack_from(frame, position)[2]
    raise ValueError
