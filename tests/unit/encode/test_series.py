"""What every result copies, states and is called; the same input gives the same bytes."""

import warnings
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from dicomnode.domain.dicom import COMPREHENSIVE_3D_SR_STORAGE, IMPLEMENTATION_CLASS_UID, MANUFACTURER, MODEL_NAME
from dicomnode.domain.findings import NotAnalysed
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.series import SERIES_PER_REVISION, Stamp
from dicomnode.encode.sr import encode_reports
from dicomnode.encode.text import encode_notice
from dicomnode.errors import EncodingError
from tests.builders import ct_series, dataset
from tests.findings import CONTENT_TIME, NODE_ID, block, findings, parsed, provenance, stack_of, stamp

SHAPE = (6, 16, 16)


def a_series(**attributes: object):
    return ct_series(np.zeros(SHAPE), **attributes)


def some_findings(series, **changes: object):
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 2:14, 2:14] = 1
    return findings(stack_of(series), mask, lesions=[block(SHAPE, slice(2, 4), slice(5, 8), slice(6, 9))], **changes)


def every_object(series, marked=None, **changes: object):
    """A SEG, both reports in both forms, the negative report in both forms and the notice."""
    found, own = some_findings(series), marked or stamp(**changes)
    uid = found.stack.series_uid
    seg = encode_seg(found, series, own)
    reports = encode_reports([found], {uid: series}, own, [seg])
    silent = replace(found, detections=(), lesion_zyx=None, organs=())
    negative = encode_reports([silent], {uid: series}, own, [])
    reason = NotAnalysed(reason="MissingSlices", text="gap of 7 mm", study_uid=found.stack.study_uid)
    return [seg, *reports, *negative, encode_notice(reason, series, own)]


def test_the_same_findings_and_stamp_give_the_same_bytes():
    first, again = every_object(a_series()), every_object(a_series())
    assert [one.payload for one in first] == [one.payload for one in again]


def test_sources_are_not_changed_by_encoding():
    series = a_series()
    before = [one.to_json() for one in series]
    every_object(series)
    assert [one.to_json() for one in series] == before


def test_every_object_has_an_instance_and_a_series_of_its_own():
    objects = every_object(a_series())
    assert len({one.sop_instance_uid for one in objects}) == len(objects) == 8
    assert len({one.series_uid for one in objects}) == len(objects)


def test_another_job_key_gives_other_uids_throughout():
    def uids(objects):
        found = set()
        for one in objects:
            parsed(one).walk(lambda _ds, e: found.add(str(e.value)) if e.VR == "UI" else None)
        return {uid for uid in found if uid.startswith("2.25.")}

    series = a_series()
    theirs = {str(e.value) for one in series for e in one if e.VR == "UI"} | {
        IMPLEMENTATION_CLASS_UID, "2.25.4711", "2.25.1001", stamp().provenance[0].device_uid}
    shared = (uids(every_object(series)) & uids(every_object(series, job_key="another"))) - theirs
    assert len(shared) == 1  # the node as device observer


def test_patient_and_study_are_those_of_the_source():
    series = a_series(PatientName="Wang^XiaoDong", IssuerOfPatientID="HOSPITAL", PatientAge="061Y",
                      StudyDescription="Chest without contrast", PatientWeight="70", OtherPatientIDs=None)
    for one in every_object(series):
        result = parsed(one)
        for keyword in ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge",
                        "PatientWeight", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyDescription", "StudyID",
                        "AccessionNumber", "ReferringPhysicianName"):
            assert result[keyword].value == series[0][keyword].value, (one.kind, keyword)


