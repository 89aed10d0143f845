"""What ``status`` prints of a look at the node."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from dicomnode.cli.context import Context

if TYPE_CHECKING:
    from dicomnode.run import state

PROBE_CODES: Final = {"healthy": 0, "degraded": 1, "down": 3}
"""Exit codes of ``status --probe``."""


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
        lines += [
            f"  {key.replace('_', ' '):<26} {_short(value)}"
            for key, value in self.row.items()
            if key not in {"health", "advice", "stuck"}
        ]
        if self.advice:
            lines += ["", "to do:", *(f"  - {line}" for line in self.advice)]
        return "\n".join(lines)


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


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(_short(one) for one in value) or "none"
    return "–" if value is None else str(value)
