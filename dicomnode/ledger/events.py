"""The timeline: each change of state, and each thing that a person may ask about later, is one row."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, insert

from dicomnode.ledger import tables

STUDY_OPENED: Final = "study_opened"
STUDY_REOPENED: Final = "study_reopened"
STUDY_CLOSED: Final = "study_closed"
STUDY_DELETED: Final = "study_deleted"
ROUTE_REFUSED: Final = "route_refused"  # a route wants the study and it cannot be analysed: the keeper, at matching
INSTANCES_CORRECTED: Final = "instances_corrected"  # other attributes, same pixels and geometry
INSTANCES_CONFLICTING: Final = "instances_conflicting"  # same UID, other pixels or geometry
INSTANCE_QUARANTINED: Final = "instance_quarantined"  # cannot be indexed: the keeper
ITEM_SENT: Final = "delivery_item_sent"
NOT_TAKEN: Final = "not_taken"  # an object that the peer may refuse
PEER_AWAY: Final = "peer_away"  # the first of failures in a row
PEER_BACK: Final = "peer_back"  # it took something again
COMMITMENT_UNKNOWN: Final = "commitment_unknown"
COMMITMENT_GIVEN: Final = "commitment_given"  # a sender asked, and the node takes responsibility
COMMITMENT_WITHHELD: Final = "commitment_withheld"
COMMITMENT_REPORTED: Final = "commitment_reported"
COMMITMENT_NOT_REPORTED: Final = "commitment_not_reported"


def record(
    c: Connection,
    *,
    at: datetime,
    kind: str,
    study_uid: str | None = None,
    job_id: int | None = None,
    delivery_id: int | None = None,
    text: str = "",
    data: Mapping[str, object] | None = None,
) -> None:
    """Write one event in the caller's transaction: it is true if, and only if, the change is.

    Parameters
    ----------
    kind:
        Constant snake_case.
    text:
        A sentence for people; UIDs yes, patient data never.
    data:
        JSON values only.
    """
    c.execute(insert(tables.events).values(
        at=at, kind=kind, study_uid=study_uid, job_id=job_id, delivery_id=delivery_id, text=text, data=dict(data or {}),
    ))
