"""What a job carries: a snapshot, so that a changed route or model file cannot orphan it."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final, Self

from dicomnode.domain.study import BoundSeries, ModelBinding

UID_NAMESPACE: Final = uuid.UUID("5f0c3a52-3b3e-4d53-9b0e-6d1c0a7d7f10")
"""Namespace of every UID that the node derives."""

ANALYSIS: Final = "analysis"
NOTICE: Final = "notice"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSnapshot:
    """A model as it was when the job was made: its file's text and both digests."""

    name: str
    digest: str
    file_digest: str
    toml: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything a worker needs to run a job, frozen when the job was made.

    Parameters
    ----------
    reason, text:
        For a notice: the error class and its sentence.
    predecessors:
        ``<SOP Class UID>:<SOP Instance UID>`` of each report that this job's reports supersede.
    outputs:
        Kinds of objects that every peer gets besides what it takes.
    """

    route: str
    to: tuple[str, ...]
    models: tuple[ModelSnapshot, ...] = ()
    bindings: tuple[ModelBinding, ...] = ()
    reason: str = ""
    text: str = ""
    predecessors: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    report_not_analysed: bool = False
    source_ae_titles: tuple[str, ...] = ()

    @property
    def input_uids(self) -> tuple[str, ...]:
        """Every input SOP Instance UID, sorted, each once."""
        return tuple(sorted({u for b in self.bindings for s in b.series for u in s.sop_instance_uids}))

    @property
    def lane(self) -> str:
        """Whose turn a job takes: that of its senders, on its route."""
        return " ".join((*self.source_ae_titles, "on", self.route))

    def superseding(self, predecessors: tuple[str, ...]) -> Self:
        """Return the same snapshot, naming the reports that its own will supersede."""
        return replace(self, predecessors=predecessors)

    def to_json(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what ``to_json`` wrote."""
        raw = json.loads(text)
        raw["models"] = tuple(ModelSnapshot(**item) for item in raw["models"])
        raw["bindings"] = tuple(
            ModelBinding(model=item["model"], series=tuple(
                BoundSeries(role=s["role"], series_uid=s["series_uid"], sop_instance_uids=tuple(s["sop_instance_uids"]))
                for s in item["series"]))
            for item in raw["bindings"])
        for key in ("to", "predecessors", "outputs", "source_ae_titles"):
            raw[key] = tuple(raw.get(key, ()))
        return cls(**raw)


def fingerprint(sop_instance_uids: Iterable[str]) -> str:
    """Return sha256 of the sorted UIDs: the same set of images gives the same text."""
    return hashlib.sha256("\n".join(sorted(sop_instance_uids)).encode()).hexdigest()


def job_key(*, study_uid: str, kind: str, snapshot: Snapshot, revision: int) -> str:
    """Name a job by what it computes: a resend makes the same key, a grown series another.

    Route, ordered model digests, model-file digests, fingerprint of the input UIDs, revision.
    """
    parts = [
        study_uid, kind, snapshot.route,
        *(m.digest for m in snapshot.models), *(m.file_digest for m in snapshot.models),
        fingerprint(snapshot.input_uids), snapshot.reason, str(revision),
    ]
    return hashlib.sha256("|".join(parts).encode()).hexdigest()


def derived_uid(node_id: uuid.UUID, key: str, role: str) -> str:
    """Return the UID of one object of one job: ``2.25.`` and a UUID made from its name (PS3.5 B.2)."""
    return f"2.25.{uuid.uuid5(UID_NAMESPACE, f'{node_id}|{key}|{role}').int}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """One peer's share of a job's results.

    Parameters
    ----------
    items:
        In sending order; each is the ordered alternatives, as SOP Instance UIDs of stored results.
    """

    peer: str
    items: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredResult:
    """One encoded object on disk, as the ledger records it.

    Parameters
    ----------
    path:
        Relative to ``spool/results``.
    refers_to:
        SOP Instance UIDs of those results of the same job that this one names.
    """

    kind: str
    group: str
    sop_class_uid: str
    sop_instance_uid: str
    series_uid: str
    transfer_syntax_uid: str
    path: str
    size_bytes: int
    sha256: str
    refers_to: tuple[str, ...] = ()
