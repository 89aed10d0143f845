"""Association negotiation: pynetdicom's PDU classes read the request and write the answer (PS3.8 Section 9.3.2-3).

Notes
-----
Only pynetdicom's codec is used here, not its reactor. What this relies on is written down in
``tests/unit/receive/test_pynetdicom_contract.py``, which fails when a new release changes it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.uid import UID
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SCP_SCU_RoleSelectionNegotiation,
)
from pynetdicom.presentation import PresentationContext, build_context, negotiate_as_acceptor

from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.domain.node import Peer
from dicomnode.receive.syntaxes import EXPLICIT_LE, IMPLICIT_LE

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
VERIFICATION: Final = "1.2.840.10008.1.1"
STORAGE_COMMITMENT_PUSH_MODEL: Final = "1.2.840.10008.1.20.1"
ACCEPTANCE: Final = 0x00


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the peer proposes."""

    calling: str
    called: str
    application_context: str
    protocol_version: int
    max_pdu_bytes: int
    primitive: A_ASSOCIATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One accepted presentation context."""

    abstract_syntax: str
    transfer_syntax: str


def read_request(pdu: bytes) -> Request:
    """The A-ASSOCIATE-RQ in ``pdu``; whatever pynetdicom raises over malformed bytes passes to the caller."""
    decoded = A_ASSOCIATE_RQ()
    decoded.decode(pdu)
    primitive = decoded.to_primitive()
    return Request(
        calling=decoded.calling_ae_title.strip(),
        called=decoded.called_ae_title.strip(),
        application_context=str(decoded.application_context_name or ""),
        protocol_version=decoded.protocol_version,
        max_pdu_bytes=primitive.maximum_length_received or 0,
        primitive=primitive,
    )


def offered_contexts(sop_classes: Sequence[str], transfer_syntaxes: Sequence[str]) -> list[PresentationContext]:
    """What this node accepts: verification, storage of ``sop_classes``, and answers to its commitment requests.

    The peer that answers a commitment request is the SCP on an association that it opened itself, and asks for that
    role (PS3.4 Section J.3.3); storage keeps the default roles.
    """
    plain = [EXPLICIT_LE, IMPLICIT_LE]
    commitment = build_context(STORAGE_COMMITMENT_PUSH_MODEL, plain)
    commitment.scu_role = commitment.scp_role = True
    storage = [build_context(uid, list(transfer_syntaxes)) for uid in sop_classes]
    return [build_context(VERIFICATION, plain), commitment, *storage]


def offered_to(peer: Peer | None, offered: list[PresentationContext]) -> list[PresentationContext]:
    """What of ``offered`` this peer may ask for: its own storage classes, where its table names any."""
    if peer is None or not peer.sends:
        return offered
    return [context for context in offered
            if context.abstract_syntax in {*peer.sends, VERIFICATION, STORAGE_COMMITMENT_PUSH_MODEL}]


def accept(request: Request, offered: list[PresentationContext], *, max_pdu_bytes: int,
           ) -> tuple[bytes, Mapping[int, Context]]:
    """The A-ASSOCIATE-AC that answers ``request``, and the contexts it accepts by their ids."""
    asked = request.primitive
    roles = {
        item.sop_class_uid: (item.scu_role, item.scp_role)
        for item in asked.user_information
        if isinstance(item, SCP_SCU_RoleSelectionNegotiation) and item.sop_class_uid is not None
    }
    results, role_items = negotiate_as_acceptor(asked.presentation_context_definition_list, offered, roles)
    answer = A_ASSOCIATE()
    answer.application_context_name = APPLICATION_CONTEXT
    answer.calling_ae_title = asked.calling_ae_title
    answer.called_ae_title = asked.called_ae_title
    answer.result = ACCEPTANCE
    answer.presentation_context_definition_results_list = results
    answer.user_information = [*_about_us(max_pdu_bytes), *role_items]
    accepted = {
        context.context_id: Context(abstract_syntax=str(context.abstract_syntax),
                                    transfer_syntax=str(context.transfer_syntax[0]))
        for context in results if context.result == ACCEPTANCE and context.context_id is not None
    }
    return bytes(A_ASSOCIATE_AC(answer).encode()), accepted


def refused_contexts(request: Request, accepted: Mapping[int, Context], offered: list[PresentationContext],
                     peer: Peer | None = None) -> tuple[str, ...]:
    """Each SOP Class that was proposed and not accepted as proposed, with its name and why; each said once."""
    ours, its = ({str(context.abstract_syntax) for context in some} for some in (offered, offered_to(peer, offered)))
    said: dict[str, None] = {}
    for context in request.primitive.presentation_context_definition_list:
        if context.context_id in accepted:
            continue
        abstract = UID(str(context.abstract_syntax or ""))
        title = abstract if abstract.name == abstract else f"{abstract} {abstract.name}"
        if abstract not in ours:
            said[f"{title}: not in [receive] sop_classes"] = None
        elif abstract not in its:
            said[f"{title}: not in sends of this peer's table"] = None
        else:
            syntaxes = ", ".join(UID(str(syntax)).name for syntax in context.transfer_syntax)
            said[f"{title}: transfer syntax {syntaxes or 'missing'} is not taken"] = None
    return tuple(said)


def _about_us(max_pdu_bytes: int) -> tuple[
        MaximumLengthNotification, ImplementationClassUIDNotification, ImplementationVersionNameNotification]:
    length = MaximumLengthNotification()
    length.maximum_length_received = max_pdu_bytes
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = IMPLEMENTATION_CLASS_UID
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = IMPLEMENTATION_VERSION_NAME
    return length, class_uid, version
