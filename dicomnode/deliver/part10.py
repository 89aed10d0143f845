"""Files in the DICOM File Format (PS3.10 Section 7.1): what to send, and from which byte."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.pixels.utils import get_expected_length
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomnode.domain.dicom import uid
from dicomnode.errors import DeliveryError, PeerRefused, SpoolUnavailable, UnusableInput

READ_BYTES: Final = 1 << 20
"""A file is read in pieces of this size, so that a large one needs no memory of its size."""
PREAMBLE_BYTES: Final = 128
LONG_LENGTH_VRS: Final = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"SQ", b"UC", b"UN", b"UR", b"UT"})
"""Value representations with a four-byte length (PS3.5 Section 7.1.2)."""
SOP_CLASS_UID: Final = 0x00080016
SOP_INSTANCE_UID: Final = 0x00080018
HEAD_BYTES: Final = 1 << 16
"""A data set names its SOP Class and Instance within so many bytes: what stands before them is short."""
MEDIA_DIRECTORY: Final = "1.2.840.10008.1.3.10"

EXPLICIT_LE: Final = str(ExplicitVRLittleEndian)
IMPLICIT_LE: Final = str(ImplicitVRLittleEndian)
UNCOMPRESSED: Final = (EXPLICIT_LE, IMPLICIT_LE)
"""What a data set is rewritten to where the peer does not take it as it lies, in the order of choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutgoingFile:
    """One file that can be sent.

    Parameters
    ----------
    kind:
        How people call it; empty: by its SOP Class UID.
    refers_to:
        SOP Instance UIDs of other objects of the same delivery that it names.
    """

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    kind: str = ""
    refers_to: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """One item of a delivery: its forms in the order in which the peer should have them.

    Parameters
    ----------
    optional:
        The peer may refuse every form; the others must not be taken away from it for that.
    closing:
        Sent only where the peer took, of the items before, all that it must.
    """

    item_id: int
    alternatives: tuple[OutgoingFile, ...]
    optional: bool = False
    closing: bool = False


def outgoing_file(path: Path) -> OutgoingFile:
    """Return what a file is: its data set's SOP Class and Instance UID, in the encoding that its File Meta names.

    Raises
    ------
    UnusableInput
        If the file is no DICOM instance, or a DICOMDIR.

    Notes
    -----
    A file edited by hand may name other UIDs in its File Meta; a receiver holds the command against the data set
    (PS3.4 Table B.2-1, 0xA900). Where the data set cannot be read, the File Meta counts.
    """
    with _opened(path) as file:
        values = _file_meta(file, path)
        values |= _data_set_uids(file, values.get(0x0010, ""), path)
    try:
        found = OutgoingFile(path=path, sop_class_uid=uid(values[0x0002]), sop_instance_uid=uid(values[0x0003]),
                             transfer_syntax_uid=uid(values[0x0010]))
    except KeyError as error:
        msg = f"{path}: its File Meta Information lacks (0002,{error.args[0]:04X}) (PS3.10 Table 7.1-1)"
        raise UnusableInput(msg) from None
    except ValueError as error:
        msg = f"{path}: {error}"
        raise UnusableInput(msg) from error
    if found.sop_class_uid == MEDIA_DIRECTORY:
        msg = f"{path}: a DICOMDIR is no instance to send"
        raise UnusableInput(msg)
    return found


def data_set_parts(file: OutgoingFile) -> Iterator[bytes]:
    """Yield the data set as it lies on disk, without preamble and File Meta Information."""
    with _opened(file.path) as opened:
        _file_meta(opened, file.path)
        while part := _read(opened, READ_BYTES, file.path):
            yield part


