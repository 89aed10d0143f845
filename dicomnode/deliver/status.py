"""What a peer's answer means for a delivery: the standard's tables, each row with its clause."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from dicomnode.errors import (
    AssociationRejectedPermanent,
    AssociationRejectedTransient,
    DeliveryError,
    PeerBusy,
    PeerRefused,
    PeerUnreachable,
)


class Outcome(Enum):
    """What a DIMSE status means for the object that was sent."""

    STORED = "stored"  # it is there; a warning is noted
    BUSY = "busy"  # not now: back-pressure
    NOT_THIS_FORM = "not this form"  # another form of the same result may be taken
    REFUSED = "refused"  # nothing that we could send instead would help


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusRule:
    """A range of DIMSE statuses, first to last, with what it means and where that is written."""

    first: int
    last: int
    outcome: Outcome
    meaning: str
    clause: str


def _rule(first: int, last: int, outcome: Outcome, meaning: str, clause: str) -> StatusRule:
    return StatusRule(first=first, last=last, outcome=outcome, meaning=meaning, clause=clause)


GENERAL_FAILURES: Final = {
    0x0105: "no such attribute",
    0x0106: "invalid attribute value",
    0x0110: "processing failure",
    0x0112: "no such SOP instance",
    0x0113: "no such event type",
    0x0114: "no such argument",
    0x0115: "invalid argument value",
    0x0117: "invalid SOP instance",
    0x0118: "no such SOP class",
    0x0119: "class-instance conflict",
    0x0120: "missing attribute",
    0x0121: "missing attribute value",
    0x0123: "no such action",
    0x0124: "not authorized",
    0x0210: "duplicate invocation",
    0x0211: "unrecognized operation",
    0x0212: "mistyped argument",
}
"""Failures that sending again cannot heal (PS3.7 C.5)."""

STATUS_RULES: Final = (
    _rule(0x0000, 0x0000, Outcome.STORED, "success", "PS3.7 C.1"),
    _rule(0x0001, 0x0001, Outcome.STORED, "warning", "PS3.7 C.4"),
    _rule(0x0107, 0x0107, Outcome.STORED, "warning: attribute list error", "PS3.7 C.4"),
    _rule(0x0111, 0x0111, Outcome.STORED, "the instance is there already", "PS3.7 C.5"),
    _rule(0x0116, 0x0116, Outcome.STORED, "warning: attribute value out of range", "PS3.7 C.4"),
    _rule(0xB000, 0xB000, Outcome.STORED, "warning: coercion of data elements", "PS3.4 Table B.2-1"),
    _rule(0xB006, 0xB006, Outcome.STORED, "warning: elements discarded", "PS3.4 Table B.2-1"),
    _rule(0xB007, 0xB007, Outcome.STORED, "warning: data set does not match SOP class", "PS3.4 Table B.2-1"),
    _rule(0xB001, 0xBFFF, Outcome.STORED, "warning", "PS3.7 C.4"),
    _rule(0xA700, 0xA7FF, Outcome.BUSY, "out of resources", "PS3.4 Table B.2-1"),
    _rule(0x0213, 0x0213, Outcome.BUSY, "resource limitation", "PS3.7 C.5"),
    _rule(0x0122, 0x0122, Outcome.NOT_THIS_FORM, "SOP class not supported", "PS3.7 C.5"),
    _rule(0xA900, 0xA9FF, Outcome.NOT_THIS_FORM, "data set does not match SOP class", "PS3.4 Table B.2-1"),
    _rule(0xC000, 0xCFFF, Outcome.NOT_THIS_FORM, "cannot understand", "PS3.4 Table B.2-1"),
    *(_rule(code, code, Outcome.REFUSED, meaning, "PS3.7 C.5") for code, meaning in GENERAL_FAILURES.items()),
)
"""The first rule that holds a status counts."""

UNKNOWN_STATUS: Final = _rule(0x0000, 0xFFFF, Outcome.REFUSED, "a status of no table", "PS3.7 Annex C")

REJECT_REASONS: Final = {
    (1, 1): "no reason given",
    (1, 2): "application context name not supported",
    (1, 3): "calling AE title not recognized",
    (1, 7): "called AE title not recognized",
    (2, 1): "no reason given",
    (2, 2): "protocol version not supported",
    (3, 1): "temporary congestion",
    (3, 2): "local limit exceeded",
}
"""A-ASSOCIATE-RJ: (source, reason) → meaning (PS3.8 Table 9-21)."""

REJECT_SOURCES: Final = {1: "service user", 2: "service provider, ACSE", 3: "service provider, presentation"}
PASSING_SOURCE: Final = 3
"""Congestion and limits pass, also where a peer calls them permanent."""
REJECTED_PERMANENT: Final = 1

ABORT_SOURCES: Final = {0: "service user", 2: "service provider"}
ABORT_REASONS: Final = {
    0: "reason not specified", 1: "unrecognized PDU", 2: "unexpected PDU", 4: "unrecognized PDU parameter",
    5: "unexpected PDU parameter", 6: "invalid PDU parameter value",
}
"""A-ABORT (PS3.8 Table 9-26); the reason counts only where the provider aborts."""


def rule_of(status: int) -> StatusRule:
    """Return the rule that a DIMSE status falls under."""
    return next((rule for rule in STATUS_RULES if rule.first <= status <= rule.last), UNKNOWN_STATUS)


def status_error(place: str, what: str, status: int) -> DeliveryError | None:
    """Return the error that a status means, None where the object is stored.

    Parameters
    ----------
    place:
        The peer, as messages name it.
    what:
        What was asked of it.
    """
    rule = rule_of(status)
    if rule.outcome is Outcome.STORED:
        return None
    kind = PeerBusy if rule.outcome is Outcome.BUSY else PeerRefused
    return kind(f"{place}: answered 0x{status:04X} to {what}: {rule.meaning} ({rule.clause})", status=status)


def rejection_error(place: str, *, result: int, source: int, reason: int) -> DeliveryError:
    """Return the error that an A-ASSOCIATE-RJ means (PS3.8 Table 9-21)."""
    permanent = result == REJECTED_PERMANENT and source != PASSING_SOURCE
    kind = AssociationRejectedPermanent if permanent else AssociationRejectedTransient
    meaning = REJECT_REASONS.get((source, reason), f"reason {reason}")
    who = REJECT_SOURCES.get(source, f"source {source}")
    advice = "; see that it knows our AE title, address and port" if permanent else ""
    return kind(f"{place}: rejected the association ({'permanent' if permanent else 'transient'}, {who}): "
                f"{meaning} (PS3.8 Table 9-21){advice}")


def abort_error(place: str, *, source: int, reason: int) -> DeliveryError:
    """Return the error that an A-ABORT means (PS3.8 Table 9-26)."""
    who = ABORT_SOURCES.get(source, f"source {source}")
    why = "" if source == 0 else f", {ABORT_REASONS.get(reason, f'reason {reason}')}"
    return PeerUnreachable(f"{place}: aborted the association ({who}{why}; PS3.8 Table 9-26)")
