"""The DIMSE services: which SOP Classes in which roles and transfer syntaxes, and what each status means."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from dicomnode.conformance import prose
from dicomnode.conformance.document import Section, Table
from dicomnode.conformance.facts import Facts, name_of
from dicomnode.deliver.commit import PROPOSALS as COMMITMENT_PROPOSALS
from dicomnode.deliver.commit import PUSH_MODEL
from dicomnode.deliver.part10 import OutgoingFile
from dicomnode.deliver.pdu import Proposal
from dicomnode.deliver.scu import ECHO_PROPOSAL, proposals_for
from dicomnode.deliver.status import (
    ABORT_REASONS,
    ABORT_SOURCES,
    REJECT_REASONS,
    REJECT_SOURCES,
    STATUS_RULES,
    UNKNOWN_STATUS,
    Outcome,
    StatusRule,
    abort_error,
    rejection_error,
)
from dicomnode.errors import DeliveryError, Verdict
from dicomnode.ledger.commitments import FAILURE_REASONS
from dicomnode.ledger.custody import CLASS_CONFLICT, NO_SUCH_INSTANCE, PROCESSING_FAILURE
from dicomnode.receive.answers import (
    ABORTS,
    ACTION_ANSWERS,
    EVENT_ANSWERS,
    OTHER_ANSWERS,
    REJECTIONS,
    STORE_ANSWERS,
    Answer,
)
from dicomnode.receive.negotiate import offered_contexts
from dicomnode.receive.syntaxes import decodable_transfer_syntaxes

SCP_CONTEXTS: Final = "Accepted presentation contexts"
SCU_CONTEXTS: Final = "Proposed presentation contexts"
STORE_STATUS: Final = "C-STORE responses that the node gives"
EVENT_STATUS: Final = "N-EVENT-REPORT responses that the node gives"
OTHER_STATUS: Final = "Responses to other requests"
SENT_STATUS: Final = "Behaviour on C-STORE responses"
REJECTED: Final = "Association rejections that the node sends"
ABORTED: Final = "Aborts that the node sends"
ACTION_STATUS: Final = "N-ACTION responses that the node gives"
SCP: Final = "SCP"
SCU: Final = "SCU"
HEARS_REPORTS: Final = "SCU (N-EVENT-REPORT arrives)"
BOTH_ROLES: Final = "SCU (N-EVENT-REPORT arrives), SCP (N-ACTION arrives)"
SENDS_REPORTS: Final = "SCP (N-EVENT-REPORT is sent)"
CONTEXT_COLUMNS: Final = ("SOP Class", "SOP Class UID", "Transfer syntaxes", "Transfer syntax UIDs", "Role",
                          "Extended negotiation")
ANSWER_COLUMNS: Final = ("Status code", "Service status", "When", "Clause")

BEHAVIOURS: Final = {
    Outcome.STORED: "The object counts as stored; the status is kept with it and stands in the study's timeline.",
    Outcome.BUSY: "The delivery is tried again later, for as long as the peer answers so.",
    Outcome.NOT_THIS_FORM: "The next form of the same result that the peer takes is sent; where none is left the "
                           "delivery fails, except for objects that may be left out.",
    Outcome.REFUSED: "The delivery fails and waits for an operator, except for objects that may be left out; its other "
                     "objects are sent.",
}
VERDICTS: Final = {
    Verdict.RETRY: "The delivery is tried again later, until max_age_h.",
    Verdict.FAIL: "The delivery fails and waits for an operator.",
    Verdict.STOP: "The delivery is left alone.",
}
REJECT_RESULTS: Final = {1: "rejected permanent", 2: "rejected transient"}


def services(facts: Facts) -> Section:
    """Write the section on services."""
    return Section(title="Service and Interoperability Description", sections=(
        Section(title="Verification Service", text=prose.VERIFICATION),
        Section(title="Storage Service as SCP", text=prose.STORAGE_SCP, tables=(
            scp_contexts(facts), _answers(STORE_STATUS, STORE_ANSWERS), _answers(OTHER_STATUS, OTHER_ANSWERS))),
        Section(title="Storage Service as SCU", text=prose.STORAGE_SCU, tables=(scu_contexts(facts), _sent_status())),
        Section(title="Storage Commitment Service as SCU", text=_commitment(facts), tables=(
            _answers(EVENT_STATUS, EVENT_ANSWERS),)),
        Section(title="Storage Commitment Service as SCP", text=_custody(facts), tables=(
            _answers(ACTION_STATUS, ACTION_ANSWERS), _failure_reasons())),
        Section(title="Services that are not offered", text=prose.NOT_OFFERED),
    ))


def scp_contexts(facts: Facts) -> Table:
    """Return every presentation context that the node accepts, as negotiation has them."""
    offered = offered_contexts(facts.config.receive.sop_classes, decodable_transfer_syntaxes())
    commitment = BOTH_ROLES if facts.config.receive.storage_commitment else HEARS_REPORTS
    rows = tuple(
        (name_of(str(context.abstract_syntax)), str(context.abstract_syntax),
         tuple(name_of(str(one)) for one in context.transfer_syntax), tuple(map(str, context.transfer_syntax)),
         *((commitment, "role selection") if context.scp_role else (SCP, "none")))
        for context in offered)
    return Table(title=SCP_CONTEXTS, columns=CONTEXT_COLUMNS, rows=rows)


def scu_contexts(facts: Facts) -> Table:
    """Return every presentation context that the node proposes: for the objects it makes, and for its questions."""
    files = [OutgoingFile(path=Path(), sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid,
                          transfer_syntax_uid=one.transfer_syntax_uid)
             for one in (made.first[0] for made in facts.made)]
    proposals: list[Proposal] = [ECHO_PROPOSAL, *proposals_for(files)]
    if asks(facts) or facts.config.receive.storage_commitment:
        proposals += COMMITMENT_PROPOSALS
    by_class: dict[str, list[str]] = {}
    for abstract, transfer in proposals:
        by_class.setdefault(abstract, []).append(transfer)
    rows = tuple(
        (name_of(abstract), abstract, tuple(map(name_of, transfers)), tuple(transfers), *_role(facts, abstract))
        for abstract, transfers in by_class.items())
    return Table(title=SCU_CONTEXTS, columns=CONTEXT_COLUMNS, rows=rows)


def _role(facts: Facts, abstract: str) -> tuple[str, str]:
    if abstract != PUSH_MODEL or not facts.config.receive.storage_commitment:
        return SCU, "none"
    return f"{SCU}, {SENDS_REPORTS}" if asks(facts) else SENDS_REPORTS, "role selection"


def asks(facts: Facts) -> bool:
    """Return whether commitment is asked of any peer."""
    return any(peer.storage_commitment for peer in facts.receiving)


def _custody(facts: Facts) -> str:
    if not facts.config.receive.storage_commitment:
        return prose.NO_CUSTODY
    return prose.CUSTODY.format(keep_days=f"{facts.config.retention.keep_days:g}",
                                max_age_h=f"{facts.config.delivery.max_age_h:g}")


def _failure_reasons() -> Table:
    return Table(title="Failure Reasons that the node gives", columns=("Failure Reason", "Meaning", "When"), rows=tuple(
        (f"0x{reason:04X}", FAILURE_REASONS[reason], when) for reason, when in (
            (NO_SUCH_INSTANCE, "It is not indexed, or its file is not on disk."),
            (CLASS_CONFLICT, "It is of another SOP Class than the request says."),
            (PROCESSING_FAILURE, "It may have come and is not indexed after ten minutes; it may be asked for again."))))


def _commitment(facts: Facts) -> str:
    asked = [peer.name for peer in facts.receiving if peer.storage_commitment]
    if not asked:
        return prose.NO_COMMITMENT
    delivery = facts.config.delivery
    return prose.COMMITMENT.format(asked=", ".join(asked), wait_s=f"{delivery.commit_ask_again_s:g}",
                                   max_age_h=f"{delivery.max_age_h:g}")


def rejections() -> tuple[Table, ...]:
    """Return what the node answers to associations and PDUs that it does not take (PS3.8 9.3.4, 9.3.8)."""
    rejected = tuple((f"{result} ({REJECT_RESULTS[result]})", f"{source} ({REJECT_SOURCES[source]})",
                      f"{reason} ({one.meaning})", one.when)
                     for one in REJECTIONS for result, source, reason in (one.answer,))
    aborted = tuple((f"2 ({ABORT_SOURCES[2]})", f"{reason} ({meaning})", when) for reason, meaning, when in ABORTS)
    return (Table(title=REJECTED, columns=("Result", "Source", "Reason", "When"), rows=rejected),
            Table(title=ABORTED, columns=("Source", "Reason", "When"), rows=aborted))


def refusals_met() -> tuple[Table, ...]:
    """Return what the node does when a peer rejects or aborts its association."""
    rejected = tuple(
        (f"{result} ({REJECT_RESULTS[result]})", f"{source} ({REJECT_SOURCES[source]})", f"{reason} ({meaning})",
         _doing(rejection_error("peer", result=result, source=source, reason=reason)))
        for (source, reason), meaning in REJECT_REASONS.items() for result in REJECT_RESULTS)
    aborted = tuple((f"{source} ({who})", "any" if source == 0 else f"{reason} ({meaning})",
                     _doing(abort_error("peer", source=source, reason=reason)))
                    for source, who in ABORT_SOURCES.items()
                    for reason, meaning in (ABORT_REASONS.items() if source else ((0, ""),)))
    return (Table(title="Behaviour on A-ASSOCIATE-RJ", columns=("Result", "Source", "Reason", "Behaviour"),
                  rows=rejected),
            Table(title="Behaviour on A-ABORT", columns=("Source", "Reason", "Behaviour"), rows=aborted))


def _doing(error: DeliveryError) -> str:
    return VERDICTS[error.verdict]


def _answers(title: str, answers: Iterable[Answer]) -> Table:
    return Table(title=title, columns=ANSWER_COLUMNS, rows=tuple(
        (f"0x{one.status:04X}", one.meaning, one.when, one.clause) for one in answers))


def _sent_status() -> Table:
    return Table(title=SENT_STATUS, columns=("Status codes", "Meaning", "Behaviour", "Clause"), rows=tuple(
        (codes(rule), rule.meaning, BEHAVIOURS[rule.outcome], rule.clause)
        for rule in (*STATUS_RULES, UNKNOWN_STATUS)))


def codes(rule: StatusRule) -> str:
    """Return the codes of a rule as the table writes them."""
    if rule is UNKNOWN_STATUS:
        return "any other"
    return f"0x{rule.first:04X}" if rule.first == rule.last else f"0x{rule.first:04X} to 0x{rule.last:04X}"
