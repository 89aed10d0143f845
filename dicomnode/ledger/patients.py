"""Whose study it is, for the audit trail alone: the one question to the index that answers with a name."""

from __future__ import annotations

from sqlalchemy import Connection, distinct, func, select

from dicomnode.domain.audit import AuditedStudy
from dicomnode.ledger import tables

_INSTANCE = tables.instances.c


def audited_study(c: Connection, study_uid: str) -> AuditedStudy:
    """Return patient, accession number and how many instances of each SOP Class; of a deleted study too."""
    newest = select(_INSTANCE.attributes).where(_INSTANCE.study_uid == study_uid).order_by(_INSTANCE.id.desc()).limit(1)
    counts = (
        select(_INSTANCE.sop_class_uid, func.count(distinct(_INSTANCE.sop_instance_uid)))
        .where(_INSTANCE.study_uid == study_uid).group_by(_INSTANCE.sop_class_uid).order_by(_INSTANCE.sop_class_uid)
    )
    attributes = c.execute(newest).scalar_one_or_none() or {}
    return AuditedStudy.of(study_uid, attributes, {row[0]: row[1] for row in c.execute(counts)})
