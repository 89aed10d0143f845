"""One PS3.10 file: its header elements as they lie there, and where its pixel data are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydicom import Dataset, config
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicomnode.errors import CannotUnderstand, SpoolUnavailable
from dicomnode.read.bounds import refuse_excess
from dicomnode.read.elements import UNDEFINED_LENGTH, CutOff, Elements, Head, TooMuch, Walk
from dicomnode.read.values import texts

PREAMBLE_BYTES: Final = 128
PIXEL_TAG: Final = 0x7FE00010
FIRST_PIXEL_TAG: Final = 0x7FE00008
"""Double Float, Float and Pixel Data (7FE0,0008) to (7FE0,0010): where the header ends."""
MAX_INFLATED_BYTES: Final = 1 << 29
"""A deflated data set that grows beyond this is refused: 500 kB can inflate to 500 MB."""
MAX_HEADER_BYTES: Final = 1 << 28
"""Headers of Enhanced images with thousands of frames have some megabytes."""
FIRST_READ_BYTES: Final = 1 << 15
"""Nearly every header ends within this."""
FILE_META_GROUP: Final = 0x0002
PARSE_ERRORS: Final = (
    EOFError, InvalidDicomError, BytesLengthException, struct.error, zlib.error, ValueError, LookupError, TypeError,
    AttributeError, ArithmeticError, NotImplementedError, RecursionError, MemoryError,
)
"""Everything pydicom raises on damaged bytes; found on malformed files, not guessed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where the pixel data lie: offsets into the data set's stream; ``length`` None where encapsulated.

    ``whole``: Pixel Data (7FE0,0010); else Float or Double Float Pixel Data.
    """

    start: int
    value: int
    length: int | None
    whole: bool = True


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part10:
    """One file, its header parsed and nothing converted.

    Parameters
    ----------
    header:
        Every element before the pixel data; values stay as read until asked for.
    start, end:
        First byte of the data set and the byte after its last, in ``stream``.
    inflated:
        The data set of a deflated file; None: the file itself is the stream.
    """

    path: Path
    meta: Dataset
    header: Dataset
    transfer_syntax: UID
    start: int
    end: int
    size_bytes: int
    pixels: PixelElement | None
    inflated: bytes | None = None

    @contextmanager
    def stream(self) -> Iterator[BinaryIO]:
        """Open the bytes that ``start``, ``end`` and ``pixels`` count in."""
        if self.inflated is not None:
            yield io.BytesIO(self.inflated)
            return
        with _opened(self.path) as file:
            yield file


def parse(path: Path) -> Part10:
    """Read a file up to its pixel data.

    Raises
    ------
    CannotUnderstand
        If it is no PS3.10 file, its header is damaged or cut off, or its transfer syntax is unknown.
    SpoolUnavailable
        If the file cannot be read at all.
    """
    with _opened(path) as file:
        try:
            return _parse(path, file)
        except PARSE_ERRORS as error:
            msg = f"{path.name}: not a readable DICOM file: {type(error).__name__}: {_brief(error)}"
            raise CannotUnderstand(msg) from error


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("rb", buffering=0) as file:
            yield file
    except OSError as error:
        if error.errno is None:  # raised by pydicom about the content, not by the system about the disk
            msg = f"{path.name}: not a readable DICOM file: a sequence is cut off"
            raise CannotUnderstand(msg) from error
        msg = f"{path}: cannot be read: {error.strerror or error}; check the disk and the permissions"
        raise SpoolUnavailable(msg) from error


def _parse(path: Path, file: BinaryIO) -> Part10:
    size = file.seek(0, io.SEEK_END)
    buffer = _read(file, 0, FIRST_READ_BYTES)
    if buffer[PREAMBLE_BYTES:PREAMBLE_BYTES + 4] != b"DICM":
        msg = f"{path.name}: no 'DICM' after 128 bytes: not a PS3.10 file (PS3.10 Section 7.1)"
        raise CannotUnderstand(msg)
    elements, start, _ = Walk(buffer, implicit=False, little=True).elements(PREAMBLE_BYTES + 4, _after_meta)
    meta = _dataset(elements, implicit=False, little=True)
    syntax = UID("".join(texts(meta, "TransferSyntaxUID")), validation_mode=config.IGNORE)
    if not syntax.is_transfer_syntax:
        msg = f"{path.name}: Transfer Syntax UID (0002,0010) = {syntax!r}: allowed is a transfer syntax of PS3.6"
        raise CannotUnderstand(msg)
    inflated = None
    if syntax == DeflatedExplicitVRLittleEndian:
        inflated = _inflate(path, _read(file, start, size - start))
        buffer, start, size_here = inflated, 0, len(inflated)
    else:
        size_here = size
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    elements, end, head = _header(file, buffer, start, size_here, implicit=implicit, little=little)
    header = _dataset(elements, implicit=implicit, little=little)
    refuse_excess(header)
    pixels = None if head is None else PixelElement(
        start=end, value=head.value, length=None if head.length == UNDEFINED_LENGTH else head.length,
        whole=head.tag == PIXEL_TAG)
    return Part10(path=path, meta=meta, header=header, transfer_syntax=syntax, start=start, end=size_here,
                  size_bytes=size, pixels=pixels, inflated=inflated)


def _header(
    file: BinaryIO, buffer: bytes, start: int, size: int, *, implicit: bool, little: bool,
) -> tuple[Elements, int, Head | None]:
    """Walk to the pixel data; where the buffer ends before, read twice as much and walk again."""
    while True:
        try:
            elements, end, head = Walk(buffer, implicit=implicit, little=little).elements(start, _at_pixels)
        except CutOff:
            if len(buffer) >= size:
                raise
        else:
            if head or len(buffer) >= size:
                return elements, end, head
        if len(buffer) > MAX_HEADER_BYTES:
            msg = f"no pixel data within {MAX_HEADER_BYTES} bytes of header"
            raise EOFError(msg)
        longer = _read(file, 0, 2 * len(buffer))
        if len(longer) <= len(buffer):
            msg = "the file became shorter while it was read"
            raise EOFError(msg)
        buffer = longer


def _read(file: BinaryIO, start: int, count: int) -> bytes:
    file.seek(start)
    return file.read(count)


def _after_meta(tag: int) -> bool:
    return tag >> 16 != FILE_META_GROUP


def _at_pixels(tag: int) -> bool:
    return tag >= FIRST_PIXEL_TAG


def _dataset(elements: Elements, *, implicit: bool, little: bool) -> Dataset:
    dataset = Dataset(elements)
    dataset.set_original_encoding(implicit, little)
    return dataset


def _inflate(path: Path, deflated: bytes) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = engine.decompress(deflated, MAX_INFLATED_BYTES)
    if engine.unconsumed_tail:
        msg = f"{path.name}: deflated data set is larger than {MAX_INFLATED_BYTES} bytes; store it uncompressed"
        raise CannotUnderstand(msg)
    return inflated


def _brief(error: BaseException) -> str:
    """Return what an error says, without bytes of the file: they may be a patient's."""
    text = str(error) if isinstance(error, EOFError | InvalidDicomError | TooMuch) else ""
    return text[:120] or "damaged element"
