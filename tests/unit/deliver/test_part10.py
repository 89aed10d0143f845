"""Files: what is sent of them, byte for byte."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicomnode.deliver.part10 import OutgoingFile, data_set_parts, outgoing_file, rewritten
from dicomnode.errors import DeliveryError, PeerRefused, SpoolUnavailable, UnusableInput
from tests.builders import ct_series, write_series


@pytest.fixture
def ct(tmp_path) -> Path:
    hu = np.arange(16 * 16, dtype=np.int16).reshape(1, 16, 16)
    return next(iter(write_series(tmp_path / "ct", ct_series(hu))))


def parsed(data: bytes, *, implicit: bool) -> Dataset:
    return dcmread(io.BytesIO(data), force=True) if implicit else dcmread(
        io.BytesIO(bytes(128) + b"DICM" + b"\x02\x00\x10\x00UI\x14\x001.2.840.10008.1.2.1\0" + data))


def test_a_file_says_what_it_is(ct):
    header = dcmread(ct)
    file = outgoing_file(ct)
    assert file.sop_class_uid == header.SOPClassUID
    assert file.sop_instance_uid == header.SOPInstanceUID
    assert file.transfer_syntax_uid == header.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian,
                                    DeflatedExplicitVRLittleEndian])
def test_a_file_is_what_its_data_set_says_where_the_file_meta_says_otherwise(ct, tmp_path, syntax):
    source = Dataset()
    source.update({element.tag: element for element in dcmread(ct) if element.keyword != "PixelData"})
    source.file_meta = dcmread(ct).file_meta
    path = tmp_path / "edited.dcm"
    source.file_meta.TransferSyntaxUID = syntax
    source.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=syntax != ExplicitVRBigEndian,
                   enforce_file_format=True)
    edited = path.read_bytes()
    named = source.SOPInstanceUID.encode()
    place = edited.index(named)
    path.write_bytes(edited[:place] + b"1.2.3".ljust(len(named), b"\0") + edited[place + len(named):])
    assert dcmread(path).file_meta.MediaStorageSOPInstanceUID == "1.2.3"
    file = outgoing_file(path)
    assert (file.sop_instance_uid, file.sop_class_uid) == (source.SOPInstanceUID, source.SOPClassUID)


def test_a_data_set_that_says_nothing_leaves_the_word_to_the_file_meta(ct, tmp_path):
    bare = dcmread(ct)
    said = bare.SOPInstanceUID
    path = tmp_path / "bare.dcm"
    del bare.SOPInstanceUID
    bare.save_as(path)
    assert outgoing_file(path).sop_instance_uid == said


def test_the_data_set_is_sent_as_it_lies(ct):
    data = b"".join(data_set_parts(outgoing_file(ct)))
    assert ct.read_bytes().endswith(data)
    assert data[:4] == b"\x08\x00\x05\x00" or data[:2] == b"\x08\x00"
    assert parsed(data, implicit=False).PixelData == dcmread(ct).PixelData


def test_a_wrong_group_length_does_not_shift_the_data_set(ct, tmp_path):
    whole = ct.read_bytes()
    place = whole.index(b"\x02\x00\x00\x00UL\x04\x00") + 8
    wrong = tmp_path / "wrong.dcm"
    wrong.write_bytes(whole[:place] + b"\x05\0\0\0" + whole[place + 4:])
    assert list(data_set_parts(outgoing_file(wrong))) == list(data_set_parts(outgoing_file(ct)))


@pytest.mark.parametrize("content", [b"", b"hello", bytes(132), bytes(128) + b"DICM",
                                     bytes(128) + b"DICM\x02\x00\x02\x00UI\x20\x001.2"])
def test_what_is_no_dicom_file_is_refused_by_name(tmp_path, content):
    path = tmp_path / "README.txt"
    path.write_bytes(content)
    with pytest.raises(UnusableInput, match=r"README\.txt"):
        outgoing_file(path)


def test_a_dicomdir_is_no_instance(tmp_path):
    path = tmp_path / "DICOMDIR"
    parts = ((2, "1.2.840.10008.1.3.10"), (3, "1.2.3.4"), (0x10, "1.2.840.10008.1.2.1\0"))
    path.write_bytes(bytes(128) + b"DICM" + b"".join(
        b"\x02\x00" + tag.to_bytes(2, "little") + b"UI" + len(value).to_bytes(2, "little") + value.encode()
        for tag, value in parts))
    with pytest.raises(UnusableInput, match="a DICOMDIR is no instance"):
        outgoing_file(path)


def test_a_file_that_is_gone_is_a_delivery_that_fails(tmp_path):
    file = OutgoingFile(path=tmp_path / "gone.dcm", sop_class_uid="1.2", sop_instance_uid="1.3",
                        transfer_syntax_uid=ExplicitVRLittleEndian)
    with pytest.raises(DeliveryError, match="is gone"):
        list(data_set_parts(file))


def test_a_file_that_cannot_be_read_is_the_disks_fault_and_spends_no_budget(tmp_path):
    with pytest.raises(SpoolUnavailable, match="cannot be opened"):
        outgoing_file(tmp_path)


def test_rewriting_changes_nothing_but_the_encoding(ct):
    implicit = b"".join(rewritten(outgoing_file(ct), ImplicitVRLittleEndian))
    again = dcmread(io.BytesIO(implicit), force=True)
    source = dcmread(ct)
    assert {e.tag: e.value for e in again} == {e.tag: e.value for e in source}
    assert again.original_encoding == (True, True)


@pytest.mark.parametrize("syntax", [RLELossless, DeflatedExplicitVRLittleEndian])
def test_a_compressed_file_is_rewritten_with_the_same_pixels_and_the_same_uid(ct, tmp_path, syntax):
    source = dcmread(ct)
    if syntax == RLELossless:
        source.compress(RLELossless, generate_instance_uid=False)
    source.file_meta.TransferSyntaxUID = syntax
    path = tmp_path / "compressed.dcm"
    source.save_as(path)
    assert outgoing_file(path).transfer_syntax_uid == syntax
    again = dcmread(io.BytesIO(b"".join(rewritten(outgoing_file(path), ImplicitVRLittleEndian))), force=True)
    assert again.SOPInstanceUID == source.SOPInstanceUID
    assert again.PixelData == dcmread(ct).PixelData


@pytest.mark.parametrize("kept", [0, 40, 200])
@pytest.mark.filterwarnings("ignore:End of file reached")
def test_compressed_pixels_that_are_cut_off_are_not_rewritten_to_an_image_without_pixels(ct, tmp_path, kept):
    source = dcmread(ct)
    source.compress(RLELossless, generate_instance_uid=False)
    path = tmp_path / "broken.dcm"
    source.save_as(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:whole.index(b"\xe0\x7f\x10\x00") + 20 + kept])
    with pytest.raises(PeerRefused, match="cannot be rewritten from"):
        list(rewritten(outgoing_file(path), ExplicitVRLittleEndian))


@pytest.mark.filterwarnings("ignore")
def test_uncompressed_pixels_that_are_cut_off_are_not_rewritten(ct, tmp_path):
    path = tmp_path / "short.dcm"
    path.write_bytes(ct.read_bytes()[:-100])
    with pytest.raises(PeerRefused, match="cannot be rewritten from"):
        list(rewritten(outgoing_file(path), ImplicitVRLittleEndian))
