"""What this node audits, each as the table of its clause in PS3.15 A.5.3 wants it."""

from __future__ import annotations

from datetime import datetime

from dicomnode.audit import codes
from dicomnode.audit.message import Application, Happening, Message, Node
from dicomnode.domain.audit import AuditedStudy


def started(us: Application, *, at: datetime, role: str) -> bytes:
    """The node, or one role of it that runs alone, has started (A.5.3.1)."""
    return _activity(us, codes.APPLICATION_START, at, role)


def stopped(us: Application, *, at: datetime, role: str) -> bytes:
    """The node, or one role of it that runs alone, has stopped as it was told to (A.5.3.1)."""
    return _activity(us, codes.APPLICATION_STOP, at, role)


def _activity(us: Application, kind: codes.Coded, at: datetime, role: str) -> bytes:
    message = Message(Happening(event=codes.APPLICATION_ACTIVITY, action=codes.EXECUTE, at=at, kind=kind,
                                because=f"dicomnode {role}"), us)
    message.this_node(role=codes.APPLICATION, requestor=False)
    return message.encoded()


def refused(us: Application, caller: Node, *, at: datetime, reason: str) -> bytes:
    """An association, or the connection before it, was refused: a node that did not authenticate (A.5.3.11)."""
    message = Message(Happening(event=codes.SECURITY_ALERT, action=codes.EXECUTE, at=at,
                                outcome=codes.SERIOUS_FAILURE, kind=codes.NODE_AUTHENTICATION, because=reason), us)
    message.this_node(role=codes.APPLICATION, requestor=False)
    message.other_node(caller, role=None, requestor=False)
    message.alert(caller.address or caller.ae_title, reason)
    return message.encoded()


def received(us: Application, sender: Node, study: AuditedStudy, *, at: datetime, action: str) -> bytes:
    """Images of one study came over one association (A.5.3.7).

    Parameters
    ----------
    action:
        ``C`` where the node had none of them or some, ``U`` where some differ from what it has, ``R`` where it
        had them all.
    """
    message = Message(Happening(event=codes.INSTANCES_TRANSFERRED, action=action, at=at), us)
    message.other_node(sender, role=codes.SOURCE, requestor=True)
    message.this_node(role=codes.DESTINATION, requestor=False)
    message.study(study)
    return message.encoded()


def sending(us: Application, receiver: Node, study: AuditedStudy, *, at: datetime) -> bytes:
    """Results of one study are about to leave (A.5.3.3)."""
    message = Message(Happening(event=codes.BEGIN_TRANSFERRING, action=codes.EXECUTE, at=at), us)
    message.this_node(role=codes.SOURCE, requestor=True)
    message.other_node(receiver, role=codes.DESTINATION, requestor=False)
    message.study(study)
    return message.encoded()


def sent(us: Application, receiver: Node, study: AuditedStudy, *, at: datetime, because: str = "") -> bytes:
    """Results of one study were taken, or, where ``because`` says why, were not (A.5.3.7)."""
    outcome = codes.MINOR_FAILURE if because else codes.SUCCESS
    message = Message(Happening(event=codes.INSTANCES_TRANSFERRED, action=codes.READ, at=at, outcome=outcome,
                                because=because), us)
    message.this_node(role=codes.SOURCE, requestor=True)
    message.other_node(receiver, role=codes.DESTINATION, requestor=False)
    message.study(study)
    return message.encoded()


def accessed(us: Application, study: AuditedStudy, *, at: datetime) -> bytes:
    """Images of one study were read and analysed (A.5.3.6)."""
    message = Message(Happening(event=codes.INSTANCES_ACCESSED, action=codes.READ, at=at), us)
    message.this_node(role=codes.APPLICATION, requestor=True)
    message.study(study)
    return message.encoded()


def deleted(us: Application, study: AuditedStudy, *, at: datetime, because: str) -> bytes:
    """The files of one study were deleted, because of their age or for want of space (A.5.3.8)."""
    message = Message(Happening(event=codes.STUDY_DELETED, action=codes.DELETE, at=at, because=because), us)
    message.this_node(role=codes.APPLICATION, requestor=True)
    message.study(study)
    return message.encoded()
