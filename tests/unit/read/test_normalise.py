from __future__ import annotations

import highdicom as hd
import numpy as np
import pytest
from pydicom.sr.codedict import codes

from dicomnode.domain.model import InputRole
from dicomnode.read.normalise import date_text, time_text
from dicomnode.read.series import load
from tests.builders import ct_series, write_series

HU = np.zeros((3, 16, 16))
MASK = np.ones((3, 16, 16), np.uint8)
CT = InputRole(role="ct")
TYPE_2 = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
          "StudyTime", "ReferringPhysicianName")


def segmentation(sources):
    described = hd.seg.SegmentDescription(1, "x", codes.SCT.Organ, codes.SCT.Liver, "MANUAL")
    return hd.seg.Segmentation(
        list(sources), MASK, "BINARY", [described], hd.UID(), 1, hd.UID(), 1, "maker", "model", "1", "2")


@pytest.mark.parametrize("keyword", TYPE_2)
def test_an_absent_type_2_attribute_becomes_empty_and_is_noted(tmp_path, keyword):
    loaded = load(write_series(tmp_path, ct_series(HU, **{keyword: None})), CT)
    assert loaded.notes == (f"{keyword} is absent: left empty (3 images)",)
    assert not segmentation(loaded.sources).get(keyword)


@pytest.mark.filterwarnings("ignore:Invalid value for VR")
@pytest.mark.parametrize(("keyword", "value"), [
    ("PatientSex", "U"), ("PatientBirthDate", "1960"), ("PatientBirthDate", "19601301"), ("StudyDate", "2020"),
    ("StudyTime", "25"), ("PatientAge", "55"),
])
def test_a_value_that_cannot_be_is_emptied_and_the_note_does_not_repeat_it(tmp_path, keyword, value):
    loaded = load(write_series(tmp_path, ct_series(HU, **{keyword: value})), CT)
    assert loaded.notes == (f"{keyword} holds no valid value: left empty (3 images)",)
    assert not segmentation(loaded.sources).get(keyword)


@pytest.mark.filterwarnings("ignore:The string")
@pytest.mark.parametrize("keyword", ["PatientName", "PatientID", "AccessionNumber", "StudyDescription"])
def test_of_two_values_where_one_is_allowed_the_first_is_kept(tmp_path, keyword):
    loaded = load(write_series(tmp_path, ct_series(HU, **{keyword: ["A", "B"]})), CT)
    assert loaded.notes == (f"{keyword} has 2 values where one is allowed: the first is kept (3 images)",)
    assert str(segmentation(loaded.sources)[keyword].value) == "A"


@pytest.mark.filterwarnings("ignore:The value length")
@pytest.mark.parametrize(("keyword", "most", "kept"), [
    ("StudyDescription", 64, "A" * 64), ("BodyPartExamined", 16, "A" * 16), ("InstitutionName", 64, "A" * 64),
    ("AccessionNumber", 16, "A" * 70), ("PatientID", 64, "A" * 70),
])
def test_a_value_longer_than_its_vr_is_cut_unless_archives_file_studies_by_it(tmp_path, keyword, most, kept):
    loaded = load(write_series(tmp_path, ct_series(HU, **{keyword: "A" * 70})), CT)
    done = "cut" if len(kept) == most else "kept, archives file studies by it"
    assert loaded.notes == (f"{keyword} has 70 characters where {most} are allowed: {done} (3 images)",)
    assert loaded.sources[0][keyword].value == kept


def test_the_characters_of_a_value_are_counted_and_not_its_bytes(tmp_path):
    text = "胸部" * 32
    loaded = load(write_series(tmp_path, ct_series(HU, SpecificCharacterSet="ISO_IR 192", StudyDescription=text)), CT)
    assert loaded.notes == ()
    assert loaded.sources[0].StudyDescription == text


def test_an_absent_slice_thickness_is_the_distance_between_slices(tmp_path):
    loaded = load(write_series(tmp_path, ct_series(HU, SliceThickness=None)), CT)
    assert loaded.sources[0].SliceThickness == 2
    measures = segmentation(loaded.sources).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert measures.SliceThickness == 2


def test_an_unspoilt_header_is_not_changed(tmp_path):
    built = ct_series(HU)
    loaded = load(write_series(tmp_path, built), CT)
    assert loaded.notes == ()
    for keyword in (*TYPE_2, "StudyDescription", "PatientAge", "ImagePositionPatient"):
        assert loaded.sources[0][keyword].value == built[0][keyword].value


@pytest.mark.parametrize(("text", "right"), [
    ("20250314", "20250314"), ("2025.03.14", "20250314"), ("", ""), ("20250230", None), ("1960", None), ("x", None),
])
def test_dates_are_of_the_calendar(text, right):
    assert date_text(text) == right


@pytest.mark.parametrize(("text", "right"), [
    ("101112", "101112"), ("10", "10"), ("1011", "1011"), ("101112.123456", "101112.123456"), ("10:11:12", "101112"),
    ("", ""), ("25", None), ("1061", None), ("1011.5", None), ("9", None),
])
def test_times_are_of_the_day(text, right):
    assert time_text(text) == right
