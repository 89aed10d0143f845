from __future__ import annotations

import json
from io import BytesIO

import pytest
from pydicom import Dataset, dcmwrite

from dicomnode.errors import CannotUnderstand
from dicomnode.receive.event_report import commitment_event
from tests.builders import dataset

EXPLICIT, IMPLICIT = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2"


def encoded(built: Dataset, *, implicit: bool) -> bytes:
    buffer = BytesIO()
    dcmwrite(buffer, built, implicit_vr=implicit, little_endian=True)
    return buffer.getvalue()


def a_report(**changes: object) -> Dataset:
    done = dataset(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", ReferencedSOPInstanceUID="2.25.1")
    lost = dataset(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", ReferencedSOPInstanceUID="2.25.2",
                   FailureReason=0x0112)
    return dataset(**{"TransactionUID": "2.25.9", "ReferencedSOPSequence": [done], "FailedSOPSequence": [lost],
                      **changes})


@pytest.mark.parametrize("implicit", [False, True])
def test_the_event_says_what_is_committed_and_what_failed_and_why(*, implicit: bool):
    event = commitment_event(encoded(a_report(), implicit=implicit), event_type=2, calling="PACS",
                             transfer_syntax_uid=IMPLICIT if implicit else EXPLICIT)
    assert json.loads(event) == {
        "transaction_uid": "2.25.9", "event_type": 2, "calling_ae_title": "PACS", "committed": ["2.25.1"],
        "failed": {"2.25.2": 0x0112}}


def test_a_report_without_failures_has_an_empty_list_of_them():
    event = commitment_event(encoded(a_report(FailedSOPSequence=None), implicit=False), event_type=1, calling="PACS",
                             transfer_syntax_uid=EXPLICIT)
    assert json.loads(event)["failed"] == {}


@pytest.mark.parametrize(("data", "event_type"), [
    (encoded(a_report(TransactionUID=None), implicit=False), 1),
    (encoded(a_report(), implicit=False)[:-9], 1),
    (b"\x08\x00\x95\x11UI\xff\xff", 1),
    (encoded(a_report(), implicit=False), 3),
])
def test_what_is_no_commitment_result_is_refused(data: bytes, event_type: int):
    with pytest.raises(CannotUnderstand):
        commitment_event(data, event_type=event_type, calling="PACS", transfer_syntax_uid=EXPLICIT)


@pytest.mark.parametrize(("vr", "value"), [
    ("IS", "100000000000000000000"), ("UL", 0xFFFFFFFF), ("DS", "1e300"), ("US", [1, 2]), ("SS", -1), ("LO", "7"),
])
def test_a_failure_reason_that_is_no_unsigned_short_is_refused(vr: str, value: object):
    lost = dataset(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.66.4", ReferencedSOPInstanceUID="2.25.2")
    lost.add_new("FailureReason", vr, value)
    with pytest.raises(CannotUnderstand):
        commitment_event(encoded(a_report(FailedSOPSequence=[lost]), implicit=False), event_type=2, calling="PACS",
                         transfer_syntax_uid=EXPLICIT)
