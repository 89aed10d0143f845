"""The classification report: what is there in codes and in words, and what must not look like a finding."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from highdicom import sr
from pydicom import dcmread

from dicomnode.domain.dicom import BASIC_TEXT_SR_STORAGE, COMPREHENSIVE_3D_SR_STORAGE, COMPREHENSIVE_SR_STORAGE, Code
from dicomnode.domain.findings import Classification, ModelFindings, Presence
from dicomnode.domain.settings import ClassLabel
from dicomnode.domain.volume import Volume
from dicomnode.encode.capture import _tables, encode_capture
from dicomnode.encode.picture import tiles_of
from dicomnode.encode.sr import encode_reports
from tests.builders import ct_series
from tests.findings import parsed, provenance, stack_of, stamp

SERIES = ct_series(np.zeros((6, 16, 18)))
EFFUSION = ClassLabel(value=1, name="Pleural effusion",
                      code=Code(value="60046008", scheme="SCT", meaning="Pleural effusion"))
PNEUMOTHORAX = ClassLabel(value=2, name="Pneumothorax",
                          code=Code(value="36118008", scheme="SCT", meaning="Pneumothorax"))


def found_of(*presences: Presence):
    return ModelFindings(
        provenance=provenance("chest_classes"), stack=stack_of(SERIES),
        classifications=tuple(Classification(of=of, probability=probability, presence=presence)
                              for of, probability, presence in zip(
                                  (EFFUSION, PNEUMOTHORAX), (0.8123456, 0.05), presences, strict=True)))


def reports_of(*presences: Presence, language: str = "en"):
    found = found_of(*presences)
    own = stamp(found.provenance, language=language)
    return encode_reports([found], {found.stack.series_uid: SERIES}, own, [])


def items(node):
    return [node, *(one for child in node.get("ContentSequence", []) for one in items(child))]


def meaning(item, keyword):
    return item[keyword][0].CodeMeaning if keyword in item else ""


def test_a_classification_is_one_report_in_three_forms_and_no_negative_report():
    reports = reports_of(Presence.PRESENT, Presence.ABSENT)
    assert [(one.kind, one.group, one.sop_class_uid) for one in reports] == [
        ("SR3D", "classification", COMPREHENSIVE_3D_SR_STORAGE), ("SR", "classification", COMPREHENSIVE_SR_STORAGE),
        ("TEXT", "classification", BASIC_TEXT_SR_STORAGE)]
    assert "AI classification chest_classes" in parsed(reports[0]).SeriesDescription


def test_each_class_is_a_group_with_its_probability_its_presence_and_the_model():
    document = sr.Comprehensive3DSR.from_dataset(
        dcmread(BytesIO(reports_of(Presence.PRESENT, Presence.ABSENT)[0].payload)))
    present, absent = document.content.get_image_measurement_groups()
    assert (present.tracking_identifier, absent.tracking_identifier) == (
        "Pleural effusion: present", "Pneumothorax: absent")
    assert present.finding_type.meaning == "Pleural effusion"
    assert [one.get_measurements()[0].value for one in (present, absent)] == [0.812346, 0.05]
    assert [one.get_measurements()[0].unit.value for one in (present, absent)] == ["{1}", "{1}"]
    said = [{item.name.meaning: item.value.meaning for item in one.get_qualitative_evaluations()}
            for one in (present, absent)]
    assert [one["Presence of property"] for one in said] == ["Present", "Absent"]
    assert all(any(meaning(item, "ConceptNameCodeSequence") == "Algorithm Name" and item.TextValue == "chest_classes"
                   for item in items(group[0])) for group in (present, absent))


@pytest.mark.parametrize("presence", [Presence.ABSENT, Presence.UNDETERMINED])
def test_what_is_not_present_never_stands_as_a_finding_of_its_own(presence):
    report = parsed(reports_of(presence, presence)[0])
    for item in items(report):
        if meaning(item, "ConceptNameCodeSequence") == "Finding":
            assert item.RelationshipType == "HAS CONCEPT MOD"
        if meaning(item, "ConceptNameCodeSequence") == "Presence of property":
            assert meaning(item, "ConceptCodeSequence") == presence.value.capitalize()


@pytest.mark.parametrize(("language", "words"), [
    ("en", ["chest_classes 1.2: Pleural effusion (probability 0.812).",
            "looked for Pneumothorax and does not report it (probability 0.05)"]),
    ("zh-CN", ["胸腔积液（Pleural effusion），概率 0.812", "气胸（Pneumothorax），未报告，概率 0.05"]),
])
def test_the_words_say_what_the_codes_say(language, words):
    text = "\n".join(item.get("TextValue", "") for item in
                     items(parsed(reports_of(Presence.PRESENT, Presence.ABSENT, language=language)[2])))
    assert all(one in text for one in words)
    assert ("Research use only" in text) or ("仅供研究" in text)


def test_the_report_names_every_image_that_was_classified():
    report = parsed(reports_of(Presence.PRESENT, Presence.ABSENT)[0])
    named = [one.ReferencedSOPInstanceUID for study in report.CurrentRequestedProcedureEvidenceSequence
             for series in study.ReferencedSeriesSequence for one in series.ReferencedSOPSequence]
    assert sorted(named) == sorted(one.SOPInstanceUID for one in SERIES)


def test_the_same_findings_give_the_same_bytes():
    first, again = (reports_of(Presence.PRESENT, Presence.ABSENT) for _ in range(2))
    assert [one.payload for one in first] == [one.payload for one in again]


@pytest.mark.parametrize(("presences", "finding", "said"), [
    ((Presence.PRESENT, Presence.ABSENT), True, False), ((Presence.PRESENT, Presence.ABSENT), False, True),
    ((Presence.ABSENT, Presence.ABSENT), True, True), ((Presence.UNDETERMINED, Presence.UNDETERMINED), True, False),
])
def test_where_no_finding_is_present_the_report_says_that_this_is_no_proof(presences, finding, said):
    found = found_of(*presences)
    first, second = found.classifications
    found = replace(found, classifications=(replace(first, of=replace(first.of, finding=finding)), second))
    reports = encode_reports([found], {found.stack.series_uid: SERIES}, stamp(found.provenance), [])
    text = "\n".join(item.get("TextValue", "") for item in items(parsed(reports[2])))
    assert ("does not prove that nothing is there" in text) is said


def test_a_picture_shows_the_middle_slice_and_names_every_class():
    stack = stack_of(SERIES)
    volume = Volume(values_zyx=np.zeros(stack.shape_zyx, np.int16), stack=stack, modality="CT")
    found = found_of(Presence.PRESENT, Presence.ABSENT)
    capture = encode_capture([found], {stack.series_uid: volume}, {stack.series_uid: SERIES}, stamp(found.provenance))
    assert capture.kind == "SC"
    assert [tile.index for tile in tiles_of(found, volume)] == [3]
    (table,) = _tables([found], {})
    assert [cells for _colour, cells in table.rows] == [
        ("Pleural effusion", "present", "0.81"), ("Pneumothorax", "absent", "0.05")]
