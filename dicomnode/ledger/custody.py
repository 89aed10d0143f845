"""Storage commitment as SCP (PS3.4 Annex J): which instances the node takes responsibility for, and whom it told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, select

from dicomnode.domain.dicom import InstanceRef
from dicomnode.ledger import events, tables
from dicomnode.ledger.chunks import chunks
from dicomnode.ledger.commitments import named

NO_SUCH_INSTANCE: Final = 0x0112
CLASS_CONFLICT: Final = 0x0119
PROCESSING_FAILURE: Final = 0x0110
"""Failure Reasons (0008,1197) that this node gives (PS3.3 C.14.1.1)."""
JUDGED_AGAIN: Final = timedelta(hours=1)
"""A request whose answer a full disk or a crash kept from being written down is judged again within seconds."""

_INSTANCE = tables.instances.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One copy of an instance that the index has and retention has not deleted; ``path`` is below ``spool/store``."""

    study_uid: str
    sop_class_uid: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the peer is told: each instance once, in the order of the request.

    Parameters
    ----------
    failed:
        SOP Instance UID → Failure Reason.
    studies:
        The studies of what is committed.
    """

    committed: tuple[InstanceRef, ...]
    failed: Mapping[str, int]
    studies: tuple[str, ...]


def kept(c: Connection, sop_instance_uids: Sequence[str]) -> dict[str, list[Kept]]:
    """Return every copy of the given instances; unknown and deleted ones have no key."""
    found: dict[str, list[Kept]] = {}
    for part in chunks(sop_instance_uids):
        for row in c.execute(
                select(_INSTANCE.sop_instance_uid, _INSTANCE.study_uid, _INSTANCE.sop_class_uid, _INSTANCE.path)
                .where(_INSTANCE.sop_instance_uid.in_(part), _INSTANCE.deleted_at.is_(None))):
            found.setdefault(row.sop_instance_uid, []).append(
                Kept(study_uid=row.study_uid, sop_class_uid=row.sop_class_uid, path=row.path))
    return found


def promise(
    c: Connection, refs: Sequence[InstanceRef], *, readable: Collection[str], undecided: bool, peer: str,
    transaction_uid: str, now: datetime,
) -> Promise:
    """Take responsibility for what is indexed and on disk under the class that the peer names; write it down.

    Parameters
    ----------
    readable:
        Store paths of which the caller has seen the file.
    undecided:
        What is not indexed may still be on its way there: Failure Reason 0x0110 in place of 0x0112.

    Notes
    -----
    The studies' rows are locked: retention deletes a study either before this, and it is not promised, or it
    meets the event that this writes, from which the study's time to stay is counted anew.
    """
    ours = kept(c, [ref.sop_instance_uid for ref in refs])
    _lock(c, {one.study_uid for copies in ours.values() for one in copies})
    ours = kept(c, [ref.sop_instance_uid for ref in refs])
    committed: dict[InstanceRef, str] = {}
    failed: dict[str, int] = {}
    for ref in refs:
        copies = [one for one in ours.get(ref.sop_instance_uid, ()) if one.path in readable]
        fitting = [one for one in copies if one.sop_class_uid == ref.sop_class_uid]
        if fitting:
            committed[ref] = fitting[0].study_uid
        else:
            missing = PROCESSING_FAILURE if undecided else NO_SUCH_INSTANCE
            failed[ref.sop_instance_uid] = CLASS_CONFLICT if copies else missing
    _write_down(c, committed, failed, peer=peer, transaction_uid=transaction_uid, now=now)
    return Promise(committed=tuple(committed), failed=failed, studies=tuple(dict.fromkeys(committed.values())))


def _lock(c: Connection, study_uids: Collection[str]) -> None:
    study = tables.studies.c
    for part in chunks(sorted(study_uids)):
        c.execute(select(study.id).where(study.study_uid.in_(part)).order_by(study.id).with_for_update()).all()


def _write_down(
    c: Connection, committed: Mapping[InstanceRef, str], failed: Mapping[str, int], *, peer: str, transaction_uid: str,
    now: datetime,
) -> None:
    """Write the promise into the timelines, once however often the same request is judged."""
    data = {"peer": peer, "transaction_uid": transaction_uid}
    event = tables.events.c
    lately = select(event.data).where(
        event.kind.in_((events.COMMITMENT_GIVEN, events.COMMITMENT_WITHHELD)), event.at >= now - JUDGED_AGAIN)
    if any(one.get("transaction_uid") == transaction_uid for one in c.execute(lately).scalars()):
        return
    for study_uid, count in Counter(committed.values()).items():
        events.record(c, at=now, kind=events.COMMITMENT_GIVEN, study_uid=study_uid,
                      text=f"{peer} may rely on {count} instance(s)", data={**data, "instances": count})
    if failed:
        events.record(c, at=now, kind=events.COMMITMENT_WITHHELD,
                      text=f"{len(failed)} instance(s) not committed to {peer}: {named(list(failed.values()))}",
                      data={**data, "instances": len(failed)})


def told(c: Connection, studies: Sequence[str], *, peer: str, transaction_uid: str, now: datetime) -> None:
    """Write down that the peer has the answer."""
    for study_uid in studies:
        events.record(c, at=now, kind=events.COMMITMENT_REPORTED, study_uid=study_uid,
                      text=f"{peer} knows that it is committed", data={"transaction_uid": transaction_uid})


def given_up(
    c: Connection, studies: Sequence[str], *, peer: str, transaction_uid: str, reason: str, now: datetime,
) -> None:
    """Write down that the peer could not be told, and keeps its images for all it knows."""
    about: Sequence[str | None] = studies or [None]
    for study_uid in about:
        events.record(c, at=now, kind=events.COMMITMENT_NOT_REPORTED, study_uid=study_uid,
                      text=f"{peer} could not be told what is committed: {reason}",
                      data={"transaction_uid": transaction_uid})
