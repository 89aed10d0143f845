"""What the index keeps of one file: identity, attributes and digests, without decoding a pixel."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import BinaryIO, Final, cast

from pydicom import Dataset

from dicomnode.domain.dicom import MANUFACTURER, MODEL_NAME, uid
from dicomnode.domain.study import INDEXED_KEYWORDS, InstanceRecord
from dicomnode.errors import CannotUnderstand
from dicomnode.read.charset import text_values
from dicomnode.read.frames import GROUP_OF, coded, frame_count, frame_texts, is_multiframe
from dicomnode.read.part10 import PARSE_ERRORS, Part10, parse
from dicomnode.read.values import texts

CHUNK_BYTES: Final = 1 << 18
GEOMETRY_KEYWORDS: Final = (
    "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames",
    "RescaleSlope", "RescaleIntercept", "FrameOfReferenceUID",
)
IDENTITY: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def record(path: Path, *, charset_fallback: str = "") -> InstanceRecord:
    r"""Index one PS3.10 file; pixel data are hashed as they stream by, never decoded.

    Parameters
    ----------
    charset_fallback:
        Specific Character Set (0008,0005) assumed where the data set has none but holds bytes above 0x7F.

    Raises
    ------
    CannotUnderstand
        If the file cannot be parsed, or one of its four identifying UIDs is absent or no UID.
    SpoolUnavailable
        If the file cannot be read.

    Notes
    -----
    ``content_digest`` covers header, pixel data and what follows them, so that equal digests mean equal data sets.
    ``pixel_digest`` names the transfer syntax only where the pixel data are compressed or big endian: an archive
    that sends the same image again in another native encoding has not changed a pixel. Text that its character set
    cannot explain is kept with escapes (``\xd5``): the instance is indexed, and refused where a name is needed.
    """
    part = parse(path)
    try:
        return _record(part, charset_fallback)
    except PARSE_ERRORS as error:
        msg = f"{path.name}: damaged element in the header: {type(error).__name__}"
        raise CannotUnderstand(msg) from error


def is_own_output(record: InstanceRecord) -> bool:
    """Whether the node made this instance: Manufacturer and ManufacturerModelName say so."""
    return record.text("Manufacturer") == MANUFACTURER and record.text("ManufacturerModelName") == MODEL_NAME


def store_path(record: InstanceRecord, copy: int = 0) -> str:
    """Return where the instance lies below ``spool/store``: two hexadecimal digits, study, instance, copy number."""
    shard = hashlib.sha256(record.study_uid.encode()).hexdigest()[:2]
    suffix = f".{copy}" if copy else ""
    return f"{shard}/{record.study_uid}/{record.sop_instance_uid}{suffix}.dcm"


def _record(part: Part10, fallback: str) -> InstanceRecord:
    study, series, instance, sop_class = (_identity(part, keyword) for keyword in IDENTITY)
    content, pixels = _digests(part)
    return InstanceRecord(
        study_uid=study, series_uid=series, sop_instance_uid=instance, sop_class_uid=sop_class,
        transfer_syntax_uid=str(part.transfer_syntax), attributes=_attributes(part.header, fallback),
        content_digest=content, geometry_digest=_geometry_digest(part.header), pixel_digest=pixels,
        size_bytes=part.size_bytes,
        source_ae_title=next(iter(texts(part.meta, "SourceApplicationEntityTitle")), ""),
        source_address=next(iter(texts(part.meta, "SourcePresentationAddress")), "").rpartition("/")[2].strip("[]"),
    )


def _identity(part: Part10, keyword: str) -> str:
    value = "\\".join(texts(part.header, keyword))
    try:
        return uid(value)
    except ValueError as error:
        found = f"no UID: {error}" if value else "empty or absent"
        msg = f"{part.path.name}: {keyword} is {found}; restore the identity and send the study again"
        raise CannotUnderstand(msg) from error


def _attributes(header: Dataset, fallback: str) -> dict[str, tuple[str, ...]]:
    grouped = is_multiframe(header)
    kept = {}
    for keyword in INDEXED_KEYWORDS:
        values = frame_texts(header, 1, keyword) if grouped and keyword in GROUP_OF \
            else _readable(header, keyword, fallback)
        if any(values):
            kept[keyword] = values
    if "ContrastBolusAgent" not in kept and (agents := coded(header, "ContrastBolusAgentSequence")):
        kept["ContrastBolusAgent"] = agents  # Enhanced images have the sequence alone (C.7.6.4b)
    return kept


def _readable(header: Dataset, keyword: str, fallback: str) -> tuple[str, ...]:
    try:
        return text_values(header, keyword, fallback=fallback)
    except UnicodeError:
        raw = header.get_item(keyword).value or b""
        return tuple(value.decode("ascii", errors="backslashreplace") for value in raw.rstrip(b" \0").split(b"\\"))


def _geometry_digest(header: Dataset) -> str:
    frames = range(1, frame_count(header) + 1) if is_multiframe(header) else (1,)
    lines = (
        f"{keyword}={','.join(map(_canonical, frame_texts(header, frame, keyword)))}"
        for frame in frames for keyword in GEOMETRY_KEYWORDS
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _canonical(text: str) -> str:
    """Return ``0.50`` and ``0.5`` as the same number: an archive may write decimal strings anew."""
    try:
        return repr(float(text))
    except ValueError:
        return text


def _digests(part: Part10) -> tuple[str, str]:
    """Return the digests of the whole data set and of the pixel data."""
    content, pixels = hashlib.sha256(), hashlib.sha256()
    syntax = part.transfer_syntax
    native = not syntax.is_compressed and syntax.is_little_endian
    pixels.update(b"native" if native or syntax.is_deflated else str(syntax).encode())
    chunk = memoryview(bytearray(CHUNK_BYTES))
    with part.stream() as stream:
        header_end = part.pixels.start if part.pixels else part.end
        _feed(content, stream, part.start, header_end, chunk)
        if part.pixels:
            length = part.pixels.length
            pixels_end = part.end if length is None else min(part.end, part.pixels.value + length)
            _feed(pixels, stream, part.pixels.value, pixels_end, chunk)
            _feed(content, stream, pixels_end, part.end, chunk)
    content.update(pixels.digest())
    return content.hexdigest(), pixels.hexdigest()


def _feed(digest: hashlib._Hash, stream: BinaryIO, start: int, end: int, chunk: memoryview) -> None:
    """Hash the bytes from ``start`` to ``end``, through one buffer that stays in the cache."""
    stream.seek(start)
    while start < end:
        count = cast("io.RawIOBase", stream).readinto(chunk[:end - start])
        if not count:
            return
        digest.update(chunk[:count])
        start += count
