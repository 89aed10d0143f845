"""How figures and states read for a person: ages, sizes, moments, and the tone of a word."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final

from markupsafe import Markup, escape

MINUTE_S: Final = 60
HOUR_S: Final = 3600
DAY_S: Final = 86400

TONES: Final[Mapping[str, str]] = MappingProxyType({
    "healthy": "good", "degraded": "warn", "down": "bad",
    "scheduled": "wait", "in progress": "busy", "completed": "good", "failed": "bad", "canceled": "quiet",
    "receiving": "busy", "waiting": "wait", "analysing": "busy", "delivering": "busy", "analysed": "good",
    "not applicable": "quiet", "not analysed": "bad", "undelivered": "bad",
})
"""Word → class of the style sheet. The word stands beside the colour: nobody needs to tell red from green."""


def age(seconds: float | None) -> str:
    """Say a duration in at most two units; a dash for None."""
    if seconds is None:
        return "–"
    whole = max(0, int(seconds))
    if whole < MINUTE_S:
        return f"{whole} s"
    if whole < HOUR_S:
        return _two(whole, MINUTE_S, "min", 1, "s") if whole < 10 * MINUTE_S else f"{whole // MINUTE_S} min"
    if whole < DAY_S:
        return _two(whole, HOUR_S, "h", MINUTE_S, "min")
    return _two(whole, DAY_S, "d", HOUR_S, "h")


def _two(seconds: int, big_s: int, big: str, small_s: int, small: str) -> str:
    rest = seconds % big_s // small_s
    return f"{seconds // big_s} {big}" + (f" {rest} {small}" if rest else "")


def since(moment: datetime | None, now: datetime) -> str:
    """Say how long ago ``moment`` was."""
    return "–" if moment is None else f"{age((now - moment).total_seconds())} ago"


def ahead(moment: datetime, now: datetime) -> str:
    """Say when something is due: ``now``, or ``in 3 min``."""
    seconds = (moment - now).total_seconds()
    return "now" if seconds < 1 else f"in {age(seconds)}"


def clock(moment: datetime | None) -> str:
    """Write a moment in the time zone of the node's machine."""
    return "–" if moment is None else moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def zone(moment: datetime) -> str:
    """Name the time zone that ``clock`` writes."""
    return moment.astimezone().strftime("%Z")


def iso(moment: datetime) -> str:
    """Write a moment for the ``datetime`` attribute of HTML."""
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def gigabytes(count_bytes: float) -> str:
    """Write bytes as GB (10⁹)."""
    return f"{count_bytes / 1e9:.1f} GB"


def plain(word: object) -> str:
    """Write a name of the program as words."""
    return str(word).replace("_", " ")


def marked(text: str) -> Markup:
    """Escape, and set what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704


def tone(word: object) -> str:
    """Return the style of a health, a state or an outcome; ``quiet`` for a word that is not in the table."""
    return TONES.get(plain(word).partition(":")[0], "quiet")


FILTERS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType({
    "age": age, "since": since, "ahead": ahead, "clock": clock, "zone": zone, "iso": iso, "gigabytes": gigabytes,
    "marked": marked, "plain": plain, "tone": tone,
})
"""The filters of the templates."""
