from __future__ import annotations

from struct import pack

import jpeg_ls
import numpy as np
import pytest
from pydicom.pixels.encoders.native import _encode_frame
from pydicom.uid import UID

from dicomnode.domain.model import InputRole
from dicomnode.errors import CannotUnderstand, TooLarge
from dicomnode.read.codestream import misfit
from dicomnode.read.part10 import parse
from dicomnode.read.series import load, load_headers
from tests.bombs import plain_with
from tests.builders import ct_series, write_series
from tests.hostile import IMPLICIT, J2K, JPEG, JPEG_LS, RLE, element, images, j2k, jpeg, nested, part10, rle
from tests.upper_layer import data_set

ITEM = pack("<HHI", 0xFFFE, 0xE000, 0)


@pytest.mark.parametrize(("extra", "says"), [
    (element(0x00081140, b"SQ", ITEM * 2_000_001), "more than 2000000 elements in one header"),
    (nested(65, undefined=False), "more than 64 sequences within one another"),
    (nested(65, undefined=True), "more than 64 sequences within one another"),
    (element(0x00081030, b"UT", b"x" * 65537), r"element \(0008,1030\) has 65537 bytes: allowed are 65536"),
])
def test_a_header_beyond_measure_is_refused_and_says_what_is_too_much(extra, says, tmp_path):
    (tmp_path / "one.dcm").write_bytes(part10(plain_with(extra)))
    with pytest.raises(CannotUnderstand, match=says):
        parse(tmp_path / "one.dcm")


@pytest.mark.parametrize("extra", [
    element(0x00081140, b"SQ", ITEM * 100_000), nested(60, undefined=False), nested(60, undefined=True),
    element(0x00091001, b"OB", b"x" * 1_000_000), element(0x00081030, b"LO", b"x" * 64),
])
def test_a_header_within_measure_is_read(extra, tmp_path):
    (tmp_path / "one.dcm").write_bytes(part10(plain_with(extra)))
    assert parse(tmp_path / "one.dcm").header.Rows == 8


def test_nesting_is_counted_in_implicit_vr_too(tmp_path):
    inner = b""
    for _ in range(65):
        inner = pack("<HHIHHI", 0x0008, 0x1140, len(inner) + 8, 0xFFFE, 0xE000, len(inner)) + inner
    (tmp_path / "one.dcm").write_bytes(part10(inner, IMPLICIT))
    with pytest.raises(CannotUnderstand, match="more than 64 sequences"):
        parse(tmp_path / "one.dcm")


def test_a_series_that_claims_more_than_the_limit_is_refused_before_it_is_decoded(tmp_path):
    paths = write_series(tmp_path, ct_series(np.zeros((4, 8, 8), np.int16)))
    needed = 4 * 8 * 8 * 4
    assert load(paths, InputRole(role="x"), most_bytes=needed).volume.values_zyx.shape == (4, 8, 8)
    with pytest.raises(TooLarge, match=r"\[worker\] max_decoded_mb"):
        load(paths, InputRole(role="x"), most_bytes=needed - 1)


def test_a_damaged_sequence_is_left_out_of_the_headers_that_reports_copy(tmp_path):
    damaged = element(0x00081140, b"SQ", ITEM + "é".encode() + b"x ")
    (tmp_path / "one.dcm").write_bytes(part10(plain_with(damaged)))
    (header,) = load_headers([tmp_path / "one.dcm"])
    assert "ReferencedImageSequence" not in header
    assert header.PatientID == images(2)[0].PatientID


def frames() -> dict[str, bytes]:
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    return {JPEG_LS: bytes(jpeg_ls.encode(grey)), J2K: j2k(8, 8), JPEG: jpeg(8, 8)}


@pytest.mark.parametrize("syntax", frames())
def test_a_frame_of_the_stated_size_speaks_for_itself(syntax):
    assert misfit(frames()[syntax], UID(syntax), rows=8, columns=8, frame_bytes=64) == ""
    assert "8 × 8 with 1 samples by its own header" in misfit(
        frames()[syntax], UID(syntax), rows=16, columns=8, frame_bytes=128)


def test_an_rle_frame_has_one_segment_for_each_byte_of_a_pixel():
    class Runner:
        bits_allocated, rows, columns, samples_per_pixel = 16, 8, 8, 1
        photometric_interpretation, planar_configuration, is_encapsulated = "MONOCHROME2", 0, True

        @staticmethod
        def get_option(_name: str, default: object = None) -> object:
            return default

    encoded = bytes(_encode_frame(np.arange(64, dtype="<u2").tobytes(), Runner()))
    assert misfit(encoded, UID(RLE), rows=8, columns=8, frame_bytes=128) == ""
    assert "has 2 segments, the image needs 1" in misfit(encoded, UID(RLE), rows=8, columns=8, frame_bytes=64)
    assert "longer than" in misfit(rle(1 << 16), UID(RLE), rows=8, columns=8, frame_bytes=128)


def test_a_large_rle_frame_is_counted_before_it_is_unpacked():
    side = 4096
    assert "decodes to more than" in misfit(rle(side * side * 2), UID(RLE), rows=side, columns=side,
                                            frame_bytes=side * side * 2)
    assert misfit(rle(side * side), UID(RLE), rows=side, columns=side, frame_bytes=side * side * 2) == ""


@pytest.mark.parametrize("syntax", [JPEG, JPEG_LS, J2K, RLE])
@pytest.mark.parametrize("frame", [b"", b"\xff\xd8", b"\xff" * 40, b"\xff\xd8" + b"\xff\xe0\0\0" * 9, b"\0" * 99,
                                   b"\xff\x4f\xff\x51" + bytes(50)])
def test_a_frame_without_a_readable_header_is_no_image(frame, syntax):
    assert misfit(frame, UID(syntax), rows=8, columns=8, frame_bytes=128) != ""


def test_the_whole_of_a_plain_image_is_within_all_measures(tmp_path):
    (tmp_path / "one.dcm").write_bytes(part10(data_set(images()[0])))
    assert parse(tmp_path / "one.dcm").pixels is not None
