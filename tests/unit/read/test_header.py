from __future__ import annotations

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from dicomnode.errors import CannotUnderstand, SpoolUnavailable
from dicomnode.read import header
from tests.builders import affine_lps, ct_series, dataset, enhanced_ct, mr_series, uid_of, write_file

HU = np.arange(4 * 40 * 36).reshape(4, 40, 36) % 2000 - 1000


@pytest.fixture
def ct(tmp_path):
    return write_file(tmp_path / "ct.dcm", ct_series(HU)[1])


def test_a_record_has_the_identity_and_the_indexed_attributes(ct):
    record = header.record(ct)
    assert record.sop_instance_uid == uid_of("ct", "image", 1)
    assert record.study_uid == uid_of("ct", "study")
    assert record.transfer_syntax_uid == ExplicitVRLittleEndian
    assert record.attributes["ImageType"] == ("ORIGINAL", "PRIMARY", "AXIAL")
    assert record.attributes["Rows"] == ("40",)
    assert record.number("RescaleIntercept") == -1024
    assert record.size_bytes == ct.stat().st_size
    assert "PatientComments" not in record.attributes


def test_an_empty_attribute_has_no_key(tmp_path):
    record = header.record(write_file(tmp_path / "a.dcm", ct_series(HU, PatientAge="", KVP=None)[0]))
    assert "PatientAge" not in record.attributes
    assert "KVP" not in record.attributes


def test_file_meta_does_not_change_any_digest(ct, tmp_path):
    changed = dcmread(ct)
    changed.file_meta.SourceApplicationEntityTitle = "ELSEWHERE"
    changed.save_as(tmp_path / "again.dcm", enforce_file_format=True)
    first, again = header.record(ct), header.record(tmp_path / "again.dcm")
    assert again.source_ae_title == "ELSEWHERE"
    assert (first.content_digest, first.geometry_digest, first.pixel_digest) == \
        (again.content_digest, again.geometry_digest, again.pixel_digest)


def test_corrected_demographics_change_only_the_content_digest(ct, tmp_path):
    again = header.record(write_file(tmp_path / "b.dcm", ct_series(HU, PatientName="Corrected^Name")[1]))
    first = header.record(ct)
    assert again.content_digest != first.content_digest
    assert (again.geometry_digest, again.pixel_digest) == (first.geometry_digest, first.pixel_digest)


def test_one_changed_pixel_changes_the_pixel_digest_but_not_the_geometry(ct, tmp_path):
    changed = HU.copy()
    changed[1, 39, 35] += 1
    again, first = header.record(write_file(tmp_path / "b.dcm", ct_series(changed)[1])), header.record(ct)
    assert again.pixel_digest != first.pixel_digest
    assert again.geometry_digest == first.geometry_digest


@pytest.mark.parametrize("attribute", [
    {"PixelSpacing": [0.5, 0.5]}, {"RescaleIntercept": "0"}, {"FrameOfReferenceUID": "1.2.3"},
    {"ImagePositionPatient": [0, 0, 1]}, {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1]},
])
def test_each_part_of_the_geometry_changes_the_geometry_digest(ct, tmp_path, attribute):
    built = ct_series(HU)[1]
    for keyword, value in attribute.items():
        setattr(built, keyword, value)
    assert header.record(write_file(tmp_path / "b.dcm", built)).geometry_digest != header.record(ct).geometry_digest


def test_a_decimal_string_written_with_other_digits_is_the_same_geometry(ct, tmp_path):
    again = header.record(write_file(tmp_path / "b.dcm", ct_series(HU, PixelSpacing=["1.000", "1.0"])[1]))
    assert again.geometry_digest == header.record(ct).geometry_digest


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_another_native_encoding_has_the_same_pixels(ct, tmp_path, syntax):
    again = header.record(write_file(tmp_path / "b.dcm", ct_series(HU)[1], transfer_syntax=syntax))
    assert again.pixel_digest == header.record(ct).pixel_digest
    assert again.geometry_digest == header.record(ct).geometry_digest


def test_compressed_pixels_are_other_pixels(ct, tmp_path):
    again = header.record(write_file(tmp_path / "b.dcm", ct_series(HU)[1], transfer_syntax=RLELossless))
    assert again.pixel_digest != header.record(ct).pixel_digest


def test_an_enhanced_image_is_indexed_by_its_first_frame(tmp_path):
    path = write_file(tmp_path / "e.dcm", enhanced_ct(HU, affine=affine_lps(spacing_zyx_mm=(3, 0.5, 0.75))))
    record = header.record(path)
    assert record.attributes["PixelSpacing"] == ("0.5", "0.75")
    assert record.attributes["NumberOfFrames"] == ("4",)
    assert record.number("RescaleIntercept") == -1024
    assert len(record.attributes["ImagePositionPatient"]) == 3


