"""Peers that want rejection notes and refuse them: somebody must mend that, or reject the old results there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from dicomnode.domain.node import Peer
from dicomnode.ledger.untold import untold
from dicomnode.run.problem import Problem

SHOWN_FOR: Final = timedelta(days=7)
"""A note that was refused longer ago is history: the timeline of its study has it."""


def untold_peers(c: Connection, peers: Mapping[str, Peer], now: datetime) -> Iterator[Problem]:
    """Yield the peers that were to be told that results are superseded, and refused to hear it."""
    for name, studies in untold(c, since=now - SHOWN_FOR).items():
        if name in peers and peers[name].rejection_notes:
            yield Problem(
                what=f"{name} takes no rejection notes",
                why=f"of {studies} {'study' if studies == 1 else 'studies'} it keeps superseded results as valid",
                action=f"have {name} store Key Object Selections, then `dicomnode requeue --delivery ID` "
                f"(`dicomnode deliveries --peer {name}`); or reject them there and set rejection_notes = false for it",
            )
