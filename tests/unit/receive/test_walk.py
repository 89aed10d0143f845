from __future__ import annotations

import zlib
from io import BytesIO

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomnode.errors import CannotUnderstand
from dicomnode.receive.walk import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Walk,
    walk_for,
)
from tests.builders import ct_series, dataset, enhanced_ct

RLE = "1.2.840.10008.1.2.5"


def data_set_bytes(built: Dataset, *, implicit: bool = False) -> bytes:
    """The encoded data set alone, without preamble and File Meta."""
    buffer = BytesIO()
    dcmwrite(buffer, built, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def slice_of(**attributes: object) -> Dataset:
    return ct_series(np.zeros((1, 4, 6), np.int16), **attributes)[0]


def walked(data: bytes, *, syntax: str = ExplicitVRLittleEndian, piece: int = 1 << 20) -> dict[int, str]:
    walk = walk_for(syntax, most_bytes=1 << 20)
    for start in range(0, len(data), piece):
        walk.feed(memoryview(data)[start:start + piece])
    walk.finish()
    return walk.uids


def expected(built: Dataset) -> dict[int, str]:
    return {SOP_CLASS_UID: built.SOPClassUID, SOP_INSTANCE_UID: built.SOPInstanceUID,
            STUDY_INSTANCE_UID: built.StudyInstanceUID, SERIES_INSTANCE_UID: built.SeriesInstanceUID}


@pytest.mark.parametrize("piece", [1, 2, 7, 8, 11, 64, 1 << 20])
@pytest.mark.parametrize("implicit", [False, True])
def test_the_four_uids_are_found_however_the_bytes_are_cut(*, piece: int, implicit: bool):
    built = slice_of()
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    assert walked(data_set_bytes(built, implicit=implicit), syntax=syntax, piece=piece) == expected(built)


@pytest.mark.parametrize("piece", [1, 13, 1 << 20])
@pytest.mark.parametrize("undefined", [False, True])
@pytest.mark.parametrize("implicit", [False, True])
def test_nested_sequences_are_walked_and_their_uids_are_not_taken_for_the_image_s(
    *, piece: int, undefined: bool, implicit: bool,
):
    inner = dataset(SOPClassUID="1.2.3", SOPInstanceUID="1.2.4", StudyInstanceUID="1.2.5", SeriesInstanceUID="1.2.6")
    middle = dataset(ReferencedSeriesSequence=[inner, inner], SeriesInstanceUID="1.2.7")
    built = slice_of(ReferencedStudySequence=[middle])
    for element in (built["ReferencedStudySequence"], middle["ReferencedSeriesSequence"]):
        element.is_undefined_length = undefined
    inner.is_undefined_length_sequence_item = middle.is_undefined_length_sequence_item = undefined
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    assert walked(data_set_bytes(built, implicit=implicit), syntax=syntax, piece=piece) == expected(built)


def test_an_enhanced_multi_frame_object_is_walked():
    built = enhanced_ct(np.zeros((3, 4, 4), np.int16))
    assert walked(data_set_bytes(built)) == expected(built)


def test_unknown_vr_of_undefined_length_holds_implicit_items():
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    item += b"\x09\x00\x02\x10\x04\x00\x00\x00abcd" + b"\xfe\xff\x0d\xe0" + bytes(4)
    private = b"\x09\x00\x01\x10UN\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0" + bytes(4)
    built = slice_of()
    assert walked(private + data_set_bytes(built)) == expected(built)


def test_an_encapsulated_image_is_walked_to_its_last_fragment():
    built = slice_of()
    del built.PixelData
    head = data_set_bytes(built)
    fragments = b"\xfe\xff\x00\xe0" + bytes(4) + b"\xfe\xff\x00\xe0\x06\0\0\0abcdef"
    pixels = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + fragments
    assert walked(head + pixels + b"\xfe\xff\xdd\xe0" + bytes(4), syntax=RLE) == expected(built)
    with pytest.raises(CannotUnderstand, match="ends inside"):
        walked(head + pixels, syntax=RLE)


@pytest.mark.parametrize("lost", [1, 2, 20, 47])
@pytest.mark.parametrize("implicit", [False, True])
def test_a_truncated_data_set_is_refused_with_the_element_it_ends_in(*, lost: int, implicit: bool):
    data = data_set_bytes(slice_of(), implicit=implicit)[:-lost]
    syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    with pytest.raises(CannotUnderstand, match=r"ends inside element \(7FE0,0010\)"):
        walked(data, syntax=syntax)


def test_a_sequence_without_its_delimiter_is_refused():
    built = slice_of(ReferencedStudySequence=[dataset(StudyInstanceUID="1.2")])
    built["ReferencedStudySequence"].is_undefined_length = True
    data = data_set_bytes(built).replace(b"\xfe\xff\xdd\xe0" + bytes(4), b"")
    with pytest.raises(CannotUnderstand, match="only items may"):
        walked(data)


@pytest.mark.parametrize(("data", "why"), [
    (b"\x08\x00\x05\x00\x00\x01\0\0\0\0\0\0\0\0\0\0", "may not stand in a data set"),
    (b"\x02\x00\x10\x00UI\x04\x001.2\0", "may not stand in a data set"),
    (b"\x08\x00\x18\x00UI\x42\x00" + b"1" * 66, "allowed are 64"),
    (b"\x08\x00\x05\x00UT\0\0\xff\xff\xff\xff", "has no length"),
    (b"\xfe\xff\x00\xe0\x00\x00\x00\x00", "outside a sequence"),
    (b"\x08\x00\x05", "header or delimiter missing"),
])
def test_bytes_that_are_no_data_set_are_refused(data: bytes, why: str):
    with pytest.raises(CannotUnderstand, match=why):
        walked(data)


def test_a_stray_empty_delimiter_between_elements_does_no_harm():
    built = slice_of()
    assert walked(b"\xfe\xff\xdd\xe0" + bytes(4) + data_set_bytes(built)) == expected(built)


def test_endless_nesting_is_refused():
    with pytest.raises(CannotUnderstand, match="nested deeper than 64"):
        walked((b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * 100)


@pytest.mark.parametrize("piece", [1, 50, 1 << 20])
def test_a_deflated_data_set_is_walked(piece: int):
    built = slice_of()
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    data = deflate.compress(data_set_bytes(built)) + deflate.flush()
    data += b"\0" * (len(data) % 2)
    assert walked(data, syntax=DeflatedExplicitVRLittleEndian, piece=piece) == expected(built)
    with pytest.raises(CannotUnderstand, match="ends before its last block"):
        walked(data[:-5], syntax=DeflatedExplicitVRLittleEndian)


def test_a_deflated_bomb_is_refused_before_it_grows():
    deflate = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    bomb = deflate.compress(b"\xe0\x7f\x10\x00OW\0\0\xf0\xff\xff\xff" + bytes(1 << 25)) + deflate.flush()
    with pytest.raises(CannotUnderstand, match="max_instance_mb"):
        walked(bomb, syntax=DeflatedExplicitVRLittleEndian)


def test_damaged_deflate_is_refused():
    with pytest.raises(CannotUnderstand, match="damaged"):
        walked(b"\xff" * 40, syntax=DeflatedExplicitVRLittleEndian)


@pytest.mark.parametrize("vr", [b"  ", b"??", b"\0\0"])
def test_a_vr_that_is_none_is_read_with_a_16_bit_length(vr: bytes):
    built = slice_of()
    assert walked(b"\x09\x00\x01\x10" + vr + b"\x02\x00ab" + data_set_bytes(built)) == expected(built)


def test_a_future_vr_is_read_with_a_32_bit_length():
    built = slice_of()
    assert walked(b"\x09\x00\x01\x10ZZ\0\0\x02\0\0\0ab" + data_set_bytes(built)) == expected(built)


def test_pixel_bytes_cost_no_walking():
    walk = Walk(implicit=False)
    walk.feed(b"\xe0\x7f\x10\x00OW\0\0\x00\x00\x00\x10")
    walk.feed(bytes(1 << 20))
    assert walk._skip == (1 << 28) - (1 << 20)
    assert walk._tail == b""
