"""Findings, volumes, negative and not-analysed reports: what each holds, and which there are."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread

from dicomnode.domain.dicom import (
    BASIC_TEXT_SR_STORAGE,
    COMPREHENSIVE_3D_SR_STORAGE,
    COMPREHENSIVE_SR_STORAGE,
    Code,
)
from dicomnode.domain.findings import Measurement, ModelFindings, NotAnalysed
from dicomnode.encode.codes import SIDES
from dicomnode.encode.seg import encode_seg
from dicomnode.encode.sr import encode_reports
from dicomnode.encode.text import encode_notice
from dicomnode.errors import EncodingError
from tests.builders import ct_series, enhanced_ct
from tests.findings import LEFT_KIDNEY, NODULE, block, findings, lesion, parsed, provenance, stack_of, stamp

SHAPE = (6, 16, 18)
ONE = block(SHAPE, slice(2, 4), slice(5, 8), slice(6, 9))
TWO = block(SHAPE, slice(4, 5), slice(10, 12), slice(3, 5))


def a_mask():
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:5, 2:14, 2:9] = 1
    mask[2:5, 2:14, 10:14] = LEFT_KIDNEY.value
    return mask


def reports_of(series, *found: ModelFindings, with_seg=True, **changes: object):
    own = stamp(*(one.provenance for one in found), **changes)
    sources = {one.stack.series_uid: series for one in found}
    segs = {one.provenance.model_name: encode_seg(one, series, own) for one in found} if with_seg else {}
    return encode_reports(found, sources, own, [seg for seg in segs.values() if seg]), segs


def content(one):
    return sr.Comprehensive3DSR.from_dataset(dcmread(BytesIO(one.payload))).content


def texts(item):
    found = [item.TextValue] if item.ValueType == "TEXT" else []
    return found + [text for child in item.get("ContentSequence", []) for text in texts(child)]


def codes(item):
    found = [(item.ConceptNameCodeSequence[0].CodeMeaning, item.ConceptCodeSequence[0].CodeMeaning)] \
        if item.ValueType == "CODE" else []
    return found + [pair for child in item.get("ContentSequence", []) for pair in codes(child)]


def test_lesions_and_organs_give_findings_and_volumes_each_in_two_forms():
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask(), lesions=[ONE]))
    assert [(one.group, one.kind, one.sop_class_uid) for one in reports] == [
        ("findings", "SR3D", COMPREHENSIVE_3D_SR_STORAGE), ("findings", "SR", COMPREHENSIVE_SR_STORAGE),
        ("volumes", "SR3D", COMPREHENSIVE_3D_SR_STORAGE), ("volumes", "SR", COMPREHENSIVE_SR_STORAGE)]


def test_every_group_of_the_findings_report_has_coordinates_on_the_key_slice():
    series = ct_series(np.zeros(SHAPE))
    found = findings(stack_of(series), a_mask(), lesions=[ONE, TWO])
    reports, _ = reports_of(series, found)
    report = content(reports[0])
    assert report[0].ConceptNameCodeSequence[0].CodeValue == "126000"
    groups = report.get_planar_roi_measurement_groups()
    assert [group.tracking_uid for group in groups] == ["2.25.1001", "2.25.1002"]
    for group, drawn in zip(groups, found.detections, strict=True):
        region = group.roi
        assert region.graphic_type == sr.GraphicTypeValues.POLYLINE
        np.testing.assert_array_equal(region.value[0], region.value[-1])
        top, left, bottom, right = drawn.box_yx
        np.testing.assert_array_equal(region.value.min(axis=0), [left, top])
        np.testing.assert_array_equal(region.value.max(axis=0), [right + 1, bottom + 1])
        assert region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID \
            == series[drawn.key_slice].SOPInstanceUID


def test_a_finding_has_diameter_volume_and_probability_with_units():
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask(), lesions=[ONE]))
    (group,) = content(reports[0]).get_planar_roi_measurement_groups()
    assert [(m.name.value, m.value, m.unit.value) for m in group.get_measurements()] == [
        ("81827009", 6.5, "mm"), ("118565006", 0.25, "cm3"), ("122157", 0.9, "{1}")]
    assert group.finding_type.value == "27925004"
    (site,) = group.finding_sites
    assert (site.value.value, site.laterality.meaning) == ("39607008", "Left")


def test_a_finding_whose_place_contradicts_its_label_has_no_side():
    series = ct_series(np.zeros(SHAPE))
    found = findings(stack_of(series), a_mask(), lesions=[ONE])
    disputed = replace(found.detections[0], side="", label=replace(NODULE, modifier=SIDES["right"]))
    reports, _ = reports_of(series, replace(found, detections=(disputed,)))
    (group,) = content(reports[0]).get_planar_roi_measurement_groups()
    assert group.finding_sites[0].laterality is None


def test_a_finding_without_probability_has_none():
    series = ct_series(np.zeros(SHAPE))
    found = findings(stack_of(series), a_mask(), lesions=[ONE])
    found = replace(found, detections=(replace(found.detections[0], probability=None),))
    reports, _ = reports_of(series, found)
    (group,) = content(reports[0]).get_planar_roi_measurement_groups()
    assert [m.name.value for m in group.get_measurements()] == ["81827009", "118565006"]


def test_a_finding_on_a_multi_frame_image_names_its_frame():
    image = enhanced_ct(np.zeros(SHAPE), order=[5, 4, 3, 2, 1, 0])
    found = findings(stack_of([image]), a_mask(), lesions=[TWO])
    reports, _ = reports_of([image], found)
    (group,) = content(reports[0]).get_planar_roi_measurement_groups()
    source = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
    assert (source.ReferencedSOPInstanceUID, source.ReferencedFrameNumber) == (image.SOPInstanceUID, 2)


def test_volumes_refer_to_the_segments_of_the_seg_and_take_another_title():
    series = ct_series(np.zeros(SHAPE))
    reports, segs = reports_of(series, findings(stack_of(series), a_mask()))
    volumes = content(next(one for one in reports if one.group == "volumes"))
    assert volumes[0].ConceptNameCodeSequence[0].CodeValue == "126001"
    groups = volumes.get_volumetric_roi_measurement_groups()
    numbers = {item.SegmentLabel: item.SegmentNumber for item in parsed(segs["demo_chest"]).SegmentSequence}
    assert {group.tracking_identifier: group.referenced_segment[0].referenced_segment_numbers[0]
            for group in groups} == numbers
    for group in groups:
        assert group.referenced_segment[0].referenced_sop_instance_uid == segs["demo_chest"].sop_instance_uid
        (volume,) = group.get_measurements()
        assert (volume.name.value, volume.unit.value) == ("118565006", "cm3")


def test_a_mean_attenuation_says_that_it_is_a_mean():
    series = ct_series(np.zeros(SHAPE))
    found = findings(stack_of(series), a_mask())
    mean = Measurement(name=Code(value="112031", scheme="DCM", meaning="Attenuation Coefficient"), value=-712.3456789,
                       unit=Code(value="[hnsf'U]", scheme="UCUM", meaning="Hounsfield unit"))
    found = replace(found, organs=(replace(found.organs[0], measurements=(mean,)),))
    reports, _ = reports_of(series, found)
    (group,) = content(reports[0]).get_volumetric_roi_measurement_groups()
    (number,) = group.get_measurements()
    assert (number.value, number.unit.value, number.derivation.meaning) == (-712.346, "[hnsf'U]", "Mean")


def test_volumes_without_a_seg_are_groups_without_regions():
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask()), with_seg=False)
    groups = content(next(one for one in reports if one.group == "volumes")).get_image_measurement_groups()
    assert {group.tracking_identifier for group in groups} == {"Lung", "Left kidney"}


def test_evidence_holds_every_instance_that_the_content_refers_to():
    series = ct_series(np.zeros(SHAPE))
    reports, segs = reports_of(series, findings(stack_of(series), a_mask(), lesions=[ONE, TWO]))
    for one in reports:
        result = parsed(one)
        evidence = {item.ReferencedSOPInstanceUID for study in result.CurrentRequestedProcedureEvidenceSequence
                    for part in study.ReferencedSeriesSequence for item in part.ReferencedSOPSequence}
        referenced: set[str] = set()
        for top in result.ContentSequence:
            top.walk(lambda _ds, element, into=referenced: into.add(str(element.value))
                     if element.keyword == "ReferencedSOPInstanceUID" else None)
        assert referenced <= evidence
        assert evidence <= {image.SOPInstanceUID for image in series} | {segs["demo_chest"].sop_instance_uid}


def test_the_model_files_procedure_and_site_stand_where_nothing_nearer_is_known():
    series = ct_series(np.zeros(SHAPE))
    procedure = Code(value="44136-0", scheme="LN", meaning="PET unspecified body region")
    chest = Code(value="51185008", scheme="SCT", meaning="Chest")
    found = findings(stack_of(series), a_mask(), lesions=[ONE, TWO], procedure=procedure, finding_site=chest)
    nowhere = replace(NODULE, region=None)
    found = replace(found, detections=(replace(found.detections[0], label=nowhere), found.detections[1]))
    (report, *_), _ = reports_of(series, found)
    pairs = codes(parsed(report))
    assert ("Procedure reported", "PET unspecified body region") in pairs
    assert [value for name, value in pairs if name == "Finding Site"] == ["Chest", "Lung"]
    other = replace(found, provenance=provenance("other"), procedure=None)
    (report, *_), _ = reports_of(series, found, other)
    assert ("Procedure reported", "CT unspecified body region") in codes(parsed(report)), "the models disagree"


def test_two_models_share_one_findings_report():
    series = ct_series(np.zeros(SHAPE))
    found = [findings(stack_of(series), a_mask(), lesions=[one], model=provenance(name),
                      detections=(replace(lesion(one), tracking_uid=f"2.25.{number}"),))
             for number, (name, one) in enumerate((("first", ONE), ("second", TWO)), start=1)]
    reports, _ = reports_of(series, *found)
    report = next(one for one in reports if one.group == "findings")
    assert len(content(report).get_planar_roi_measurement_groups()) == 2
    assert "first, second" in parsed(report).SeriesDescription


def test_the_procedure_reported_is_of_cid_100_and_the_observer_a_device():
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask()))
    pairs = codes(parsed(reports[0]))
    assert ("Procedure reported", "CT unspecified body region") in pairs
    assert ("Observer Type", "Device") in pairs


@pytest.mark.parametrize(("language", "code", "words", "called"), [
    ("en", "en-US", "looked for Nodule and found none", ("Nodule", "Absent")),
    ("zh-CN", "zh-CN", "已查找肺结节（Nodule），未发现", ("结节", "无")),
])
def test_what_was_looked_for_and_not_found_is_said_in_words_and_codes(language, code, words, called):
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask()), language=language)
    negative = [one for one in reports if one.group == "negative"]
    assert [one.sop_class_uid for one in negative] == [BASIC_TEXT_SR_STORAGE, COMPREHENSIVE_SR_STORAGE]
    for one in negative:
        result = parsed(one)
        assert result.ConceptNameCodeSequence[0].CodeValue == "18748-4"
        assert result.ContentSequence[0].ConceptCodeSequence[0].CodeValue == code
        assert ("Finding", called[0]) in codes(result)
        assert ("Presence of property", called[1]) in codes(result)
        assert any(words in text for text in texts(result))
        assert any(stack_of(series).series_uid in text for text in texts(result))


def test_no_item_of_a_negative_report_shows_the_finding_as_if_it_were_there():
    """Viewers show a code's value without its modifiers: "Nodule" alone would read as a nodule."""
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask()))
    result = parsed(next(one for one in reports if one.kind == "TEXT"))
    (found,) = [item for item in result.ContentSequence
                if item.ConceptNameCodeSequence[0].CodeMeaning == "Findings"]
    values = [item.ConceptCodeSequence[0].CodeMeaning for item in found.ContentSequence if item.ValueType == "CODE"]
    assert values == ["Absent"]


