"""Results to a peer: one association, the first form of each that it takes (PS3.4 Annex B)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dicomnode.deliver import dimse
from dicomnode.deliver.association import Association
from dicomnode.deliver.part10 import (
    IMPLICIT_LE,
    UNCOMPRESSED,
    Outgoing,
    OutgoingFile,
    data_set_parts,
    outgoing_file,
    rewritten,
)
from dicomnode.deliver.pdu import MOST_CONTEXTS, Proposal
from dicomnode.deliver.status import Outcome, rule_of, status_error
from dicomnode.domain.node import Peer
from dicomnode.errors import PeerRefused, UnusableInput

VERIFICATION: Final = "1.2.840.10008.1.1"
MOST_REASONS: Final = 5
"""So many refusals are told one by one; the rest is a count."""

Sent = Callable[[int, str, int], None]


def deliver(
    *, node_ae_title: str, peer: Peer, items: Sequence[Outgoing], timeout_s: float, sent: Sent,
) -> None:
    """Send each item in the first of its forms that the peer takes, all over one association, in order.

    Parameters
    ----------
    timeout_s:
        The longest that the peer may be silent at any moment.
    sent:
        Called after each item that the peer stored: item id, SOP Instance UID, DIMSE status.

    Raises
    ------
    PeerRefused
        After the last item, naming every item of which the peer took no form, and each form's reason.
    PeerBusy
        At once, at 0xA7xx: what follows would meet the same.
    PeerUnreachable, AssociationRejectedTransient, AssociationRejectedPermanent
        As ``Association``.

    Notes
    -----
    An item that is refused does not stop those after it: a report is of use to a peer that takes no SEG.
    """
    if not items:
        return
    files = [file for item in items for file in item.alternatives]
    refusals: list[PeerRefused] = []
    with Association(node_ae_title=node_ae_title, peer=peer, proposals=proposals_for(files),
                     timeout_s=timeout_s) as association:
        for item in items:
            try:
                file, status = _send_first_accepted(association, item.alternatives)
            except PeerRefused as refusal:
                refusals.append(refusal)
                continue
            sent(item.item_id, file.sop_instance_uid, status)
    if refusals:
        raise _together(refusals)


def echo(*, node_ae_title: str, peer: Peer, timeout_s: float) -> float:
    """Return the seconds that a C-ECHO took, association included (PS3.4 Annex A).

    Raises
    ------
    PeerRefused
        If the peer offers no Verification, or answers with a failure.
    PeerUnreachable, AssociationRejectedTransient, AssociationRejectedPermanent
        As ``Association``.
    """
    proposal = (VERIFICATION, IMPLICIT_LE)
    began = time.monotonic()
    with Association(node_ae_title=node_ae_title, peer=peer, proposals=[proposal], timeout_s=timeout_s) as association:
        if not association.accepts(proposal):
            msg = f"{association.place}: accepts the association, but not Verification ({VERIFICATION})"
            raise PeerRefused(msg)
        status = association.ask(proposal, dimse.c_echo_rq(association.next_message_id(), VERIFICATION))
        error = status_error(association.place, "C-ECHO", status)
        if error:
            raise error
    return time.monotonic() - began


def send_files(
    *, node_ae_title: str, peer: Peer, paths: Sequence[Path], timeout_s: float,
    progress: Callable[[int, int], None] | None = None, skipped: Callable[[Path, str], None] | None = None,
) -> int:
    """Send DICOM files and return how many the peer stored: one association, or one per 128 presentation contexts.

    Parameters
    ----------
    progress:
        Called after each file: how many are done, of how many.
    skipped:
        Called for each file that is no DICOM instance: path, reason.

    Raises
    ------
    PeerRefused
        After the last file, if the peer did not take all of them.
    PeerBusy, PeerUnreachable, AssociationRejectedTransient, AssociationRejectedPermanent
        At once.
    """
    files = list(_instances(paths, skipped))
    refusals: list[PeerRefused] = []
    done = 0
    for batch in _batches(files):
        with Association(node_ae_title=node_ae_title, peer=peer, proposals=proposals_for(batch),
                         timeout_s=timeout_s) as association:
            for file in batch:
                try:
                    _send_first_accepted(association, [file])
                except PeerRefused as refusal:
                    refusals.append(refusal)
                done += 1
                if progress:
                    progress(done, len(files))
    if refusals:
        raise _together(refusals, of=len(files))
    return len(files)


def proposals_for(files: Iterable[OutgoingFile]) -> tuple[Proposal, ...]:
    """Return the presentation contexts that these files need: as each lies, and uncompressed."""
    wanted: dict[Proposal, None] = {}
    for file in files:
        for transfer_syntax in (file.transfer_syntax_uid, *UNCOMPRESSED):
            wanted[file.sop_class_uid, transfer_syntax] = None
    return tuple(wanted)


def _send_first_accepted(association: Association, alternatives: Sequence[OutgoingFile]) -> tuple[OutgoingFile, int]:
    refusals: list[str] = []
    last_status: int | None = None
    for file in alternatives:
        transfer_syntax = _accepted_syntax(association, file)
        if transfer_syntax is None:
            refusals.append(f"{file.sop_class_uid}: no presentation context accepted")
            continue
        status = _store(association, file, transfer_syntax)
        rule = rule_of(status)
        if rule.outcome is not Outcome.NOT_THIS_FORM:
            error = status_error(association.place, f"C-STORE of {file.sop_instance_uid}", status)
            if error:
                raise error
            return file, status
        last_status = status
        refusals.append(f"{file.sop_class_uid}: 0x{status:04X}, {rule.meaning} ({rule.clause})")
    names = ", ".join(file.sop_instance_uid for file in alternatives)
    msg = (f"{association.place}: takes no form of {names}: {'; '.join(refusals)}; "
           "see what it stores, and say so by `takes` in its peer table")
    raise PeerRefused(msg, status=last_status)


def _accepted_syntax(association: Association, file: OutgoingFile) -> str | None:
    choice = (file.transfer_syntax_uid, *UNCOMPRESSED)
    return next((syntax for syntax in choice if association.accepts((file.sop_class_uid, syntax))), None)


def _store(association: Association, file: OutgoingFile, transfer_syntax_uid: str) -> int:
    as_it_lies = transfer_syntax_uid == file.transfer_syntax_uid
    data = data_set_parts(file) if as_it_lies else iter(list(rewritten(file, transfer_syntax_uid)))
    command = dimse.c_store_rq(association.next_message_id(), file.sop_class_uid, file.sop_instance_uid)
    return association.ask((file.sop_class_uid, transfer_syntax_uid), command, data)


def _together(refusals: Sequence[PeerRefused], *, of: int | None = None) -> PeerRefused:
    told = [str(refusal) for refusal in refusals[:MOST_REASONS]]
    if len(refusals) > MOST_REASONS:
        told.append(f"and {len(refusals) - MOST_REASONS} more")
    count = f"{len(refusals)} of {of} files refused: " if of else ""
    return PeerRefused(count + " | ".join(told), status=refusals[0].status)


def _instances(paths: Iterable[Path], skipped: Callable[[Path, str], None] | None) -> Iterator[OutgoingFile]:
    for path in paths:
        try:
            yield outgoing_file(path)
        except UnusableInput as error:
            if skipped:
                skipped(path, str(error))


def _batches(files: Iterable[OutgoingFile]) -> Iterator[list[OutgoingFile]]:
    """Cut the files, in their order, so that each part's contexts fit one association."""
    batch: list[OutgoingFile] = []
    wanted: set[Proposal] = set()
    for file in files:
        more = set(proposals_for([file]))
        if len(wanted | more) > MOST_CONTEXTS:
            yield batch
            batch, wanted = [], set()
        batch.append(file)
        wanted |= more
    if batch:
        yield batch
