"""What ``status`` prints of a look at the node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from dicomnode.cli.context import Context
from dicomnode.cli.table import clock

if TYPE_CHECKING:
    from dicomnode.run import state

PROBE_CODES: Final = {"healthy": 0, "degraded": 1, "down": 3}
"""Exit codes of ``status --probe``."""
WHAT_CHARS: Final = 18
NONE: Final = "–"


@dataclass(frozen=True, slots=True)
class NodeState:
    """One look at the node."""

    row: dict[str, Any]
    advice: tuple[str, ...]
    health: str
    exit_code: int

    @property
    def text(self) -> str:
        """The screen for a person at night."""
        lines = [f"dicomnode is {self.health}", ""]
        lines += [f"  {what:<{WHAT_CHARS}} {says}" for what, says in screen(self.row)]
        if self.advice:
            lines += ["", "to do:", *(f"  - {line}" for line in self.advice)]
        return "\n".join(lines)


def screen(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each line of the screen: what it is about, and what it says; what could not be seen has none."""
    yield "running", ", ".join(f"{role} {count}" for role, count in row["roles"].items()) or "none"
    if "free_gb" in row:
        yield "disk", f"{row['free_gb']} GB free"
        yield "images", (f"{row['waiting_to_be_indexed']} to be indexed, {row['in_quarantine']} in quarantine, "
                         f"{row['open_associations']} associations open")
    if "jobs" in row:
        yield from _work(row)
    yield from _room(row)


def _work(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "studies", (f"{row['studies_open']} receiving, {row['studies_closed']} closed, {row['conflicting']} with "
                      f"conflicting images, last image {_at(row['last_arrival_at'])}")
    refused, old = row["refused_inputs"], row["out_of_date"]
    yield "jobs", _counts(row["jobs"], f"{refused} refused input{'s' * (refused != 1)}" * bool(refused), old["jobs"])
    yield "deliveries", _counts(row["deliveries"], "", old["deliveries"])
    yield "longest wait", f"job {age(row['oldest_job_waits_s'])}, delivery {age(row['oldest_delivery_waits_s'])}"
    if row["expired_leases"]:
        yield "not heard of", f"{row['expired_leases']} claims; the keeper frees them"
    for model in row["waiting_models"]:
        yield f"model {model['name']}", f"{model['jobs']} jobs wait for it, {age(model['oldest_waits_s'])}"
    for peer in row["peers"]:
        yield f"peer {peer['peer']}", (f"{peer['scheduled']} waiting, {peer['failed']} failed, "
                                       f"last sent {_at(peer['last_sent_at'])}")


def _room(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if row.get("deleted_24h"):
        yield "retention", f"{row['deleted_24h']} studies deleted in 24 h, {row['freed_gb_24h']} GB freed"
    for why, what in row.get("held", {}).items():
        yield "holds the disk", f"{what['studies']} studies {why}, {what['gb']} GB"
    if row.get("commitments_to_report"):
        yield "commitment", f"{row['commitments_to_report']} requests of senders to be answered"


def _counts(states: Mapping[str, int], refused: str, out_of_date: int) -> str:
    of_them = [part for part in (refused, f"{out_of_date} out of date" * bool(out_of_date)) if part]
    failed = f" ({', '.join(of_them)})" if of_them else ""
    return (f"{states['scheduled']} waiting, {states['in_progress']} in progress, {states['completed']} completed, "
            f"{states['failed']} failed{failed}, {states['canceled']} canceled")


def _at(moment: datetime | None) -> str:
    return NONE if moment is None else clock(moment)


def age(seconds: float | None) -> str:
    """Say a duration in its largest fitting unit, a dash for None."""
    if seconds is None:
        return NONE
    for unit, size_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size_s:
            return f"{seconds / size_s:.0f} {unit}"
    return f"{seconds:.0f} s"


def state_of_node(context: Context) -> NodeState:
    """Look at the ledger, the spool and the processes of this machine."""
    from dicomnode.ledger.engine import Ledger
    from dicomnode.run.loop import utc_now
    from dicomnode.run.state import look

    ledger = Ledger(context.config.database_url)
    try:
        seen = look(context.config, ledger, now=utc_now())
    finally:
        ledger.dispose()
    advice = tuple(problem.text for problem in seen.problems)
    row = {"health": str(seen.health), "roles": dict(seen.roles), **_spool(seen.spool), **(seen.work or {})}
    row["audit_waiting"] = {one.sink: one.waiting for one in seen.audit}
    row |= {
        "deleted_24h": seen.room.deleted,
        "freed_gb_24h": round(seen.room.freed_bytes / 1e9, 1),
        "commitments_to_report": seen.room.unanswered,
        "held": {why: {"studies": count, "gb": round(size / 1e9, 1)}
                 for why, (count, size) in (seen.room.held or {}).items()},
    }
    row["advice"] = list(advice)
    return NodeState(row=row, advice=advice, health=str(seen.health), exit_code=PROBE_CODES[seen.health])


def _spool(spool: state.SpoolState | None) -> dict[str, Any]:
    if spool is None:
        return {}
    return {
        "waiting_to_be_indexed": spool.arrivals,
        "in_quarantine": spool.quarantined,
        "open_associations": spool.open_associations,
        "free_gb": round(spool.free_bytes / 1e9, 1),
    }
