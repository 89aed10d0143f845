"""What an attribute of a series must say: words and numbers, as route, model input and limits declare them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What an attribute must say where a list of values is not enough; everything that is given must hold.

    Parameters
    ----------
    any_of:
        One of its values is one of these.
    contains, lacks:
        One of these texts stands in it; none of these stands in it. Letter case aside.
    min, max:
        Each of its values is a number within these bounds, inclusive.
    present:
        It has a value, or it has none.
    or_absent:
        The condition holds also where the attribute has no value.
    """

    any_of: tuple[str, ...] = ()
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    min: float | None = None
    max: float | None = None
    present: bool | None = None
    or_absent: bool = False

    def __post_init__(self) -> None:
        """Refuse what asks for nothing, or for what cannot be."""
        asks = self.any_of or self.contains or self.lacks or self.min is not None or self.max is not None
        if not asks and self.present is None:
            msg = "a condition asks for nothing: give any_of, contains, lacks, min, max or present"
            raise ValueError(msg)
        if self.min is not None and self.max is not None and self.min > self.max:
            msg = f"min = {self.min:g} lies above max = {self.max:g}: nothing is within"
            raise ValueError(msg)
        if self.present is False and (asks or self.or_absent):
            msg = "present = false stands alone: an attribute without a value says nothing else"
            raise ValueError(msg)

    def __str__(self) -> str:
        """Show the condition as a person reads it."""
        if self.present is False:
            return "absent"
        asked = [" or ".join(self.any_of), self._bounds(), *(["present"] if self.present else [])]
        asked += [f"text with {' or '.join(self.contains)}"] if self.contains else []
        asked += [f"text without {', '.join(self.lacks)}"] if self.lacks else []
        return " and ".join(part for part in asked if part) + (", or absent" if self.or_absent else "")

    def _bounds(self) -> str:
        if self.min is not None and self.max is not None:
            return f"{self.min:g} to {self.max:g}"
        return f"at least {self.min:g}" if self.min is not None else f"at most {self.max:g}" \
            if self.max is not None else ""


Wanted = tuple[str, ...] | Condition
"""Values of which the attribute has one, or a condition."""
When = Mapping[str, Wanted]
"""DICOM keyword → what it must say."""
Wish = str | float | tuple[str, ...]
"""What scores higher: a word such as ``thinnest``, a text, a number to be near to, or texts, the best first."""


def wording(wanted: Wanted) -> str:
    """Say what is wanted of an attribute."""
    return str(wanted) if isinstance(wanted, Condition) else " or ".join(wanted)
