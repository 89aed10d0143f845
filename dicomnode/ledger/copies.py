"""Copies of one instance: what a newcomer is to those that are kept already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sqlalchemy import Connection, select

from dicomnode.domain.study import InstanceRecord
from dicomnode.ledger import tables
from dicomnode.ledger.chunks import chunks
from dicomnode.ledger.work import Found

What = Literal["new", "identical", "demographics", "conflict"]

NEW: Final = "new"  # nothing of this UID is kept in the study
IDENTICAL: Final = "identical"  # the same data set is kept
DEMOGRAPHICS: Final = "demographics"  # same pixels and geometry, other attributes: the newest counts
CONFLICT: Final = "conflict"  # other pixels or geometry under the same UID: nobody can say which is right

_INSTANCE = tables.instances.c


@dataclass(frozen=True, slots=True)
class Copy:
    """One kept copy, in the order of arrival."""

    record: InstanceRecord
    conflicting: bool


def classify(record: InstanceRecord, kept: Sequence[Copy]) -> What:
    """Say what ``record`` is to the copies of its UID that the study keeps.

    Notes
    -----
    Encoded pixels can be compared only within one transfer syntax. A copy in another syntax with equal
    geometry is the same image sent another way; it is kept, and the newest is used.
    """
    if not kept:
        return NEW
    if any(copy.record.content_digest == record.content_digest for copy in kept):
        return IDENTICAL
    sound = [copy.record for copy in kept if not copy.conflicting]
    if any(one.geometry_digest != record.geometry_digest for one in sound):
        return CONFLICT
    alike = [one for one in sound if one.transfer_syntax_uid == record.transfer_syntax_uid]
    return CONFLICT if any(one.pixel_digest != record.pixel_digest for one in alike) else DEMOGRAPHICS


def kept_copies(c: Connection, sop_instance_uids: Sequence[str]) -> dict[str, list[Copy]]:
    """Return the kept copies of each UID that has any, over all studies, oldest first."""
    found: dict[str, list[Copy]] = {}
    for part in chunks(sop_instance_uids):
        rows = c.execute(
            select(tables.instances).where(_INSTANCE.sop_instance_uid.in_(part), _INSTANCE.deleted_at.is_(None))
            .order_by(_INSTANCE.arrived_at, _INSTANCE.id))
        for row in rows:
            found.setdefault(row.sop_instance_uid, []).append(copy_of(row))
    return found


def study_copies(c: Connection, study_uid: str) -> list[Copy]:
    """Return every kept copy of a study, oldest first."""
    rows = c.execute(
        select(tables.instances).where(_INSTANCE.study_uid == study_uid, _INSTANCE.deleted_at.is_(None))
        .order_by(_INSTANCE.arrived_at, _INSTANCE.id))
    return [copy_of(row) for row in rows]


def copy_of(row: Found) -> Copy:
    """Turn a row into the domain's object."""
    return Copy(conflicting=row.conflicting, record=InstanceRecord(
        study_uid=row.study_uid, series_uid=row.series_uid, sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid, transfer_syntax_uid=row.transfer_syntax_uid,
        attributes={keyword: tuple(values) for keyword, values in row.attributes.items()},
        content_digest=row.content_digest, geometry_digest=row.geometry_digest, pixel_digest=row.pixel_digest,
        size_bytes=row.size_bytes, path=row.path, source_ae_title=row.source_ae_title, arrived_at=row.arrived_at,
    ))


def row_of(record: InstanceRecord, *, conflicting: bool) -> dict[str, Any]:
    """Turn a record with path and time of arrival into values of a row."""
    return {
        "study_uid": record.study_uid, "series_uid": record.series_uid, "sop_instance_uid": record.sop_instance_uid,
        "sop_class_uid": record.sop_class_uid, "transfer_syntax_uid": record.transfer_syntax_uid,
        "attributes": {keyword: list(values) for keyword, values in record.attributes.items()},
        "content_digest": record.content_digest, "geometry_digest": record.geometry_digest,
        "pixel_digest": record.pixel_digest, "size_bytes": record.size_bytes, "path": record.path,
        "source_ae_title": record.source_ae_title, "arrived_at": record.arrived_at, "conflicting": conflicting,
    }
