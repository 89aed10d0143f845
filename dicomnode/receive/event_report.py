"""Storage commitment results as the keeper reads them: one JSON object per N-EVENT-REPORT (PS3.4 Section J.3.3)."""

from __future__ import annotations

import json
from typing import Final

from pydicom.dataset import Dataset

from dicomnode.domain.dicom import uid
from dicomnode.errors import CannotUnderstand
from dicomnode.receive.messages import UNREADABLE, read_message

COMMITTED: Final = 1
FAILURES_EXIST: Final = 2
"""Event Type IDs (PS3.4 Table J.3-2)."""
MOST_REASON: Final = 0xFFFF
"""Failure Reason is of VR US (PS3.3 Section C.14.1.1)."""


def commitment_event(data: bytes, *, transfer_syntax_uid: str, event_type: int, calling: str) -> bytes:
    """The JSON that ``Spool.put_event("commitment", …)`` keeps.

    Keys: ``transaction_uid``, ``calling_ae_title``, ``event_type`` (1 all committed, 2 failures exist),
    ``committed`` (list of SOP Instance UIDs), ``failed`` (SOP Instance UID → Failure Reason (0008,1197)).

    Raises
    ------
    CannotUnderstand
        The data set cannot be read, or names no valid Transaction UID.
    """
    if event_type not in {COMMITTED, FAILURES_EXIST}:
        raise CannotUnderstand(f"Event Type ID {event_type}; allowed are {COMMITTED} and {FAILURES_EXIST}")
    try:
        report = read_message(data, transfer_syntax_uid=transfer_syntax_uid)
        event = _event(report)
    except UNREADABLE as error:
        raise CannotUnderstand(f"storage commitment result cannot be read: {error}") from error
    return json.dumps({**event, "event_type": event_type, "calling_ae_title": calling}).encode()


def _event(report: Dataset) -> dict[str, object]:
    return {
        "transaction_uid": uid(str(report.TransactionUID)),
        "committed": [uid(str(item.ReferencedSOPInstanceUID)) for item in report.get("ReferencedSOPSequence") or []],
        "failed": {
            uid(str(item.ReferencedSOPInstanceUID)): _reason(item)
            for item in report.get("FailedSOPSequence") or []
        },
    }


def _reason(item: Dataset) -> int:
    reason = item.FailureReason
    if not isinstance(reason, int) or not 0 <= reason <= MOST_REASON:
        msg = f"Failure Reason {str(reason)[:40]!r}; allowed is one number from 0 to {MOST_REASON}"
        raise CannotUnderstand(msg)
    return int(reason)
