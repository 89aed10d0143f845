"""Rows become HTML: complete pages without script, image or font from anywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dicomnode import __version__
from dicomnode.domain.node import NodeConfig
from dicomnode.domain.work import State
from dicomnode.run.state import NodeState
from dicomnode.web.words import FILTERS

Row = Mapping[str, Any]

TEMPLATES: Final = Path(__file__).parent / "templates"
STYLE: Final = (TEMPLATES / "style.css").read_text(encoding="utf-8")
REFRESH_S: Final = 10
AWAY: Final = "What arrives meanwhile is kept on disk, and indexed when the database is back."

UNDER_WAY: Final = ("receiving", "waiting", "analysing", "delivering")
"""Outcomes that still change: their page refreshes itself."""

MANY: Final = {
    "open association": "open associations", "image to index": "images to index", "job waiting": "jobs waiting",
    "delivery waiting": "deliveries waiting",
}
"""What waits at a station: one, and any other number."""

FACTS: Final = (
    "route", "peer", "status", "attempt", "owner", "device", "peak_mb", "results", "instances", "revision", "items",
    "committed", "failed", "sop_instance_uid", "association", "file", "notes",
)
"""Keys of an event's data that the timeline shows; another key is not shown, whatever it carries."""

_pages = Environment(
    loader=FileSystemLoader(TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
    lstrip_blocks=True, auto_reload=False,
)
_pages.filters.update(FILTERS)
_pages.globals.update(style=STYLE, version=__version__)


def status_page(
    config: NodeConfig, state: NodeState, *, studies: Sequence[Row], deliveries: Sequence[Row]
) -> str:
    """Return the first page.

    Parameters
    ----------
    studies, deliveries:
        Rows of ``ledger.census``, newest first.
    """
    return _pages.get_template("status.html").render(
        config=config, state=state, now=state.at, stations=stations(state), studies=studies, deliveries=deliveries,
        refresh_s=REFRESH_S, away=AWAY, title=f"{state.health} – {config.node.ae_title}", mood=str(state.health),
    )


def study_page(config: NodeConfig, about: Row, timeline: Sequence[Row], *, now: datetime) -> str:
    """Return the page of one study: what it is, its jobs and deliveries, and all that happened, in order."""
    changes = about["outcome"] in UNDER_WAY
    return _pages.get_template("study.html").render(
        config=config, about=about, now=now, events=[_event(row, timeline[0]["at"]) for row in timeline],
        refresh_s=REFRESH_S if changes else None, title=f"study – {config.node.ae_title}",
        mood=about["outcome"],
    )


def message_page(config: NodeConfig, heading: str, text: str, *, reason: str = "") -> str:
    """Return a page of one message."""
    return _pages.get_template("message.html").render(
        config=config, heading=heading, text=text, reason=reason, refresh_s=REFRESH_S if reason else None,
        title=f"{heading} – {config.node.ae_title}", mood="down" if reason else "",
    )


def stations(state: NodeState) -> list[dict[str, Any]]:
    """Return the four stations of the pipeline in the order in which a study passes them.

    Keys: ``verb``, ``role``, ``living`` (processes), ``waiting`` (count, None where it cannot be known), ``oldest_s``,
    ``of`` (what waits), ``facts`` (pairs of number and word; a word ``failed`` stands out).
    """
    spool, work = state.spool, state.work
    jobs = work["jobs"] if work else None
    sent = work["deliveries"] if work else None
    rows = [
        ("Receive", "receiver", spool and spool.open_associations, None, "open association", []),
        ("Index", "keeper", spool and spool.arrivals, spool and spool.oldest_arrival_s, "image to index",
         [(work["studies_open"], "still arriving")] if work else []),
        ("Analyse", "worker", jobs and jobs[State.SCHEDULED], work and work["oldest_job_waits_s"], "job waiting",
         _progress(jobs)),
        ("Deliver", "sender", sent and sent[State.SCHEDULED], work and work["oldest_delivery_waits_s"],
         "delivery waiting", _progress(sent)),
    ]
    return [
        {"verb": verb, "role": role, "living": state.roles.get(role, 0), "waiting": waiting, "oldest_s": oldest_s,
         "of": of if waiting == 1 else MANY[of], "facts": facts}
        for verb, role, waiting, oldest_s, of, facts in rows
    ]


def _progress(counts: Mapping[str, int] | None) -> list[tuple[int, str]]:
    if counts is None:
        return []
    return [(counts[state], state.value.replace("_", " ")) for state in (
        State.IN_PROGRESS, State.COMPLETED, State.FAILED)]


def _event(row: Row, began_at: datetime) -> dict[str, Any]:
    data: Mapping[str, Any] = row["data"] or {}
    seconds = data.get("seconds")
    return {
        "at": row["at"],
        "after_s": (row["at"] - began_at).total_seconds(),
        "kind": row["kind"],
        "text": row["text"],
        "work": _work(row),
        "facts": [(key, _fact(data[key])) for key in FACTS if data.get(key) not in (None, "", [])],
        "stages": sorted(seconds.items(), key=lambda item: -item[1]) if isinstance(seconds, dict) else [],
    }


def _work(row: Row) -> str:
    if row["delivery_id"] is not None:
        return f"delivery {row['delivery_id']}"
    return "" if row["job_id"] is None else f"job {row['job_id']}"


def _fact(value: object) -> str:
    return "; ".join(str(one) for one in value) if isinstance(value, list) else str(value)
