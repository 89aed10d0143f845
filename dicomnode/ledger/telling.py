"""Each event as a sentence for a person: whose it is, and what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from dicomnode.ledger import events

TAIL_CHARS: Final = 8
"""So many characters of a UID tell it from its neighbours; JSON and the log have it whole."""

Row = Mapping[str, Any]


def sentence(row: Row) -> str:
    """Say one row of the timeline; never empty, UIDs yes, patient data never.

    Parameters
    ----------
    row:
        ``kind``, ``text``, ``data``, ``job_id``, ``delivery_id``; ``route`` and ``job_kind`` of its job and ``peer`` of
        its delivery, None where it has none; ``result_kind`` of the object that its data names, None likewise.
    """
    composed = _SAID[row["kind"]](row) if row["kind"] in _SAID else ""
    happened = "; ".join(part for part in (composed, row["text"]) if part)
    return ": ".join(part for part in (_whose(row), happened or row["kind"].replace("_", " ")) if part)


def _whose(row: Row) -> str:
    if row["delivery_id"] is not None:
        return f"delivery {row['delivery_id']} to {row['peer']}"
    if row["job_id"] is not None:
        return f"job {row['job_id']}"
    return str(row["data"].get("route") or "")


def _reopened(row: Row) -> str:
    counts = [f"{row['data'][what]} {word}" for what, word in (
        ("new", "new"), ("demographics", "corrected"), ("conflict", "conflicting")) if row["data"].get(what)]
    return f"revision {row['data'].get('revision', '?')}: {', '.join(counts) or 'changed'} instance(s) came"


def _job_created(row: Row) -> str:
    revision = row["data"].get("revision")
    return f"{row['job_kind']} for route {row['route']}" + (f", revision {revision}" if revision else "")


def _claimed(row: Row) -> str:
    return f"attempt {row['data'].get('attempt', '?')}, taken by {row['data'].get('owner', '?')}"


def _job_completed(row: Row) -> str:
    data = row["data"]
    took, device = data.get("seconds"), data.get("device")
    seconds = sum(took.values()) if isinstance(took, dict) else 0.0
    where = f" in {seconds:.1f} s" if seconds else ""
    return f"{data.get('results', 0)} object(s) made{where}" + (f" on {device}" if device else "")


def _sent(row: Row) -> str:
    return f"{_object(row)} stored there, status {row['data'].get('status', '?')}"


def _object(row: Row) -> str:
    return f"{row['result_kind'] or 'object'} …{str(row['data'].get('sop_instance_uid', ''))[-TAIL_CHARS:]}"


def _asked(row: Row) -> str:
    return f"everything sent; storage commitment asked (…{str(row['data'].get('transaction_uid', ''))[-TAIL_CHARS:]})"


_SAID: Final[Mapping[str, Callable[[Row], str]]] = MappingProxyType({
    events.STUDY_OPENED: lambda _: "the first image came",
    events.STUDY_REOPENED: _reopened,
    "job_created": _job_created,
    "job_claimed": _claimed,
    "job_completed": _job_completed,
    "job_released": lambda _: "given back at a stop, no attempt spent",
    "job_requeued": lambda _: "put back into the queue by an operator",
    "delivery_created": lambda row: f"{row['data'].get('items', '?')} object(s) to send",
    "delivery_claimed": _claimed,
    "delivery_completed": lambda _: "nothing is left to send",
    "delivery_released": lambda _: "given back at a stop, no attempt spent",
    "delivery_requeued": lambda _: "put back into the queue by an operator",
    "delivery_to_be_resent": lambda _: "everything to be sent once more, ordered by an operator",
    "delivery_awaiting_commitment": _asked,
    "delivery_proved": lambda _: "the peer commits to everything that it took",
    events.ITEM_SENT: _sent,
    "own_output_returned": _object,
})
"""Event kind → what its data say; a text that was recorded with the event follows."""