def test_nothing_at_all_gives_a_negative_report_and_no_measurements():
    series = ct_series(np.zeros(SHAPE))
    found = findings(stack_of(series), np.zeros(SHAPE, np.uint8), looked_for=())
    reports, segs = reports_of(series, found)
    assert segs == {"demo_chest": None}
    assert {one.group for one in reports} == {"negative"}
    assert any("marked nothing" in text for text in texts(parsed(reports[0])))


def test_found_everything_means_no_negative_report():
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask(), lesions=[ONE]))
    assert "negative" not in {one.group for one in reports}


def test_warnings_reach_the_reader_of_every_report():
    series = ct_series(np.zeros(SHAPE))
    reports, _ = reports_of(series, findings(stack_of(series), a_mask(), warnings=("uneven spacing",)))
    assert all(any("uneven spacing" in text for text in texts(parsed(one))) for one in reports)


@pytest.mark.parametrize(("language", "words"), [("en", "NOT ANALYSED"), ("zh", "未分析")])
def test_a_notice_says_that_nothing_was_analysed_and_why(language, words):
    series = ct_series(np.zeros(SHAPE), ImagePositionPatient=None, ImageOrientationPatient=None)
    reason = NotAnalysed(reason="MissingGeometry", text="no position in 6 of 6 images",
                         study_uid=series[0].StudyInstanceUID)
    notice = encode_notice(reason, series, stamp(language=language))
    assert (notice.kind, notice.group, notice.sop_class_uid) == ("TEXT", "notice", BASIC_TEXT_SR_STORAGE)
    said = texts(parsed(notice))
    assert any(words in text for text in said)
    assert any("MissingGeometry" in text and "no position in 6 of 6 images" in text for text in said)
    coded = [(item.ConceptNameCodeSequence[0].CodeValue, item.ConceptCodeSequence[0].CodeValue)
             for part in parsed(notice).ContentSequence for item in part.get("ContentSequence", [])
             if item.ValueType == "CODE"]
    assert coded == [("NOTANALYSED", "GEOMETRY"), ("STDREASON", "110521")]
    assert parsed(notice).CodingSchemeIdentificationSequence[0].CodingSchemeDesignator == "99DICOMNODE"
    evidence = parsed(notice).CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
    assert len(evidence.ReferencedSOPSequence) == len(series)


