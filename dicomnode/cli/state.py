"""What ``status`` shows: the ledger's census, the spool, the living roles, and what to do about each."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

from dicomnode.cli.context import Context
from dicomnode.errors import DicomNodeError

HEALTHY, DEGRADED, DOWN = ("healthy", 0), ("degraded", 1), ("down", 3)
NEEDED = ("receiver", "keeper", "worker", "sender")


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
    from dicomnode.run.presence import living
    from dicomnode.spool import Spool

    config = context.config
    roles = living(config.node.data_dir / "run")
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    row: dict[str, Any] = {"roles": roles}
    advice: list[str] = []
    if config.spool_dir.is_dir():
        row |= {
            "waiting_to_be_indexed": sum(1 for _ in spool.arrivals()),
            "in_quarantine": spool.quarantined(),
            "open_associations": len(spool.open_associations()),
        }
        row["free_gb"] = round(shutil.disk_usage(config.spool_dir).free / 1e9, 1)
    health = _judge(context, row, advice, roles)
    row = {"health": health[0], **row, "advice": advice}
    return NodeState(row=row, advice=tuple(advice), health=health[0], exit_code=health[1])


def _judge(context: Context, row: dict[str, Any], advice: list[str], roles: dict[str, int]) -> tuple[str, int]:
    from dicomnode.ledger import census
    from dicomnode.run.loop import utc_now

    try:
        with context.ledger.read() as connection:
            row |= census.status(connection, now=utc_now())
    except DicomNodeError as error:
        advice.append(f"the database does not answer: {error.reason}")
        return DOWN
    config = context.config
    missing = [role for role in NEEDED if not roles.get(role)]
    if missing:
        advice.append(f"not running on this machine: {', '.join(missing)}; start `dicomnode serve` or that role")
    if row.get("in_quarantine"):
        advice.append(f"look at {config.spool_dir / 'quarantine'}: each file has its reason beside it")
    if row.get("free_gb", config.receive.min_free_gb) < config.receive.min_free_gb:
        advice.append("images are being refused with 0xA700: free disk space or lower [receive] min_free_gb")
    advice += [f"{item['what']} {item['id']}: {item['why']}; {item['do']}" for item in row.get("stuck", [])]
    if len(missing) == len(NEEDED):
        return DOWN
    return DEGRADED if advice else HEALTHY


def _short(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {count}" for key, count in value.items()) or "none"
    return str(value)
