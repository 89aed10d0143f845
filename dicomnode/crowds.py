"""Refused callers: each refusal is told, a flood of them is counted, so that nobody fills the disk from outside."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

WINDOW_S: Final = 60.0
TOLD_IN_WINDOW: Final = 20
"""So many different refusals of one address are told in one window; more, and repeated ones, are counted."""
MOST_ADDRESSES: Final = 10_000


@dataclass(slots=True)
class _Caller:
    began_s: float
    told: set[str] = field(default_factory=set)
    more: int = 0


class Callers:
    """What was told of each address lately; for several threads."""

    def __init__(self) -> None:
        self._callers: dict[str, _Caller] = {}
        self._lock = threading.Lock()

    def hear(self, address: str, reason: str, now_s: float) -> str | None:
        """Return what is to be told of this refusal, None where it is only counted.

        Parameters
        ----------
        now_s:
            Of a clock that never goes back.
        """
        with self._lock:
            caller = self._callers.get(address)
            more = 0
            if caller is None or now_s - caller.began_s >= WINDOW_S:
                more = caller.more if caller else 0
                self._make_room(now_s)
                caller = self._callers[address] = _Caller(now_s)
            if reason in caller.told or len(caller.told) >= TOLD_IN_WINDOW:
                caller.more += 1
                return None
            caller.told.add(reason)
        return f"{reason}; {counted(more)}" if more else reason

    def untold(self) -> Iterator[tuple[str, str]]:
        """Yield address and words for what was counted and not told; it is told then."""
        with self._lock:
            counts = [(address, caller.more) for address, caller in self._callers.items() if caller.more]
            self._callers.clear()
        for address, more in counts:
            yield address, counted(more)

    def _make_room(self, now_s: float) -> None:
        if len(self._callers) >= MOST_ADDRESSES:
            quiet = [name for name, one in self._callers.items() if now_s - one.began_s >= WINDOW_S and not one.more]
            for name in quiet or list(self._callers)[: MOST_ADDRESSES // 2]:
                del self._callers[name]


def counted(more: int) -> str:
    """Return the sentence for refusals that were not told one by one."""
    return f"{more} more refusals of this address had no message of their own"
