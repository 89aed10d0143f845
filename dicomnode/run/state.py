"""One look at the node: the ledger's census, the spool, the living roles, and what a person should do about each.

The command ``status``, the status page and ``/health`` say the same, because they ask here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Final

from dicomnode.audit import Backlog
from dicomnode.domain.node import NodeConfig, Peer
from dicomnode.errors import DicomNodeError, LedgerUnavailable, SpoolError
from dicomnode.ledger import census
from dicomnode.ledger.engine import Ledger
from dicomnode.run import auditing, certificates, room
from dicomnode.run.overdue import overdue
from dicomnode.run.presence import living
from dicomnode.run.problem import Problem
from dicomnode.run.room import Room
from dicomnode.run.untold import untold_peers
from dicomnode.spool import Spool

NEEDED: Final = ("receiver", "keeper", "worker", "sender")
"""Without all of these, no study goes from sender to receiver."""

KEEPER_BEHIND_S: Final = 120.0
"""An image is indexed within seconds of its arrival; one that waits this long tells of a keeper that is behind."""

AUDIT_BEHIND_S: Final = 300.0
"""An audit message is forwarded within a second; one that waits this long tells of a sink that is away."""


class Health(StrEnum):
    """How the node fares."""

    HEALTHY = "healthy"  # nothing to do
    DEGRADED = "degraded"  # it works, and somebody should look
    DOWN = "down"  # no study can pass: the database is away, or no role runs


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolState:
    """What lies on disk and is not in the database.

    Parameters
    ----------
    oldest_arrival_s:
        Age of the oldest image that waits to be indexed; None where none waits.
    """

    arrivals: int
    oldest_arrival_s: float | None
    quarantined: int
    open_associations: int
    free_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """What was seen, and what it means.

    Parameters
    ----------
    roles:
        Living processes of this machine by role.
    spool:
        None where the spool cannot be read, or was never made.
    work:
        ``ledger.census.status``; None where the database does not answer.
    audit:
        What waits for each sink of the audit trail; empty where nothing is audited, or the disk does not say.
    room:
        What retention freed, what holds space, and which senders wait for the node's commitment.
    """

    at: datetime
    health: Health
    problems: tuple[Problem, ...]
    roles: Mapping[str, int]
    spool: SpoolState | None
    work: Mapping[str, Any] | None
    audit: tuple[Backlog, ...] = ()
    room: Room = field(default_factory=Room)


def look(config: NodeConfig, ledger: Ledger, *, now: datetime) -> NodeState:
    """Look at the processes, the spool and the ledger, and judge; raises nothing of ours: it becomes a problem."""
    problems: list[Problem] = []
    roles = living(config.node.data_dir / "run")
    problems += _missing_roles(roles)
    problems += certificates.problems(config.tls, now)
    spool = _spool(config, now, problems)
    work = _work(ledger, config.peers, now, problems)
    audit = _audit(config, now, problems)
    kept = room.look(config, ledger, now=now, problems=problems) if work is not None else Room()
    if spool is not None:
        problems += _on_disk(config, spool)
    nobody = not any(roles.get(role) for role in NEEDED)
    down = work is None or nobody
    health = Health.DOWN if down else Health.DEGRADED if problems else Health.HEALTHY
    return NodeState(
        at=now, health=health, problems=tuple(problems), roles=MappingProxyType(roles), spool=spool, work=work,
        audit=audit, room=kept,
    )


def _audit(config: NodeConfig, now: datetime, problems: list[Problem]) -> tuple[Backlog, ...]:
    try:
        waiting = auditing.backlog(config, now)
    except OSError as error:
        problems.append(Problem(what="the audit trail cannot be read", why=str(error), action="check the disk"))
        return ()
    problems += [
        Problem(
            what=f"audit messages wait for their {one.sink}",
            why=f"{one.waiting} of them, the oldest for {one.oldest_s / 60:.0f} min; none is lost",
            action=f"see the log event audit_not_forwarded, and [audit] {one.sink}",
        )
        for one in waiting
        if one.oldest_s is not None and one.oldest_s > AUDIT_BEHIND_S
    ]
    return waiting


def _missing_roles(roles: Mapping[str, int]) -> Iterator[Problem]:
    missing = [role for role in NEEDED if not roles.get(role)]
    if missing:
        yield Problem(
            what="roles are missing",
            why=f"not running on this machine: {', '.join(missing)}",
            action="start `dicomnode serve` or that role",
        )


def _spool(config: NodeConfig, now: datetime, problems: list[Problem]) -> SpoolState | None:
    if not config.spool_dir.is_dir():
        return None  # a node that never started
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    try:
        if spool.is_read_only():
            problems.append(_read_only(config))
            return None
        arrivals = list(spool.arrivals())
        return SpoolState(
            arrivals=len(arrivals),
            oldest_arrival_s=max(0.0, (now - arrivals[0].arrived_at).total_seconds()) if arrivals else None,
            quarantined=spool.quarantined(),
            open_associations=len(spool.open_associations()),
            free_bytes=spool.free_bytes(),
        )
    except SpoolError as error:
        problems.append(Problem(what="the spool cannot be read", why=error.reason, action="check the disk"))
        return None


def _read_only(config: NodeConfig) -> Problem:
    return Problem(
        what="the spool is read-only, associations are rejected until it is not",
        why=f"the file system of {config.spool_dir} is mounted read-only: the kernel does that when a disk fails",
        action="look at the kernel's log (`dmesg`), mend the disk and mount it writable; no restart is needed",
    )


def _work(
    ledger: Ledger, peers: Mapping[str, Peer], now: datetime, problems: list[Problem]
) -> Mapping[str, Any] | None:
    try:
        with ledger.read() as connection:
            work = census.status(connection, now=now)
            problems += overdue(connection, work)
            problems += untold_peers(connection, peers, now)
    except LedgerUnavailable as error:
        action = "bring the database back; what arrives meanwhile is kept on disk"
        problems.insert(0, Problem(what="the database does not answer", why=error.reason, action=action))
        return None
    except DicomNodeError as error:
        problems.insert(0, Problem(what="the ledger cannot be read", why=error.reason, action="run `dicomnode check`"))
        return None
    else:
        return work


def _on_disk(config: NodeConfig, spool: SpoolState) -> Iterator[Problem]:
    if spool.free_bytes < config.receive.min_free_bytes:
        yield Problem(
            what="images are being refused with 0xA700",
            why=f"{spool.free_bytes / 1e9:.1f} GB free, [receive] min_free_gb = {config.receive.min_free_gb:g}",
            action="free disk space, or lower [receive] min_free_gb",
        )
    if spool.quarantined:
        yield Problem(
            what="images in quarantine",
            why=f"{spool.quarantined} could not be indexed",
            action=f"look at {config.spool_dir / 'quarantine'}: each file has its reason beside it",
        )
    if spool.oldest_arrival_s is not None and spool.oldest_arrival_s > KEEPER_BEHIND_S:
        yield Problem(
            what="images wait to be indexed",
            why=f"{spool.arrivals} of them, the oldest for {spool.oldest_arrival_s:.0f} s",
            action="see whether the keeper runs, and its log",
        )
