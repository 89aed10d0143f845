"""Every object of every case by our own rules, and the same bytes when it is made again."""

from functools import cache

import pytest
from pydicom import dcmread

from dicomnode.domain.findings import NotAnalysed
from dicomnode.domain.node import TAKES
from dicomnode.encode.reasons import REASONS
from dicomnode.encode.text import encode_notice
from tests.conformance.cases import CASES, encoded
from tests.conformance.sources import SERIES
from tests.findings import parsed, stamp
from tests.object_rules import broken_rules


@cache
def read(path):
    return dcmread(path)


@pytest.mark.parametrize("case", CASES)
def test_our_own_rules_hold(case, result_of):
    result = result_of(case)
    assert broken_rules([read(path) for path in result.paths], [read(path) for path in result.sources]) == []


@pytest.mark.parametrize("case", ["axial CT", "three models on two series", "superseding results", "classification"])
def test_the_same_findings_give_the_same_bytes(case, result_of, tmp_path):
    again = encoded(CASES[case], tmp_path)
    assert [one.payload for one in again.objects] == [one.payload for one in result_of(case).objects]


def test_results_of_another_job_share_no_uid(result_of):
    first, later = ({uid for one in result_of(case).objects for uid in (one.sop_instance_uid, one.series_uid)}
                    for case in ("axial CT", "superseding results"))
    assert first
    assert not first & later


def test_the_matrix_makes_every_kind_of_object(result_of):
    assert {one.kind for case in CASES for one in result_of(case).objects} == set(TAKES)


@pytest.mark.parametrize("language", ["en", "zh-CN"])
def test_the_notice_for_every_reason_keeps_the_rules(language):
    sources = SERIES["name in GB18030"]("notice")
    for reason in REASONS:
        told = NotAnalysed(reason=reason, text="what was met and allowed", study_uid=sources[0].StudyInstanceUID)
        made = parsed(encode_notice(told, sources, stamp(job_key=reason, language=language, provenance=())))
        assert broken_rules([made], sources) == [], reason
