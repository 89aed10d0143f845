"""One thing that needs a person: what is wrong, why, and what to do next."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that needs a person.

    Parameters
    ----------
    what, why:
        What is wrong, and the reason met.
    action:
        What to do next.
    """

    what: str
    why: str
    action: str

    @property
    def text(self) -> str:
        """One line."""
        return f"{self.what}: {self.why}; {self.action}"
