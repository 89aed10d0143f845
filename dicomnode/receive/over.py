"""How a connection ends: each way has its exception, so that it is answered and told as what it is."""


class AssociationOver(Exception):
    """Nothing more will be read; the message says why."""


class Released(AssociationOver):
    """The peer asked for release at a message boundary."""


class PeerGone(AssociationOver):
    """The peer aborted or hung up."""


class Stopping(AssociationOver):
    """The process was asked to stop, and no message is under way."""


class Overdue(AssociationOver):
    """ARTIM expired before the A-ASSOCIATE-RQ was whole: the connection is closed without a word (PS3.8 AA-2)."""


class Untrusted(AssociationOver):
    """The peer did not prove who it is, or speaks no TLS that we speak; the alert is sent already."""


class ProtocolError(AssociationOver):
    """The peer broke PS3.8 or let its time pass; ``reason`` goes into our A-ABORT."""

    def __init__(self, message: str, reason: int) -> None:
        super().__init__(message)
        self.reason = reason