def test_the_contrast_agent_of_an_enhanced_image_is_its_codes_meaning(tmp_path):
    agent = dataset(CodeValue="109218007", CodingSchemeDesignator="SCT", CodeMeaning="Iodinated contrast agent")
    given = write_file(tmp_path / "e.dcm", enhanced_ct(HU, ContrastBolusAgentSequence=[agent]))
    assert header.record(given).attributes["ContrastBolusAgent"] == ("Iodinated contrast agent",)
    none = write_file(tmp_path / "n.dcm", enhanced_ct(HU, ContrastBolusAgentSequence=[]))
    assert "ContrastBolusAgent" not in header.record(none).attributes


def test_the_timing_of_an_enhanced_mr_image_is_that_of_its_frames(tmp_path):
    built = enhanced_ct(HU)
    (shared,) = built.SharedFunctionalGroupsSequence
    shared.MRTimingAndRelatedParametersSequence = [dataset(RepetitionTime="9000", FlipAngle="150")]
    shared.MRModifierSequence = [dataset(InversionTimes=[2500.0])]
    shared.MREchoSequence = [dataset(EffectiveEchoTime=120.0)]
    shared.MRDiffusionSequence = [dataset(DiffusionBValue=0.0)]
    found = header.record(write_file(tmp_path / "e.dcm", built))
    keywords = ("RepetitionTime", "FlipAngle", "InversionTime", "EchoTime", "DiffusionBValue")
    assert [found.number(keyword) for keyword in keywords] == [9000, 150, 2500, 120, 0]


def test_a_moved_frame_of_an_enhanced_image_changes_the_geometry_digest(tmp_path):
    built = enhanced_ct(HU)
    first = header.record(write_file(tmp_path / "a.dcm", built))
    built.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 0]
    assert header.record(write_file(tmp_path / "b.dcm", built)).geometry_digest != first.geometry_digest


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"])
@pytest.mark.parametrize("value", [None, "", "../../etc/passwd", "1.2.\u00e9"])
def test_an_instance_without_identity_is_refused_by_name(tmp_path, keyword, value):
    built = ct_series(HU)[0]
    if value is None:
        del built[keyword]
    else:
        built.SpecificCharacterSet = "ISO_IR 100"
        built[keyword].VR = "LO"
        built[keyword].value = value
    with pytest.raises(CannotUnderstand, match=keyword):
        header.record(write_file(tmp_path / "a.dcm", built))


def test_what_is_no_dicom_file_is_refused(tmp_path):
    (tmp_path / "a.dcm").write_bytes(b"hello" * 100)
    with pytest.raises(CannotUnderstand, match="DICM"):
        header.record(tmp_path / "a.dcm")


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "a.dcm").touch()
    with pytest.raises(CannotUnderstand):
        header.record(tmp_path / "a.dcm")


def test_a_header_cut_off_anywhere_is_refused_or_lacks_pixels(ct, tmp_path):
    whole = ct.read_bytes()
    pixel_element = whole.index(b"\xe0\x7f\x10\x00OW")
    for end in range(0, pixel_element, 7):
        (tmp_path / "cut.dcm").write_bytes(whole[:end])
        try:
            record = header.record(tmp_path / "cut.dcm")
        except CannotUnderstand:
            continue
        assert record.pixel_digest != header.record(ct).pixel_digest


def test_a_missing_file_is_the_spools_trouble(tmp_path):
    with pytest.raises(SpoolUnavailable, match=r"gone\.dcm"):
        header.record(tmp_path / "gone.dcm")


def test_a_deflated_bomb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("dicomnode.read.part10.MAX_INFLATED_BYTES", 1000)
    path = write_file(tmp_path / "a.dcm", ct_series(HU)[0], transfer_syntax=DeflatedExplicitVRLittleEndian)
    with pytest.raises(CannotUnderstand, match="larger than 1000 bytes"):
        header.record(path)


def test_own_output_is_known_by_manufacturer_and_model(tmp_path):
    own = mr_series(HU + 1000, Manufacturer="dicomnode", ManufacturerModelName="dicomnode")[0]
    other = mr_series(HU + 1000, Manufacturer="dicomnode", ManufacturerModelName="T")[0]
    assert header.is_own_output(header.record(write_file(tmp_path / "a.dcm", own)))
    assert not header.is_own_output(header.record(write_file(tmp_path / "b.dcm", other)))


def test_the_store_path_is_made_of_uids_alone(ct):
    record = header.record(ct)
    first, second = header.store_path(record), header.store_path(record, 2)
    assert first.endswith(f"/{record.study_uid}/{record.sop_instance_uid}.dcm")
    assert second.endswith(f"/{record.sop_instance_uid}.2.dcm")
    assert len(first.split("/")) == 3
    assert len(first.split("/")[0]) == 2