def test_a_notice_without_any_header_is_refused():
    reason = NotAnalysed(reason="MissingSlices", text="gap", study_uid="1.2.3")
    with pytest.raises(EncodingError, match=r"study 1\.2\.3: no header"):
        encode_notice(reason, (), stamp())


def test_sources_of_another_series_are_an_encoding_error():
    series = ct_series(np.zeros(SHAPE))
    found = findings(stack_of(series), a_mask(), lesions=[ONE])
    with pytest.raises(EncodingError, match="6 of 6 planes have no header"):
        encode_reports([found], {}, stamp(), [])


def box_only(found: ModelFindings, inside, *, uid: str, number: int = 1) -> ModelFindings:
    """Return a detector's findings on the same stack: a box and a probability, no mask."""
    drawn = replace(lesion(inside, number), tracking_uid=uid, volume_ml=None, probability=0.75)
    return ModelFindings(provenance=provenance("detector"), stack=found.stack, looked_for=found.looked_for,
                         detections=(drawn,))


def test_a_box_without_a_mask_is_a_group_with_diameter_and_probability_and_no_volume():
    series = ct_series(np.zeros(SHAPE))
    alone = box_only(findings(stack_of(series), a_mask()), ONE, uid="2.25.77")
    reports, segs = reports_of(series, alone)
    assert segs == {"detector": None}
    assert {one.group for one in reports} == {"findings"}
    (group,) = content(reports[0]).get_planar_roi_measurement_groups()
    assert [one.name.meaning for one in group.get_measurements()] == ["Diameter", "Probability"]
    assert group.roi.graphic_type == sr.GraphicTypeValues.POLYLINE