def rewritten(file: OutgoingFile, transfer_syntax_uid: str) -> Iterator[bytes]:
    """Yield the data set in another, uncompressed transfer syntax; nothing but its encoding changes.

    Raises
    ------
    PeerRefused
        If its pixel data cannot be decoded: the peer takes no form of it that we have.
    """
    try:
        dataset = dcmread(file.path)
        if dataset.file_meta.TransferSyntaxUID.is_compressed and "PixelData" in dataset:
            dataset.decompress(generate_instance_uid=False)
        _refuse_cut_off(dataset, file)
        dataset.file_meta.TransferSyntaxUID = UID(transfer_syntax_uid)
        buffer = io.BytesIO()
        dataset.save_as(buffer)
    except (ValueError, RuntimeError, AttributeError, NotImplementedError, InvalidDicomError) as error:
        msg = (f"{file.sop_instance_uid}: cannot be rewritten from {file.transfer_syntax_uid} to "
               f"{transfer_syntax_uid}, which is all that the peer takes: {error}")
        raise PeerRefused(msg) from error
    buffer.seek(0)
    _file_meta(buffer, file.path)
    while part := buffer.read(READ_BYTES):
        yield part


def _refuse_cut_off(dataset: Dataset, file: OutgoingFile) -> None:
    """Refuse what would be sent without its end: pydicom stops in silence where a file is cut off."""
    if dataset.get("SOPInstanceUID") != file.sop_instance_uid:
        msg = "its data set is cut off, or is another instance than its File Meta Information says"
        raise ValueError(msg)
    if "Rows" not in dataset or "FloatPixelData" in dataset or "DoubleFloatPixelData" in dataset:
        return
    met, needed = len(dataset.get("PixelData", b"")), get_expected_length(dataset)
    if met < needed:
        msg = f"PixelData has {met} bytes, {needed} are needed"
        raise ValueError(msg)


def _file_meta(file: BinaryIO, path: Path) -> dict[int, str]:
    """Read group 0002 and leave ``file`` at the first byte of the data set."""
    if _read(file, PREAMBLE_BYTES + 4, path)[PREAMBLE_BYTES:] != b"DICM":
        msg = f"{path}: no DICOM file: 'DICM' does not stand after the preamble (PS3.10 Section 7.1)"
        raise UnusableInput(msg)
    values: dict[int, str] = {}
    while len(head := _read(file, 8, path)) == 8 and head[:2] == b"\x02\x00":  # noqa: PLR2004 - tag, VR, length
        element, kind, length = struct.unpack("<2xH2sH", head)
        if kind in LONG_LENGTH_VRS:
            length = int.from_bytes(_read(file, 4, path), "little")
        value = _read(file, length, path)
        if len(value) != length:
            msg = f"{path}: its File Meta Information is cut off"
            raise UnusableInput(msg)
        values[element] = value.rstrip(b"\0 ").decode("ascii", "replace")
    file.seek(-len(head), io.SEEK_CUR)
    return values


def _data_set_uids(file: BinaryIO, transfer_syntax_uid: str, path: Path) -> dict[int, str]:
    """Return what the data set at ``file`` says of itself, under the elements of its twins in the File Meta."""
    syntax = UID(transfer_syntax_uid)
    head: BinaryIO = io.BytesIO(_read(file, HEAD_BYTES, path))
    try:
        if syntax == DeflatedExplicitVRLittleEndian:
            head = io.BytesIO(zlib.decompressobj(-zlib.MAX_WBITS).decompress(head.read(), HEAD_BYTES))
        found = read_dataset(head, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian,
                             stop_when=lambda tag, _vr, _length: tag > SOP_INSTANCE_UID)
        said = {element: found.get_item(tag) for element, tag in ((2, SOP_CLASS_UID), (3, SOP_INSTANCE_UID))}
    except (ValueError, KeyError, EOFError, NotImplementedError, struct.error, zlib.error):
        return {}
    return {element: bytes(one.value).rstrip(b"\0 ").decode("ascii", "replace")
            for element, one in said.items() if one is not None and one.value}


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        msg = f"{path}: is gone; what was encoded once is not encoded again: requeue the job"
        raise DeliveryError(msg) from error
    except OSError as error:
        msg = f"{path}: cannot be opened: {error.strerror}"
        raise SpoolUnavailable(msg) from error


def _read(file: BinaryIO, count: int, path: Path) -> bytes:
    try:
        return file.read(count)
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise SpoolUnavailable(msg) from error
