"""One state machine for jobs and deliveries; names from UPS (PS3.4 CC.1.1), plus ``failed``."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class State(StrEnum):
    """Where a piece of work stands."""

    SCHEDULED = "scheduled"  # waits for run_after and a free hand
    IN_PROGRESS = "in_progress"  # claimed: token and lease are set
    COMPLETED = "completed"  # done, and its effects are committed with it
    FAILED = "failed"  # will not be tried again without an operator
    CANCELED = "canceled"  # an operator or a successor ended it


class Move(StrEnum):
    """Who moves work from one state to another, and when."""

    CLAIM = "claim"  # a worker or sender, when run_after has come
    RENEW = "renew"  # the claimant, every lease_s / 3
    COMPLETE = "complete"  # the claimant, in the transaction of its effects
    RETRY = "retry"  # the claimant, verdict RETRY and budget left
    FAIL = "fail"  # the claimant, verdict FAIL or budget spent
    RELEASE = "release"  # the claimant at a graceful stop; the attempt is given back
    RESCUE = "rescue"  # the keeper, lease expired, budget left
    BURY = "bury"  # the keeper, lease expired, budget spent
    AWAIT = "await"  # the sender: objects sent, storage commitment asked
    PROVED = "proved"  # the keeper, from N-EVENT-REPORT: all committed
    DISPROVED = "disproved"  # the keeper, from N-EVENT-REPORT: some failed, and age is left
    REJECT = "reject"  # the keeper, from N-EVENT-REPORT: some failed, and the budget of age is spent
    SUPERSEDE = "supersede"  # the keeper, in the successor's transaction
    CANCEL = "cancel"  # an operator; what failed is given up
    REQUEUE = "requeue"  # an operator
    RESEND = "resend"  # an operator, deliveries only: the peer lost what it took; the same bytes once more


_BOTH: Final = frozenset({State.SCHEDULED, State.IN_PROGRESS})
_RUNNING: Final = frozenset({State.IN_PROGRESS})

TRANSITIONS: Final[Mapping[Move, tuple[frozenset[State], State]]] = MappingProxyType({
    Move.CLAIM: (frozenset({State.SCHEDULED}), State.IN_PROGRESS),
    Move.RENEW: (_RUNNING, State.IN_PROGRESS),
    Move.COMPLETE: (_RUNNING, State.COMPLETED),
    Move.RETRY: (_RUNNING, State.SCHEDULED),
    Move.FAIL: (_RUNNING, State.FAILED),
    Move.RELEASE: (_RUNNING, State.SCHEDULED),
    Move.RESCUE: (_RUNNING, State.SCHEDULED),
    Move.BURY: (_RUNNING, State.FAILED),
    Move.AWAIT: (_RUNNING, State.SCHEDULED),
    Move.PROVED: (_BOTH, State.COMPLETED),
    Move.DISPROVED: (_BOTH, State.SCHEDULED),
    Move.REJECT: (_BOTH, State.FAILED),
    Move.SUPERSEDE: (_BOTH, State.CANCELED),
    Move.CANCEL: (_BOTH | {State.FAILED}, State.CANCELED),
    Move.REQUEUE: (frozenset({State.FAILED, State.CANCELED}), State.SCHEDULED),
    Move.RESEND: (frozenset({State.COMPLETED}), State.SCHEDULED),
})
"""Move → (states it may start from, state it ends in). A pair that is not here cannot happen."""

JITTER_FRACTION: Final = 0.2
"""Backoff varies by ± this fraction, so that many deliveries do not return in one instant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Exponential waiting: ``first_s``, doubled each time, never over ``most_s``."""

    first_s: float
    most_s: float

    def after(self, attempt: int, now: datetime, *, chance: random.Random | None = None) -> datetime:
        """Return when to try again after ``attempt`` tries (1 = the first) have failed."""
        wait_s = min(self.most_s, self.first_s * 2.0 ** max(0, min(attempt, 40) - 1))
        jitter = (chance or random).uniform(1 - JITTER_FRACTION, 1 + JITTER_FRACTION)
        return now + timedelta(seconds=wait_s * jitter)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What a claimant holds: renew and complete work only with the token that is in the row."""

    work_id: int
    token: str
    attempt: int
    lease_until: datetime
