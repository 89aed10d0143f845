"""Room on the disk and promises to senders, as ``status`` shows them: what was freed, what holds space, who waits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from dicomnode.domain.node import NodeConfig
from dicomnode.errors import LedgerUnavailable, SpoolError
from dicomnode.ledger import retention
from dicomnode.ledger.engine import Ledger
from dicomnode.run.custody import Request, open_requests
from dicomnode.run.problem import Problem
from dicomnode.spool import Spool

LATELY: Final = timedelta(hours=24)
UNANSWERED_S: Final = 900.0
"""A request for storage commitment is answered within seconds; one that waits this long tells of a sender that is away,
or of a sender role that does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What retention has done lately, and what the node still owes to senders.

    Parameters
    ----------
    deleted, freed_bytes:
        Studies deleted by retention within 24 h, and their bytes.
    held:
        Why studies stay → how many, and their bytes; filled only while less than ``free_gb_wanted`` is free.
    unanswered:
        Requests for storage commitment that were not answered yet.
    """

    deleted: int = 0
    freed_bytes: int = 0
    held: Mapping[str, tuple[int, int]] | None = None
    unanswered: int = 0


def look(config: NodeConfig, ledger: Ledger, *, now: datetime, problems: list[Problem]) -> Room:
    """Look at the disk and at the promises; where database or spool do not answer, others say so."""
    if not config.spool_dir.is_dir():
        return Room()
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    try:
        requests = open_requests(spool)
        short_bytes = int(config.retention.free_gb_wanted * 1e9) - spool.free_bytes()
        with ledger.read() as connection:
            deleted, freed_bytes = retention.freed(connection, since=now - LATELY)
            held = retention.held(connection) if short_bytes > 0 else None
    except (SpoolError, LedgerUnavailable):
        return Room()
    problems += _unanswered(requests, now, config.delivery.max_age_h)
    if held:
        problems.append(_short(held, short_bytes, config.retention.free_gb_wanted))
    return Room(deleted=deleted, freed_bytes=freed_bytes, held=held, unanswered=len(requests))


def _unanswered(requests: list[tuple[float, Request]], now: datetime, max_age_h: float) -> Iterator[Problem]:
    by_peer: dict[str, list[tuple[float, Request]]] = {}
    for kept_s, request in requests:
        by_peer.setdefault(request.peer, []).append((now.timestamp() - kept_s, request))
    for peer, waiting in by_peer.items():
        oldest_s, oldest = waiting[0]
        if oldest_s < UNANSWERED_S:
            continue
        yield Problem(
            what=f"{peer} does not hear what the node commits to",
            why=f"{len(waiting)} answers wait, the oldest for {oldest_s / 60:.0f} min: "
            + (oldest.reason or "nobody has told it yet: does a sender run?"),
            action=f"see that {peer} accepts this node's association at its host and port; it is tried for "
            f"{max_age_h:g} h, and keeps its images until it has heard",
        )


def _short(held: Mapping[str, tuple[int, int]], short_bytes: int, wanted_gb: float) -> Problem:
    said = ", ".join(f"{count} studies {why} ({size / 1e9:.1f} GB)" for why, (count, size) in held.items())
    return Problem(
        what="retention cannot keep the disk free",
        why=f"{short_bytes / 1e9:.1f} GB are missing to [retention] free_gb_wanted = {wanted_gb:g}; held: {said}",
        action="requeue or cancel what failed (`dicomnode deliveries --state failed`), mend the peer that results wait "
        "for, or add disk; what is not analysed and delivered is never deleted",
    )
