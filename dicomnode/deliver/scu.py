"""Results to a peer: one association, the first form of each that it takes (PS3.4 Annex B)."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from dicomnode.deliver import dimse
from dicomnode.deliver.association import Association
from dicomnode.deliver.forms import Handover
from dicomnode.deliver.part10 import IMPLICIT_LE, UNCOMPRESSED, Outgoing, OutgoingFile, outgoing_file
from dicomnode.deliver.pdu import MOST_CONTEXTS, Proposal
from dicomnode.deliver.status import status_error
from dicomnode.domain.node import Peer
from dicomnode.errors import PeerRefused, UnusableInput
from dicomnode.tls import Contexts

VERIFICATION: Final = "1.2.840.10008.1.1"
ECHO_PROPOSAL: Final = (VERIFICATION, IMPLICIT_LE)
MOST_REASONS: Final = 5
"""So many refusals are told one by one; the rest is a count."""

Stored = Callable[[int, str, int, str], None]
NotTaken = Callable[[int, str], None]


def deliver(
    *, node_ae_title: str, peer: Peer, items: Sequence[Outgoing], timeout_s: float, stored: Stored,
    not_taken: NotTaken, present: Collection[str] = (), tls: Contexts | None = None,
) -> None:
    """Send each item in the first of its forms that the peer takes, all over one association, in order.

    Parameters
    ----------
    timeout_s:
        The longest that the peer may be silent at any moment.
    stored:
        Called after each item that the peer stored: item id, SOP Instance UID, DIMSE status, and why it took none of
        the forms before, empty where there was none.
    not_taken:
        Called after each optional item of which it took no form: item id, reason. Not after an item that it must take
        was refused: what names that one may fit when the delivery is tried again.
    present:
        SOP Instance UIDs of the same delivery that the peer has already.

    Raises
    ------
    PeerRefused
        After the last item, naming every item of which the peer took no form and must, and each form's reason.
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
                     timeout_s=timeout_s, tls=tls) as association:
        handover = Handover(association, set(present))
        for item in items:
            if item.closing and refusals:
                continue
            try:
                sent = handover.send(item)
            except PeerRefused as refusal:
                if not item.optional:
                    refusals.append(refusal)
                elif not refusals:
                    not_taken(item.item_id, str(refusal))
                continue
            stored(item.item_id, sent.file.sop_instance_uid, sent.status, sent.instead)
    if refusals:
        raise _together(refusals)


def echo(*, node_ae_title: str, peer: Peer, timeout_s: float, tls: Contexts | None = None) -> float:
    """Return the seconds that a C-ECHO took, association included (PS3.4 Annex A).

    Raises
    ------
    PeerRefused
        If the peer offers no Verification, or answers with a failure.
    PeerUnreachable, AssociationRejectedTransient, AssociationRejectedPermanent
        As ``Association``.
    """
    began = time.monotonic()
    with Association(node_ae_title=node_ae_title, peer=peer, proposals=[ECHO_PROPOSAL],
                     timeout_s=timeout_s, tls=tls) as association:
        if not association.accepts(ECHO_PROPOSAL):
            msg = f"{association.place}: accepts the association, but not Verification ({VERIFICATION})"
            raise PeerRefused(msg)
        status = association.ask(ECHO_PROPOSAL, dimse.c_echo_rq(association.next_message_id(), VERIFICATION))
        error = status_error(association.place, "C-ECHO", status)
        if error:
            raise error
    return time.monotonic() - began


def send_files(
    *, node_ae_title: str, peer: Peer, paths: Sequence[Path], timeout_s: float,
    progress: Callable[[int, int], None] | None = None, skipped: Callable[[Path, str], None] | None = None,
    tls: Contexts | None = None,
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
                         timeout_s=timeout_s, tls=tls) as association:
            handover = Handover(association, set())
            for file in batch:
                try:
                    handover.send(Outgoing(item_id=done, alternatives=(file,)))
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