@pytest.mark.parametrize("charset", ["GB18030", "ISO_IR 192", "GBK"])
def test_a_chinese_name_and_a_chinese_procedure_survive(charset):
    from io import BytesIO

    from pydicom import dcmread, dcmwrite

    procedure = dataset(CodeValue="CT01", CodingSchemeDesignator="99LOCAL", CodeMeaning="胸部平扫")
    series = a_series(SpecificCharacterSet=charset, PatientName="Wang^XiaoDong=王^小东", StudyDescription="胸部CT平扫",
                      InstitutionName="第一人民医院", ProcedureCodeSequence=[procedure])
    read = []
    for one in series:
        buffer = BytesIO()
        dcmwrite(buffer, one, implicit_vr=False, little_endian=True)
        read.append(dcmread(BytesIO(buffer.getvalue()), force=True))
    for one in every_object(read):
        result = parsed(one)
        assert result.SpecificCharacterSet == "ISO_IR 192"
        assert str(result.PatientName) == "Wang^XiaoDong=王^小东"
        assert result.StudyDescription == "胸部CT平扫"
        assert result.InstitutionName == "第一人民医院"
        assert result.ProcedureCodeSequence[0].CodeMeaning == "胸部平扫"
        assert "王^小东".encode() in one.payload


def test_a_source_without_type_2_attributes_gives_empty_ones():
    absent = dict.fromkeys(("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID",
                            "StudyDate", "StudyTime", "ReferringPhysicianName", "PositionReferenceIndicator"))
    for one in every_object(a_series(**absent)):
        result = parsed(one)
        assert result.PatientID == ""
        assert result.StudyDate == ""


def test_every_object_says_what_made_it_and_that_nobody_verified_it():
    for one in every_object(a_series()):
        result = parsed(one)
        assert (result.Manufacturer, result.ManufacturerModelName) == (MANUFACTURER, MODEL_NAME)
        assert result.ContentQualification == "RESEARCH"
        assert result.SeriesDescription.startswith("AI ")
        assert result.SeriesDescription.endswith(" - NOT VERIFIED")
        assert result.file_meta.ImplementationClassUID == IMPLEMENTATION_CLASS_UID
        models = [item for item in result.ContributingEquipmentSequence if "DeviceUID" in item]
        assert [(m.ManufacturerModelName, m.SoftwareVersions, m.DeviceUID) for m in models] == [
            ("demo_chest", "1.2", "2.25.4711")]
        if one.kind != "SEG":
            assert (result.CompletionFlag, result.VerificationFlag, result.PreliminaryFlag) == (
                "COMPLETE", "UNVERIFIED", "PRELIMINARY")


def test_a_cleared_model_is_not_called_research():
    cleared = provenance(research=False)
    found = some_findings(series := a_series(), model=cleared)
    assert parsed(encode_seg(found, series, stamp(cleared))).ContentQualification == "PRODUCT"


def test_a_long_model_name_is_cut_but_the_warning_never():
    model = provenance("a_model_with_a_name_as_long_as_its_authors_were_proud_of_it_all")
    found = some_findings(series := a_series(), model=model)
    text = parsed(encode_seg(found, series, stamp(model, supersedes=True))).SeriesDescription
    assert len(text) <= 64
    assert text.endswith(" - NOT VERIFIED (supersedes earlier)")


def test_times_are_in_the_zone_that_the_source_states():
    result = parsed(encode_seg(some_findings(series := a_series(TimezoneOffsetFromUTC="+0800")), series, stamp()))
    assert result.TimezoneOffsetFromUTC == "+0800"
    assert (result.ContentDate, result.ContentTime, result.SeriesTime) == ("20260301", "163015", "163015")


def test_times_are_in_the_local_zone_where_the_source_states_none():
    zone = timezone(timedelta(hours=-9, minutes=-30))
    result = parsed(encode_seg(some_findings(series := a_series()), series, stamp(local_zone=zone)))
    assert result.TimezoneOffsetFromUTC == "-0930"
    assert (result.ContentDate, result.ContentTime) == ("20260228", "230015")


