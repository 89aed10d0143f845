"""Every object of every case, as dciodvfy, dcentvfy, dsrdump and PixelMed see it."""

from functools import cache

import pytest

from tests.conformance.cases import CASES
from tests.conformance.false_alarms import FALSE_ALARMS, faults
from tests.conformance.judges import dcentvfy, dciodvfy, distinct, dsrdump, pixelmed, reports


@pytest.fixture(scope="session")
def remarks_of(result_of):
    """What a program says of a case, asked once."""
    @cache
    def asked(judge, case):
        result = result_of(case)
        files = result.paths if judge is not dcentvfy else [*first_of_each_series(result), *result.paths]
        return tuple(judge(case, files))

    return asked


def first_of_each_series(result):
    """One image tells as much about patient and study as all."""
    return {path.name[:7]: path for path in reversed(result.sources)}.values()


@pytest.fixture(scope="session")
def pixelmed_remarks(result_of):
    return pixelmed({path: case for case in CASES for path in result_of(case).paths})


@pytest.mark.parametrize("case", CASES)
def test_dciodvfy_finds_no_error_in_any_object(case, remarks_of):
    assert faults(remarks_of(dciodvfy, case)) == []


@pytest.mark.parametrize("case", CASES)
def test_dcentvfy_finds_one_patient_and_one_study_in_sources_and_results(case, remarks_of):
    assert faults(remarks_of(dcentvfy, case)) == []


@pytest.mark.parametrize("case", CASES)
def test_dsrdump_reads_every_report(case, remarks_of):
    assert faults(remarks_of(dsrdump, case)) == []


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_pixelmed_finds_no_error_in_any_report(pixelmed_remarks):
    assert faults(pixelmed_remarks) == []


@pytest.mark.slow
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("alarm", FALSE_ALARMS, ids=lambda one: f"{one.judge}: {one.pattern[:40]}")
def test_every_false_alarm_of_the_table_is_still_raised(alarm, remarks_of, pixelmed_remarks):
    judges = {"dciodvfy": dciodvfy, "dcentvfy": dcentvfy, "dsrdump": dsrdump}
    raised = pixelmed_remarks if alarm.judge == "PixelMed" else [
        remark for case in CASES for remark in remarks_of(judges[alarm.judge], case)]
    assert any(alarm.covers(remark) for remark in raised)
    assert len(alarm.reason) > 40


def test_reports_that_differ_only_in_names_and_numbers_are_judged_once(result_of):
    one, other = (reports(result_of(case).paths) for case in ("axial CT", "coronal CT"))
    assert len(distinct([*one, *other])) == len(distinct(one)) > 1
    warned = reports(result_of("findings with remarks").paths)
    assert len(distinct([*one, *warned])) > len(distinct(one))
