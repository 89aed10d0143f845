"""Studies over both databases: what arrives is indexed once, late images reopen, copies are told apart."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dicomnode.ledger import census, studies
from dicomnode.ledger.engine import Ledger
from dicomnode.ledger.refusals import NotInLedger
from tests.ledger_rows import (
    JPEG_LOSSLESS,
    NOW,
    STUDY,
    a_claimed_delivery,
    a_closed_study,
    after,
    an_instance,
    close,
    index,
)


def kinds(ledger: Ledger, study: str = STUDY) -> list[str]:
    with ledger.read() as c:
        return [row["kind"] for row in census.timeline(c, study)]


def the_open(ledger: Ledger) -> list[studies.OpenStudy]:
    with ledger.read() as c:
        return studies.open_studies(c)


def record(ledger: Ledger, study: str = STUDY):
    with ledger.read() as c:
        return studies.study_record(c, study)


def test_the_first_image_opens_its_study(ledger):
    assert index(ledger, an_instance(1), an_instance(2, at=after(3)), now=after(4)) == ["new", "new"]
    (study,) = the_open(ledger)
    assert (study.study_uid, study.revision, study.instances, study.copies) == (STUDY, 1, 2, 2)
    assert (study.first_arrival_at, study.last_arrival_at) == (NOW, after(3))
    assert study.source_ae_titles == {"SCANNER"}
    assert kinds(ledger) == ["study_opened"]


def test_one_batch_may_hold_several_studies(ledger):
    index(ledger, an_instance(1, study="1.2.9", at=after(5)), an_instance(1, study="1.2.8", at=after(2)))
    assert [study.study_uid for study in the_open(ledger)] == ["1.2.8", "1.2.9"]


def test_an_empty_batch_is_nothing(ledger):
    assert index(ledger) == []
    assert the_open(ledger) == []


def test_a_record_comes_back_as_it_was_written(ledger):
    written = an_instance(1, StudyDescription="Thorax\\nativ", PatientID="\x00odd")
    index(ledger, written)
    with ledger.read() as c:
        assert studies.look_up(c, [written.sop_instance_uid, "1.2.404"]) == {written.sop_instance_uid: [written]}


def test_a_record_without_time_of_arrival_arrived_now(ledger):
    index(ledger, replace(an_instance(1), arrived_at=None), now=after(8))
    assert the_open(ledger)[0].first_arrival_at == after(8)


def test_an_identical_image_changes_nothing_and_does_not_reopen(ledger):
    a_closed_study(ledger)
    before = kinds(ledger)
    assert index(ledger, an_instance(1, at=after(60)), now=after(60)) == ["identical"]
    assert the_open(ledger) == []
    assert kinds(ledger) == before


def test_a_new_image_reopens_a_closed_study(ledger):
    a_closed_study(ledger)
    assert index(ledger, an_instance(3, at=after(60)), now=after(60)) == ["new"]
    (study,) = the_open(ledger)
    assert (study.revision, study.instances, study.last_arrival_at) == (2, 3, after(60))
    assert study.first_arrival_at == after(60)  # the hard cap counts anew
    assert kinds(ledger)[-1] == "study_reopened"


def test_corrected_demographics_are_kept_beside_and_the_newest_count(ledger):
    a_closed_study(ledger)
    corrected = an_instance(1, content="corrected", copy=1, at=after(9), PatientName="王^小红")
    assert index(ledger, corrected, now=after(9)) == ["demographics"]
    found = {one.sop_instance_uid: one for one in record(ledger).series[0].instances}
    assert found[corrected.sop_instance_uid].text("PatientName") == "王^小红"
    assert record(ledger).conflicts == ()
    with ledger.read() as c:
        assert [one.path for one in studies.look_up(c, [corrected.sop_instance_uid])[corrected.sop_instance_uid]] == \
            [an_instance(1).path, corrected.path]
        assert studies.instance_paths(c, STUDY, [corrected.sop_instance_uid]) == \
            {corrected.sop_instance_uid: corrected.path}
    assert (the_open(ledger)[0].instances, the_open(ledger)[0].copies) == (2, 3)
    assert kinds(ledger)[-2:] == ["study_reopened", "instances_corrected"]


@pytest.mark.parametrize("other", [
    {"pixels": "other"}, {"geometry": "other"}, {"geometry": "other", "syntax": JPEG_LOSSLESS}])
def test_other_pixels_or_geometry_under_the_same_uid_conflict(ledger, other):
    index(ledger, an_instance(1), an_instance(2))
    conflicting = an_instance(1, content="other", copy=1, at=after(1), **other)
    assert index(ledger, conflicting) == ["conflict"]
    found = record(ledger)
    assert found.conflicts == (conflicting.sop_instance_uid,)
    paths = {one.path for one in found.series[0].instances}
    assert paths == {an_instance(1).path, an_instance(2).path}
    assert kinds(ledger)[-1] == "instances_conflicting"


def test_the_same_image_in_another_transfer_syntax_is_no_conflict(ledger):
    index(ledger, an_instance(1))
    assert index(ledger, an_instance(1, content="compressed", syntax=JPEG_LOSSLESS, copy=1)) == ["demographics"]


def test_a_conflicting_image_that_comes_again_is_identical_to_itself(ledger):
    other = an_instance(1, content="other", pixels="other", copy=1)
    assert index(ledger, an_instance(1), other, other) == ["new", "conflict", "identical"]


def test_one_uid_in_two_studies_is_one_image_of_each(ledger):
    first = an_instance(1)
    second = replace(first, study_uid="1.2.77", content_digest="0", pixel_digest="1")
    assert index(ledger, first, second) == ["new", "new"]
    assert len(record(ledger, "1.2.77").series) == 1


def test_a_study_that_changed_meanwhile_is_not_closed(ledger):
    index(ledger, an_instance(1))
    (looked_at,) = the_open(ledger)
    index(ledger, an_instance(2))
    with ledger.write() as c:
        assert not studies.close(c, looked_at, now=NOW)
    assert "study_closed" not in kinds(ledger)
    assert close(ledger)


def test_a_copy_that_came_meanwhile_also_keeps_the_study_open(ledger):
    index(ledger, an_instance(1))
    (looked_at,) = the_open(ledger)
    index(ledger, an_instance(1, content="corrected", copy=1))
    with ledger.write() as c:
        assert not studies.close(c, looked_at, now=NOW)


def test_a_study_that_was_closed_and_reopened_is_not_closed_by_the_old_look(ledger):
    index(ledger, an_instance(1))
    (looked_at,) = the_open(ledger)
    close(ledger)
    with ledger.write() as c:
        assert not studies.close(c, looked_at, now=NOW)


def test_sources_of_later_images_are_added(ledger):
    index(ledger, an_instance(1))
    index(ledger, replace(an_instance(2), source_ae_title="PACS"), replace(an_instance(3), source_ae_title=""))
    assert the_open(ledger)[0].source_ae_titles == {"SCANNER", "PACS"}
    assert record(ledger).source_ae_titles == {"SCANNER", "PACS"}


def test_an_unknown_study_is_said_to_be_unknown(ledger):
    with pytest.raises(NotInLedger, match=r"study 1\.2\.404 is not known"):
        record(ledger, "1.2.404")


def test_our_own_results_are_known_by_their_uid(ledger):
    a_claimed_delivery(ledger)
    with ledger.read() as c:
        assert studies.own_sop_instance_uids(c, ["2.25.1", "2.25.3", "1.2.3"]) == {"2.25.1", "2.25.3"}
        assert studies.own_sop_instance_uids(c, []) == set()


def test_more_uids_than_one_statement_takes_are_looked_up(ledger):
    index(ledger, an_instance(1), an_instance(2))
    asked = [f"1.2.5.{n}" for n in range(12_000)] + [an_instance(2).sop_instance_uid]
    with ledger.read() as c:
        assert list(studies.look_up(c, asked)) == [an_instance(2).sop_instance_uid]