def test_results_that_supersede_say_so_and_have_higher_series_numbers():
    series = a_series()
    earlier = f"{COMPREHENSIVE_3D_SR_STORAGE}:2.25.99"
    first, second = every_object(series), every_object(series, predecessors=(earlier,))
    for before, after in zip(map(parsed, first), map(parsed, second), strict=True):
        assert after.SeriesNumber > before.SeriesNumber
        assert after.SeriesDescription.endswith("(supersedes earlier)")
        if after.Modality == "SR":
            named = after.PredecessorDocumentsSequence[0]
            assert named.StudyInstanceUID == after.StudyInstanceUID
            reference = named.ReferencedSeriesSequence[0]
            assert reference.SeriesInstanceUID == stamp().series_of("2.25.99")
            assert reference.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == "2.25.99"


def test_the_series_of_a_predecessor_is_found_from_its_instance_alone():
    for one in every_object(a_series()):
        assert one.series_uid == stamp(job_key="another job").series_of(one.sop_instance_uid)


def test_a_later_set_of_results_has_higher_series_numbers_than_an_earlier_one():
    earlier = stamp(supersedes=True)
    for wait in (timedelta(seconds=20), timedelta(minutes=1)):
        later = replace(earlier, content_time=CONTENT_TIME + wait)
        assert later.series_number(0) > earlier.series_number(SERIES_PER_REVISION - 1)
    at_once = replace(earlier, order=earlier.order + 1)
    assert at_once.series_number(0) > earlier.series_number(SERIES_PER_REVISION - 1)
    last = replace(earlier, content_time=CONTENT_TIME.replace(year=2046), order=10_000_000)
    assert last.series_number(SERIES_PER_REVISION - 1) < 1 << 31


def test_a_missing_header_is_an_encoding_error_that_names_the_image():
    series = a_series()
    found = some_findings(series)
    with pytest.raises(EncodingError, match=series[3].SOPInstanceUID):
        encode_seg(found, [*series[:3], *series[4:]], stamp())


def test_a_foreign_exception_ends_as_an_encoding_error_without_patient_data():
    series = a_series(PatientSex="SECRET")
    with pytest.raises(EncodingError, match=r"the segmentation for series 2\.25") as caught:
        encode_seg(some_findings(series), series, stamp())
    assert "SECRET" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("wrong", [
    {"language": "fr"}, {"predecessors": ("not a uid",)}, {"content_time": datetime(2026, 1, 1)},  # noqa: DTZ001
])
def test_a_stamp_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"allowed"):
        Stamp(**{"node_id": NODE_ID, "job_key": "k", "content_time": datetime(2026, 1, 1, tzinfo=UTC), **wrong})


def test_two_models_number_their_segs_apart():
    models = provenance("first"), provenance("second")
    series = a_series()
    numbers = [parsed(encode_seg(some_findings(series, model=one), series, stamp(*models))).SeriesNumber
               for one in models]
    assert numbers[1] == numbers[0] + 1


@pytest.mark.parametrize(("method", "written"), [("", "Not stated by the source"), ("Site rule 7", "Site rule 7")])
def test_a_method_of_deidentification_that_the_source_does_not_state_is_stated_as_such(method, written):
    for one in every_object(a_series(PatientIdentityRemoved="YES", DeidentificationMethod=method)):
        assert parsed(one).DeidentificationMethod == written


def test_a_name_that_was_already_decoded_is_not_decoded_again():
    name = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    for one in every_object(a_series(SpecificCharacterSet="ISO_IR 192", PatientName=name)):
        assert str(parsed(one).PatientName) == name


def test_no_library_tells_the_patients_name_to_log_or_warnings(caplog, recwarn):
    caplog.set_level("DEBUG")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        series = a_series(PatientName="SECRETNAME", PatientID="SECRETID" * 9, PatientAge="0Y")
    objects = every_object(series)
    assert str(parsed(objects[0]).PatientName) == "SECRETNAME"
    assert "SECRET" not in caplog.text
    assert not [one for one in recwarn if "SECRET" in str(one.message)]
