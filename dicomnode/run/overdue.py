"""Which jobs and deliveries need a person, and which only need time.

A study that cannot be analysed is a result, not a malfunction: its outcome says why, and nothing is asked of
anybody. Work that fails for another reason, or that nobody takes, is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from dicomnode.domain.work import State
from dicomnode.ledger import census
from dicomnode.run.problem import Problem

UNTAKEN_S: Final = 300.0
"""Work that has been due for so long while nobody works on any is not taken."""
BACKLOG_S: Final = 3600.0
"""Work that has been due for so long waits too long, however busy the workers are."""
COMMITMENT_S: Final = 7200.0
"""A PACS may take its time to answer a storage commitment request; later than this, somebody should ask it."""
LOOKED_AT: Final = 100
"""Failed or waiting rows that are read to find their reasons."""


def overdue(c: Connection, work: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong with the work of which ``work`` (``census.status``) holds the counts."""
    yield from _failed_jobs(c)
    yield from _waiting_jobs(work)
    for peer in work["peers"]:
        yield from _failed_deliveries(c, peer)
        yield from _waiting_deliveries(c, peer)


def _failed_jobs(c: Connection) -> Iterator[Problem]:
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in census.jobs(c, mendable=True, limit=LOOKED_AT):
        groups.setdefault((row["route"], row["reason"].partition(":")[0]), []).append(row)
    for (route, _), rows in groups.items():
        numbers = ", ".join(str(row["job_id"]) for row in rows[:5]) + (" and more" if len(rows) > 5 else "")  # noqa: PLR2004
        yield Problem(
            what=f"{_count(len(rows), 'job')} of route {route} failed",
            why=rows[0]["reason"],
            action=f"mend the cause, then `dicomnode requeue --failed --route {route}` (ID {numbers}), or "
            f"`dicomnode cancel {rows[0]['job_id']}` to give it up",
        )


def _waiting_jobs(work: Mapping[str, Any]) -> Iterator[Problem]:
    waits_s = work["oldest_job_waits_s"] or 0.0
    running = work["jobs"][State.IN_PROGRESS]
    if waits_s < (BACKLOG_S if running else UNTAKEN_S):
        return
    models = [one["name"] for one in work["waiting_models"] if one["oldest_waits_s"] >= UNTAKEN_S]
    named = f", for model {', '.join(models)}" if models else ""
    waiting = _count(work["jobs"][State.SCHEDULED], "job")
    if running:
        yield Problem(
            what="the workers do not keep up",
            why=f"{waiting}, the oldest for {_minutes(waits_s)}{named}; {running} in progress",
            action="start more workers ([worker] processes), or a faster device",
        )
    else:
        yield Problem(
            what="no worker takes the waiting jobs",
            why=f"{waiting}, the oldest for {_minutes(waits_s)}{named}",
            action="see that a worker runs and that `dicomnode models verify` passes for the model",
        )


def _failed_deliveries(c: Connection, peer: Mapping[str, Any]) -> Iterator[Problem]:
    rows = census.deliveries(c, mendable=True, peer=peer["peer"], limit=1) if peer["failed"] else []
    if not rows:
        return
    yield Problem(
        what=f"{_count(peer['failed'], 'delivery', 'deliveries')} to {peer['peer']} failed",
        why=_first_reason(rows, "no reason was given"),
        action=f"mend the cause, then `dicomnode requeue --failed --peer {peer['peer']}`, or "
        f"`dicomnode cancel --delivery {rows[0]['delivery_id']}` to give it up",
    )


def _waiting_deliveries(c: Connection, peer: Mapping[str, Any]) -> Iterator[Problem]:
    waits_s = peer["oldest_waits_s"] or 0.0
    if waits_s < UNTAKEN_S:
        return
    rows = census.deliveries(c, state=State.SCHEDULED, peer=peer["peer"], limit=LOOKED_AT)
    unsent = [row for row in rows if row["phase"] == "store"]
    if unsent:
        yield Problem(
            what=f"results wait for {peer['peer']}",
            why=f"{_count(peer['scheduled'], 'delivery', 'deliveries')}, the oldest for {_minutes(waits_s)}: "
            + _first_reason(unsent, "nobody has tried yet"),
            action=f"see that {peer['peer']} answers (`dicomnode check`); it is tried again by itself{_when(peer)}",
        )
    elif rows and waits_s > COMMITMENT_S:
        yield Problem(
            what=f"{peer['peer']} does not commit to what it received",
            why=f"{_count(len(rows), 'delivery', 'deliveries')} sent, the oldest {_minutes(waits_s)} ago",
            action=f"see that {peer['peer']} can open an association to this node; it is asked again by itself",
        )


def _when(peer: Mapping[str, Any]) -> str:
    again = peer["next_try_at"]
    return f" at {again:%H:%M:%S} UTC, or now by `dicomnode requeue --failed --peer {peer['peer']}`" if again else ""


def _first_reason(rows: Sequence[Mapping[str, Any]], otherwise: str) -> str:
    return next((str(row["reason"]) for row in rows if row["reason"]), otherwise)


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min"
