"""Of several forms of one object, the one that a peer gets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from dicomnode.deliver import dimse
from dicomnode.deliver.association import Association
from dicomnode.deliver.part10 import UNCOMPRESSED, Outgoing, OutgoingFile, data_set_parts, rewritten
from dicomnode.deliver.status import Outcome, rule_of, status_error
from dicomnode.errors import PeerRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One form that the peer has.

    Parameters
    ----------
    instead:
        Why it did not take the forms that it should have had before this one, empty where there are none.
    """

    file: OutgoingFile
    status: int
    instead: str = ""


@dataclass(slots=True)
class Handover:
    """Sends over one association, and knows what the peer has of this delivery and what it refused.

    Parameters
    ----------
    present:
        SOP Instance UIDs that the peer has.
    """

    association: Association
    present: set[str]
    refused: dict[str, tuple[str, int | None]] = field(default_factory=dict)  # SOP Instance UID → why, status

    def send(self, item: Outgoing) -> Sent:
        """Send the first form that the peer takes; one that stands for several items is sent once.

        A form that names objects which the peer does not have comes after those that name none such; of an object
        that the peer may refuse it is not sent at all, nor is one that names only a part of what the peer has.

        Raises
        ------
        PeerRefused
            If it takes none, with the reason for each.
        """
        before: list[OutgoingFile] = []
        for file in self._choice(item):
            if file.sop_instance_uid in self.present:
                return Sent(file=file, status=0, instead=self._told(before))
            if file.sop_instance_uid not in self.refused:
                status = self._try(file)
                if status is not None:
                    self.present.add(file.sop_instance_uid)
                    return Sent(file=file, status=status, instead=self._told(before))
            before.append(file)
        raise self._refusal(item, before)

    def _choice(self, item: Outgoing) -> list[OutgoingFile]:
        fitting = [file for file in item.alternatives if self.present.issuperset(file.refers_to)]
        if item.optional:
            return [file for file in fitting if not file.refers_to or self.present == set(file.refers_to)]
        return [*fitting, *(file for file in item.alternatives if file not in fitting)]

    def _try(self, file: OutgoingFile) -> int | None:
        """Return the status of a file that the peer stored, None where it does not take this form."""
        transfer_syntax = _accepted_syntax(self.association, file)
        if transfer_syntax is None:
            self.refused[file.sop_instance_uid] = "no presentation context accepted", None
            return None
        status = _store(self.association, file, transfer_syntax)
        rule = rule_of(status)
        if rule.outcome is not Outcome.NOT_THIS_FORM:
            error = status_error(self.association.place, f"C-STORE of {file.sop_instance_uid}", status)
            if error:
                raise error
            return status
        self.refused[file.sop_instance_uid] = f"0x{status:04X}, {rule.meaning} ({rule.clause})", status
        return None

    def _told(self, files: Iterable[OutgoingFile]) -> str:
        return "; ".join(f"{' '.join(filter(None, (file.kind, file.sop_class_uid)))}: "
                         f"{self.refused[file.sop_instance_uid][0]}" for file in files)

    def _refusal(self, item: Outgoing, tried: list[OutgoingFile]) -> PeerRefused:
        names = ", ".join(file.sop_instance_uid for file in item.alternatives)
        statuses = [self.refused[file.sop_instance_uid][1] for file in tried]
        told = self._told(tried) or "each names other objects than the peer has"
        msg = (f"{self.association.place}: takes no form of {names}: {told}; "
               "see what it stores, and say so by `takes` in its peer table")
        return PeerRefused(msg, status=next((one for one in reversed(statuses) if one is not None), None))


def _accepted_syntax(association: Association, file: OutgoingFile) -> str | None:
    choice = (file.transfer_syntax_uid, *UNCOMPRESSED)
    return next((syntax for syntax in choice if association.accepts((file.sop_class_uid, syntax))), None)


def _store(association: Association, file: OutgoingFile, transfer_syntax_uid: str) -> int:
    as_it_lies = transfer_syntax_uid == file.transfer_syntax_uid
    data = data_set_parts(file) if as_it_lies else iter(list(rewritten(file, transfer_syntax_uid)))
    command = dimse.c_store_rq(association.next_message_id(), file.sop_class_uid, file.sop_instance_uid)
    return association.ask((file.sop_class_uid, transfer_syntax_uid), command, data)