def test_what_two_models_found_is_one_group_with_the_segments_tracking_uid_and_the_detectors_probability():
    series = ct_series(np.zeros(SHAPE))
    first = findings(stack_of(series), a_mask(), lesions=[ONE])
    shared = first.detections[0]
    first = replace(first, detections=(
        replace(shared, probability=0.75, probability_by=provenance("detector")),))
    reports, segs = reports_of(series, first, box_only(first, ONE, uid=shared.tracking_uid))
    (group,) = content(reports[0]).get_planar_roi_measurement_groups()
    assert group.tracking_uid == shared.tracking_uid
    assert [one.TrackingUID for one in parsed(segs["demo_chest"]).SegmentSequence if "TrackingUID" in one] \
        == [shared.tracking_uid]
    probability = next(one for one in group.get_measurements() if one.name.meaning == "Probability")
    assert probability.value == 0.75
    assert "detector" in texts(probability[0])
    assert "negative" not in {one.group for one in reports}


def test_the_negative_report_comes_only_where_no_model_found_any():
    series = ct_series(np.zeros(SHAPE))
    nothing = findings(stack_of(series), a_mask())
    found = box_only(nothing, ONE, uid="2.25.77")
    assert "negative" not in {one.group for one in reports_of(series, nothing, found)[0]}
    missed = replace(found, detections=())
    negative = next(one for one in reports_of(series, nothing, missed)[0] if one.group == "negative")
    said = " ".join(text for item in parsed(negative).ContentSequence for text in texts(item))
    assert "demo_chest 1.2 looked for Nodule and found none." in said
    assert "detector 1.2 looked for Nodule and found none." in said
    assert "marked nothing" not in said


