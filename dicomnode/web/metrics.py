"""The figures for Prometheus, each name with the prefix ``dicomnode_``; docs/monitoring.md lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from dicomnode import __version__
from dicomnode.domain.node import NodeConfig
from dicomnode.domain.work import State
from dicomnode.run.state import NEEDED, Health, NodeState

Row = Mapping[str, Any]
Names = TypeVar("Names", bound=tuple[object, ...])

RECENT: Final = 200
"""Outcomes and durations are told of this many latest studies and jobs: a scrape costs the same after ten years."""

OUTCOMES: Final = (
    "receiving", "waiting", "analysing", "delivering", "analysed", "not applicable", "not analysed", "undelivered",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recent:
    """The latest rows of ``ledger.census.studies`` and ``ledger.census.jobs``."""

    studies: Sequence[Row] = ()
    jobs: Sequence[Row] = ()


def expose(config: NodeConfig, state: NodeState, recent: Recent, *, accept: str) -> tuple[bytes, str]:
    """Return the exposition in the format that ``accept`` asks for, and its content type."""
    registry = CollectorRegistry()
    registry.register(_Figures([*families(config, state, recent)]))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def families(config: NodeConfig, state: NodeState, recent: Recent) -> Iterator[Metric]:
    """Yield every family of figures that can be told now; where the database is away, those of the work are absent."""
    yield _gauge("info", "The running version", {(__version__,): 1}, ["version"])
    yield _gauge("health", "1 for the present health", {(h,): h is state.health for h in Health}, ["health"])
    yield _gauge("problems", "Problems that need a person", len(state.problems))
    yield _gauge("database_up", "Whether the database answers", state.work is not None)
    yield _gauge(
        "roles_alive", "Living processes on this machine", {(r,): state.roles.get(r, 0) for r in NEEDED}, ["role"]
    )
    yield from _spool(config, state)
    yield from _audit(state)
    if state.work is not None:
        yield from _work(state.work)
        yield from _peers(state.work["peers"])
        yield from _recent(recent)


def _spool(config: NodeConfig, state: NodeState) -> Iterator[Metric]:
    spool = state.spool
    if spool is None:
        return
    yield _gauge("arrivals_waiting", "Images acknowledged and not yet indexed", spool.arrivals)
    yield _gauge(
        "arrivals_oldest_age_seconds", "Age of the oldest image not yet indexed", spool.oldest_arrival_s or 0.0
    )
    yield _gauge("quarantined_instances", "Images that could not be indexed", spool.quarantined)
    yield _gauge("open_associations", "Associations that have sent an image and are open", spool.open_associations)
    yield _gauge("spool_free_bytes", "Free bytes on the disk of the spool", spool.free_bytes)
    yield _gauge(
        "spool_min_free_bytes", "Below this, images are refused with 0xA700", config.receive.min_free_bytes
    )


def _audit(state: NodeState) -> Iterator[Metric]:
    waiting = {(one.sink,): one.waiting for one in state.audit}
    oldest_s = {(one.sink,): one.oldest_s or 0.0 for one in state.audit}
    yield _gauge("audit_messages_waiting", "Audit messages that their sink does not have", waiting, ["sink"])
    yield _gauge("audit_oldest_age_seconds", "Age of the oldest of them", oldest_s, ["sink"])


def _work(work: Row) -> Iterator[Metric]:
    studies = {("open",): work["studies_open"], ("closed",): work["studies_closed"]}
    yield _gauge("studies", "Studies in the ledger", studies, ["state"])
    for noun in ("jobs", "deliveries"):
        counts = {(state,): work[noun][state] for state in State}
        yield _gauge(noun, f"{noun.capitalize()} in the ledger", counts, ["state"])
    waits = {("jobs",): work["oldest_job_waits_s"] or 0.0, ("deliveries",): work["oldest_delivery_waits_s"] or 0.0}
    yield _gauge("oldest_due_age_seconds", "How long the oldest work that is due has waited", waits, ["queue"])
    yield _gauge("expired_leases", "Work whose claimant was not heard of in time", work["expired_leases"])
    yield _gauge("conflicting_copies", "Kept copies with other pixels or geometry than the first", work["conflicting"])
    if work["last_arrival_at"] is not None:
        arrived_s = work["last_arrival_at"].timestamp()
        yield _gauge("last_arrival_timestamp_seconds", "When the last image arrived", arrived_s)
    models: Counter[tuple[str]] = Counter()
    for one in work["waiting_models"]:  # one row per digest: a changed model has two
        models[one["name"],] += one["jobs"]
    yield _gauge("model_jobs_waiting", "Jobs that are due, by a model that they need", models, ["model"])


def _peers(peers: Iterable[Row]) -> Iterator[Metric]:
    rows = list(peers)
    counts = {(row["peer"], state): row[state] for row in rows for state in ("scheduled", "in_progress", "failed")}
    yield _gauge("peer_deliveries", "Deliveries by peer that are not completed", counts, ["peer", "state"])
    ages = {(row["peer"],): row["oldest_waits_s"] or 0.0 for row in rows}
    yield _gauge("peer_oldest_age_seconds", "Age of the oldest delivery that is not completed", ages, ["peer"])
    last = {(row["peer"],): row["last_sent_at"].timestamp() for row in rows if row["last_sent_at"] is not None}
    yield _gauge("peer_last_sent_timestamp_seconds", "When the peer last took an object", last, ["peer"])


def _recent(recent: Recent) -> Iterator[Metric]:
    found = Counter(row["outcome"].partition(":")[0] for row in recent.studies)
    outcomes = {(word.replace(" ", "_"),): found[word] for word in OUTCOMES}
    yield _gauge("recent_studies", f"The {RECENT} studies that arrived last, by outcome", outcomes, ["outcome"])
    done = [row for row in recent.jobs if row["state"] == State.COMPLETED and row["claimed_at"] is not None]
    seconds = {
        "wait": [(row["claimed_at"] - row["created_at"]).total_seconds() for row in done],
        "run": [(row["changed_at"] - row["claimed_at"]).total_seconds() for row in done],
    }
    values: dict[tuple[str, str], float] = {}
    for stage, ages in seconds.items():
        if ages:
            values |= {(stage, "median"): median(ages), (stage, "max"): max(ages)}
    yield _gauge("recent_job_seconds", f"Of the completed among the {RECENT} latest jobs", values, ["stage", "of"])


def _gauge(
    name: str, text: str, value: float | Mapping[Names, float], labels: Sequence[str] = ()
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"dicomnode_{name}", text, labels=labels)
    if isinstance(value, Mapping):
        for names, number in value.items():
            family.add_metric([str(one) for one in names], float(number))
    else:
        family.add_metric([], float(value))
    return family


class _Figures(Collector):
    """What was seen at one moment."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        """Return it."""
        return self._found
