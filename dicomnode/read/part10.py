"""One PS3.10 file: its header elements as they lie there, and where its pixel data are."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import BinaryIO, Final, cast

from pydicom import Dataset
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.filereader import data_element_generator
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from dicomnode.errors import CannotUnderstand, SpoolUnavailable

PREAMBLE_BYTES: Final = 128
FIRST_PIXEL_TAG: Final = 0x7FE00008
"""Double Float, Float and Pixel Data (7FE0,0008) to (7FE0,0010): where the header ends."""
UNDEFINED_LENGTH: Final = 0xFFFFFFFF
MAX_INFLATED_BYTES: Final = 1 << 29
"""A deflated data set that grows beyond this is refused: 500 kB can inflate to 500 MB."""
BUFFER_BYTES: Final = 1 << 16
LONG_VRS: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"})
"""VRs with a four-byte length (PS3.5 Section 7.1.2)."""
PARSE_ERRORS: Final = (
    EOFError, InvalidDicomError, struct.error, zlib.error, ValueError, LookupError, TypeError, AttributeError,
    ArithmeticError, NotImplementedError, RecursionError, MemoryError,
)
"""Everything pydicom raises on damaged bytes; found on malformed files, not guessed."""
NUMBER_FORMATS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "FL": "f", "FD": "d", "UV": "Q", "SV": "q"}
"""Binary VRs and their struct letters (PS3.5 Table 6.2-1)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelElement:
    """Where the pixel data lie: offsets into the data set's stream; ``length`` None where encapsulated."""

    start: int
    value: int
    length: int | None
    vr: str


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
        with path.open("rb", buffering=BUFFER_BYTES) as file:
            yield file
    except OSError as error:
        if error.errno is None:  # raised by pydicom about the content, not by the system about the disk
            msg = f"{path.name}: not a readable DICOM file: a sequence is cut off"
            raise CannotUnderstand(msg) from error
        msg = f"{path}: cannot be read: {error.strerror or error}; check the disk and the permissions"
        raise SpoolUnavailable(msg) from error


def _parse(path: Path, file: BinaryIO) -> Part10:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    if file.read(PREAMBLE_BYTES + 4)[PREAMBLE_BYTES:] != b"DICM":
        msg = f"{path.name}: no 'DICM' after 128 bytes: not a PS3.10 file (PS3.10 Section 7.1)"
        raise CannotUnderstand(msg)
    meta = _elements(file, implicit=False, little=True, stop_group=True)[0]
    syntax = UID(_first(meta, "TransferSyntaxUID"))
    if not syntax.is_transfer_syntax:
        msg = f"{path.name}: Transfer Syntax UID (0002,0010) = {syntax!r}: allowed is a transfer syntax of PS3.6"
        raise CannotUnderstand(msg)
    stream, start, inflated = file, file.tell(), None
    if syntax == DeflatedExplicitVRLittleEndian:
        inflated = _inflate(path, file.read())
        stream, start, size_here = io.BytesIO(inflated), 0, len(inflated)
    else:
        size_here = size
    implicit, little = syntax.is_implicit_VR, syntax.is_little_endian
    header, pixels = _elements(stream, implicit=implicit, little=little)
    return Part10(path=path, meta=meta, header=header, transfer_syntax=syntax, start=start, end=size_here,
                  size_bytes=size, pixels=pixels, inflated=inflated)


def _inflate(path: Path, deflated: bytes) -> bytes:
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = engine.decompress(deflated, MAX_INFLATED_BYTES)
    if engine.unconsumed_tail:
        msg = f"{path.name}: deflated data set is larger than {MAX_INFLATED_BYTES} bytes; store it uncompressed"
        raise CannotUnderstand(msg)
    return inflated


def _elements(
    stream: BinaryIO, *, implicit: bool, little: bool, stop_group: bool = False,
) -> tuple[Dataset, PixelElement | None]:
    """Read raw elements up to the pixel data, or, for File Meta, to the end of group 0002."""
    met: list[tuple[str | None, int]] = []

    def stop(tag: int, vr: str | None, length: int) -> bool:
        if tag >> 16 == 2 if stop_group else tag < FIRST_PIXEL_TAG:  # noqa: PLR2004
            return False
        met.append((vr, length))
        return True

    elements = {e.tag: e for e in data_element_generator(stream, implicit, little, stop)}
    for element in elements.values():
        if isinstance(element, RawDataElement) and 0 < element.length != UNDEFINED_LENGTH \
                and len(element.value or b"") < element.length:
            msg = f"element {element.tag} says {element.length} bytes, the file ends after {len(element.value or b'')}"
            raise EOFError(msg)
    header = Dataset(elements)
    header.set_original_encoding(implicit, little)
    if not met or stop_group:
        return header, None
    vr, length = met[0]
    start = stream.tell()
    value = start + (12 if vr in LONG_VRS else 8)
    return header, PixelElement(
        start=start, value=value, length=None if length == UNDEFINED_LENGTH else length, vr=vr or "OW")


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return an ASCII or binary-number attribute as texts, one per value; () if absent or empty.

    For text that may hold other characters, use ``charset.text_values``.
    """
    element = as_read(dataset, keyword)
    if element is None:
        return ()
    if isinstance(element, DataElement):
        if element.is_empty:
            return ()
        value = element.value
        return tuple(str(v).strip() for v in value) if element.VM > 1 else (str(value).strip(),)
    vr = element.VR if element.VR not in {None, "UN"} else tag_and_vr(keyword)[1]
    raw = element.value or b""
    if vr in NUMBER_FORMATS:
        order = "<" if element.is_little_endian else ">"
        one = struct.Struct(order + NUMBER_FORMATS[vr])
        return tuple(str(v[0]) for v in one.iter_unpack(raw[:len(raw) // one.size * one.size]))
    text = raw.decode("latin-1").strip(" \0")
    return tuple(value.strip(" \0") for value in text.split("\\")) if text else ()


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """Return a numeric attribute's values; () if absent, empty, or not numbers."""
    try:
        return tuple(float(text) for text in texts(dataset, keyword))
    except ValueError:
        return ()


def whole(dataset: Dataset, keyword: str, default: int) -> int:
    """Return the first value of an integer attribute, ``default`` if absent or not a number."""
    values = numbers(dataset, keyword)
    return int(values[0]) if values else default


def _first(dataset: Dataset, keyword: str) -> str:
    return next(iter(texts(dataset, keyword)), "")


def as_read(dataset: Dataset, keyword: str) -> RawDataElement | DataElement | None:
    """Return an element as it lies in the data set, not converted if nobody has asked for it yet."""
    return cast("RawDataElement | DataElement | None", dataset.get_item(tag_and_vr(keyword)[0]))


@cache
def tag_and_vr(keyword: str) -> tuple[BaseTag, str]:
    """Return a keyword's tag and VR; of two possible VRs the first.

    Raises
    ------
    KeyError
        If it is no keyword of PS3.6.
    """
    tag = Tag(keyword)
    return tag, dictionary_VR(tag).split(" or ", maxsplit=1)[0]


def _brief(error: BaseException) -> str:
    """Return what an error says, without bytes of the file: they may be a patient's."""
    text = str(error) if isinstance(error, EOFError | InvalidDicomError) else ""
    return text[:120] or "damaged element"