def test_what_was_found_in_one_region_or_side_hides_no_absence_in_another():
    series = ct_series(np.zeros(SHAPE))
    nothing = findings(stack_of(series), a_mask())
    found = box_only(nothing, ONE, uid="2.25.77")
    brain = replace(NODULE, name="Brain nodule", region=Code(value="12738006", scheme="SCT", meaning="Brain"))
    left, right = (replace(NODULE, name=f"{side} nodule", modifier=SIDES[side.lower()]) for side in ("Left", "Right"))
    for looked, seen, missed in (((brain,), NODULE, "Brain nodule"), ((left, right), left, "Right nodule")):
        drawn = replace(found, looked_for=(), detections=tuple(replace(one, label=seen) for one in found.detections))
        searching = replace(nothing, looked_for=looked)
        negative = [one for one in reports_of(series, searching, drawn)[0] if one.group == "negative"]
        said = " ".join(text for item in parsed(negative[0]).ContentSequence for text in texts(item))
        assert f"looked for {missed} and found none." in said
        assert said.count("found none") == 1


def test_a_structure_around_a_finding_says_where_it_lies():
    series = ct_series(np.zeros(SHAPE))
    lobe = Code(value="44714003", scheme="SCT", meaning="Upper lobe of left lung")
    found = findings(stack_of(series), a_mask(), lesions=[ONE])
    placed = replace(found, detections=(replace(found.detections[0], site=lobe, side="left"),))
    (report, *_), _ = reports_of(series, placed)
    assert ("Finding Site", "Upper lobe of left lung") in codes(parsed(report))
    assert ("Laterality", "Left") in codes(parsed(report))
