"""What came over one association is told once, with true counts, whatever crashed between; floods are counted."""

from __future__ import annotations

import pytest

from dicomnode.audit import Node, Notes
from dicomnode.audit.notes import Noted
from dicomnode.crowds import TOLD_IN_WINDOW, WINDOW_S, Callers
from dicomnode.domain.audit import AuditedStudy

CT, SR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.88.22"


@pytest.fixture
def notes(tmp_path):
    return Notes(tmp_path)


def image(number: int, *, study: str = "1.2", action: str = "C", sop_class: str = CT) -> Noted:
    return Noted(arrival=f"{number:06d}.dcm", sop_class_uid=sop_class, action=action,
                 sender=Node(ae_title="SCANNER", address="10.1.2.3"),
                 study=AuditedStudy(study_uid=study, patient_id="0815", patient_name="Müller^Jörg"))


def test_an_association_that_goes_on_is_not_told(notes):
    notes.add("a1", [image(1)])
    assert list(notes.finished({"a1"})) == []
    assert len(list(notes.finished(set()))) == 1


def test_batches_of_one_association_are_one_message_for_each_study(notes):
    notes.add("a1", [image(1), image(2), image(3, sop_class=SR)])
    notes.add("a1", [image(4), image(5, study="1.3")])
    first, second = notes.finished(set())
    assert dict(first.study.instances) == {CT: 3, SR: 1}
    assert (first.study.patient_id, first.study.patient_name) == ("0815", "Müller^Jörg")
    assert (first.sender.ae_title, first.sender.address) == ("SCANNER", "10.1.2.3")
    assert (second.study.study_uid, dict(second.study.instances)) == ("1.3", {CT: 1})


def test_images_that_a_crash_had_indexed_twice_count_once_as_what_they_were_first(notes):
    notes.add("a1", [image(1), image(2)])
    notes.add("a1", [image(2, action="R"), image(3)])
    (came,) = notes.finished(set())
    assert dict(came.study.instances) == {CT: 3}
    assert came.action == "C"


@pytest.mark.parametrize(("actions", "told"), [("CC", "C"), ("RR", "R"), ("CR", "C"), ("CU", "U"), ("RU", "U")])
def test_the_action_is_update_before_create_before_read(notes, actions, told):
    notes.add("a1", [image(number, action=action) for number, action in enumerate(actions)])
    (came,) = notes.finished(set())
    assert came.action == told


def test_a_torn_line_is_passed_over_and_the_next_is_whole(notes, tmp_path):
    notes.add("a1", [image(1)])
    (note,) = (tmp_path / "notes" / "a1").iterdir()
    note.write_bytes(note.read_bytes()[:-9])
    notes.add("a1", [image(1), image(2)])
    (came,) = notes.finished(set())
    assert dict(came.study.instances) == {CT: 2}


def test_what_is_told_is_forgotten_and_leaves_no_folder(notes, tmp_path):
    notes.add("a1", [image(1), image(2, study="1.3")])
    for came in notes.finished(set()):
        notes.told(came)
    assert list(notes.finished(set())) == []
    assert list((tmp_path / "notes").iterdir()) == []


def test_a_refusal_is_told_once_a_window_and_then_counted():
    callers = Callers()
    assert callers.hear("10.1.2.3", "no peer", 0.0) == "no peer"
    assert [callers.hear("10.1.2.3", "no peer", 1.0 + i) for i in range(5)] == [None] * 5
    assert callers.hear("10.1.2.4", "no peer", 7.0) == "no peer"
    later = callers.hear("10.1.2.3", "no peer", WINDOW_S + 1)
    assert later == "no peer; 5 more refusals of this address had no message of their own"


def test_a_flood_of_different_names_from_one_address_writes_a_bounded_number_of_messages():
    callers = Callers()
    told = [callers.hear("10.1.2.3", f"AE title {i} is no peer", i / 1000) for i in range(5000)]
    assert sum(one is not None for one in told) == TOLD_IN_WINDOW
    assert list(callers.untold()) == [
        ("10.1.2.3", f"{5000 - TOLD_IN_WINDOW} more refusals of this address had no message of their own")]
    assert list(callers.untold()) == []
