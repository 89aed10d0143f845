"""Is a study whole enough to be analysed? Told by when its images arrived, never by what they show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

OPEN_ASSOCIATION_QUIETS: Final = 5
"""An open association holds a study back for at most this many quiet periods after its last image."""
POLL_S: Final = 0.5
"""How soon to look again at what may end any moment: a backlog, an open association."""


class Arrivals(Protocol):
    """What is known of an open study; times are aware UTC."""

    @property
    def first_arrival_at(self) -> datetime:
        """When it was opened, or opened again."""

    @property
    def last_arrival_at(self) -> datetime:
        """When its newest image arrived."""

    @property
    def instances(self) -> int:
        """How many images are indexed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """Whether a study is complete, why, and in how many seconds to ask again (0 if it is)."""

    complete: bool
    because: str
    next_check_s: float = 0.0


def judge(
    study: Arrivals,
    *,
    quiet_s: float,
    max_wait_s: float,
    feeding_open: bool,
    backlog_older: bool,
    now: datetime,
    expected: int | None = None,
) -> Completion:
    """A study is complete when it is quiet, when the expected count is there, or when the hard cap has passed.

    Parameters
    ----------
    quiet_s:
        Seconds without a new image of this study, by arrival time.
    max_wait_s:
        The hard cap: seconds from the first image, whatever else still moves.
    feeding_open:
        Whether an association that has sent images of this study is still open.
    backlog_older:
        Whether arrivals that may belong to it, older than the end of its quiet period, are not indexed yet.
    expected:
        How many images the source says the study has; None if nobody was asked.
    """
    waited_s = max(0.0, (now - study.first_arrival_at).total_seconds())
    silent_s = max(0.0, (now - study.last_arrival_at).total_seconds())
    if waited_s >= max_wait_s:
        return Completion(complete=True, because=f"the hard cap of {max_wait_s:g} s has passed since the first image")
    if expected is not None and study.instances >= expected:
        return Completion(complete=True, because=f"all {expected} images that its source has are here")
    cap_s = max_wait_s - waited_s
    if silent_s < quiet_s:
        return _wait(f"the last image came {silent_s:.1f} s ago, the quiet period is {quiet_s:g} s",
                     min(quiet_s - silent_s, cap_s))
    if backlog_older:
        return _wait("older arrivals are not indexed yet", min(POLL_S, cap_s))
    held_s = OPEN_ASSOCIATION_QUIETS * quiet_s - silent_s
    if feeding_open and held_s > 0:
        return _wait("an association that feeds it is still open", min(POLL_S, held_s, cap_s))
    return Completion(complete=True, because=f"no image came for {silent_s:.1f} s")


def _wait(because: str, next_check_s: float) -> Completion:
    return Completion(complete=False, because=because, next_check_s=next_check_s)
