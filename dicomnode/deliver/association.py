"""One association that the node asks for, over one socket, without threads.

Notes
-----
pynetdicom's requestor was measured and set aside: after the connection is made its socket has no
timeout, so a peer that stops reading in the middle of an object holds the sender for ever, and its
two polling threads cost several milliseconds for each object. Here each read and each write has the
same limit, and every way in which a peer can fail ends as one ``DeliveryError``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Final, Self

from dicomnode.deliver import dimse, pdu
from dicomnode.deliver.status import rejection_error
from dicomnode.deliver.wire import Wire
from dicomnode.domain.node import Peer
from dicomnode.errors import DeliveryError
from dicomnode.tls import Contexts

LARGEST_MESSAGE_BYTES: Final = 1 << 22
"""Responses are small: a message longer than this is nonsense."""
WRITE_BYTES: Final = 1 << 18
"""PDUs are gathered to about this size for one write."""
Reported = Callable[[int, str, bytes], int]


class Association:
    """An association with one peer, for a ``with`` statement: released at its end, or aborted where it broke.

    Parameters
    ----------
    node_ae_title:
        Our calling AE title.
    proposals:
        At most 128 pairs of SOP Class UID and transfer syntax UID.
    timeout_s:
        The longest that the peer may be silent, or not read, at any moment.
    scp_of:
        SOP classes of which we are the SCP on this association.
    reported:
        Called with each N-EVENT-REPORT that the peer makes on this association: event type, transfer syntax and data
        set; returns the status to answer. None: such reports are declined.
    tls:
        Our side of TLS, for a peer that has ``tls = true``.

    Raises
    ------
    AssociationRejectedPermanent, AssociationRejectedTransient
        By the result, source and reason of A-ASSOCIATE-RJ.
    PeerUnreachable
        No connection, no answer, an abort, or an answer that is not the protocol's.
    TlsFailed
        One side does not accept the other's certificate, or they share no version or cipher suite of TLS.
    """

    def __init__(self, *, node_ae_title: str, peer: Peer, proposals: Sequence[pdu.Proposal], timeout_s: float,
                 scp_of: Sequence[str] = (), reported: Reported | None = None, tls: Contexts | None = None) -> None:
        self._ids = pdu.context_ids(proposals)
        self._reported = reported
        self._message_id = 0
        self._in_step = True
        self._fragments: deque[pdu.Fragment] = deque()
        self._wire = Wire(peer, timeout_s, tls)
        self.place = self._wire.place
        try:
            self._acceptance = self._negotiate(node_ae_title, peer.ae_title, proposals, scp_of)
        except DeliveryError:
            self._wire.abort()
            raise

    def __enter__(self) -> Self:
        """Return the association itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None,
    ) -> None:
        """Release where the last exchange was whole, else abort: some peers drop what came over an aborted one."""
        if self._in_step:
            self._wire.release()
        else:
            self._wire.abort()

    def accepts(self, proposal: pdu.Proposal) -> bool:
        """Whether the peer takes this SOP class in this transfer syntax."""
        return self._ids.get(proposal) in self._acceptance.accepted_ids

    def next_message_id(self) -> int:
        """Return a Message ID that no open message has: 1 to 65535 (PS3.7 E.1)."""
        self._message_id = self._message_id % 0xFFFF + 1
        return self._message_id

    def ask(self, proposal: pdu.Proposal, command: bytes, data: Iterable[bytes] | None = None) -> int:
        """Send one message and return the status of its response.

        Parameters
        ----------
        command:
            A command set that carries ``self.next_message_id()``'s latest value.
        data:
            The data set's bytes in pieces, None where the command has none.

        Raises
        ------
        PeerUnreachable
            If the connection breaks, the peer is silent too long, aborts, or answers out of turn.
        """
        self._in_step = False
        context_id = self._ids[proposal]
        self._send_message(context_id, command, data)
        response = self._response()
        self._in_step = True
        return response

    def listen(self, seconds: float) -> bool:
        """Give the peer so long to report on this association; return whether it did."""
        if seconds <= 0 or not (self._fragments or self._wire.something_comes(seconds)):
            return False
        context_id, command, data = self._read_message()
        if command.field != dimse.N_EVENT_REPORT_RQ:
            raise self._wire.protocol_error(f"command 0x{command.field:04X}, which nobody asked for")
        self._take_report(context_id, command, data)
        return True

    def _negotiate(self, calling: str, called: str, proposals: Sequence[pdu.Proposal], scp_of: Sequence[str],
                   ) -> pdu.Acceptance:
        self._wire.write([pdu.associate_rq(calling=calling, called=called, proposals=proposals, scp_of=scp_of)])
        kind, body = self._wire.read_pdu()
        if kind == pdu.ASSOCIATE_RJ and len(body) >= 4:  # noqa: PLR2004 - PS3.8 Table 9-21
            raise rejection_error(self.place, result=body[1], source=body[2], reason=body[3])
        if kind != pdu.ASSOCIATE_AC:
            raise self._wire.protocol_error(f"a PDU of type 0x{kind:02X} in answer to A-ASSOCIATE-RQ")
        try:
            return pdu.parse_associate_ac(body)
        except ValueError as error:
            raise self._wire.protocol_error(str(error)) from error

    def _send_message(self, context_id: int, command: bytes, data: Iterable[bytes] | None) -> None:
        fragment_bytes = min(self._acceptance.max_pdu_bytes or pdu.LARGEST_SENT_PDU_BYTES,
                             pdu.LARGEST_SENT_PDU_BYTES) - 6
        waiting = list(pdu.p_data_pdus(context_id, [command], is_command=True, fragment_bytes=fragment_bytes))
        waiting_bytes = 0
        for part in [] if data is None else pdu.p_data_pdus(
                context_id, data, is_command=False, fragment_bytes=fragment_bytes):
            waiting.append(part)
            waiting_bytes += len(part)
            if waiting_bytes >= WRITE_BYTES:
                self._wire.write(waiting)
                waiting, waiting_bytes = [], 0
        if waiting:
            self._wire.write(waiting)

    def _response(self) -> int:
        while True:
            context_id, command, data = self._read_message()
            if command.field == dimse.N_EVENT_REPORT_RQ:
                self._take_report(context_id, command, data)
                continue
            if not command.field & dimse.RESPONSE or command.message_id != self._message_id:
                raise self._wire.protocol_error(f"command 0x{command.field:04X} for message {command.message_id}, "
                                           f"where the response to message {self._message_id} was due")
            if command.status is None:
                raise self._wire.protocol_error("a response without Status (0000,0900)")
            return command.status

    def _take_report(self, context_id: int, command: dimse.Command, data: bytes) -> None:
        """A report of storage commitment may come on the association that asked for it (PS3.4 J.3.3)."""
        syntax = next((one[1] for one, number in self._ids.items() if number == context_id), "")
        status = dimse.PROCESSING_FAILURE
        if self._reported is not None:
            status = self._reported(command.event_type_id, syntax, data)
        self._send_message(context_id, dimse.n_event_report_rsp(command, status), None)

    def _read_message(self) -> tuple[int, dimse.Command, bytes]:
        """Read one whole message: its command, and the data set that follows, empty where none does."""
        buffer = bytearray()
        command: dimse.Command | None = None
        while True:
            fragment = self._next_fragment()
            buffer += fragment.data
            if len(buffer) > LARGEST_MESSAGE_BYTES:
                raise self._wire.protocol_error(f"a message of more than {LARGEST_MESSAGE_BYTES} bytes")
            if not fragment.is_last:
                continue
            whole = bytes(buffer)
            buffer.clear()
            if fragment.is_command:
                command = self._parse(whole)
            if command and fragment.is_command != command.has_data:
                return fragment.context_id, command, b"" if fragment.is_command else whole

    def _parse(self, data: bytes) -> dimse.Command:
        try:
            return dimse.parse(data)
        except ValueError as error:
            raise self._wire.protocol_error(str(error)) from error

    def _next_fragment(self) -> pdu.Fragment:
        while not self._fragments:
            kind, body = self._wire.read_pdu()
            if kind != pdu.P_DATA:
                raise self._wire.protocol_error(f"a PDU of type 0x{kind:02X} where P-DATA-TF was due")
            try:
                self._fragments.extend(pdu.parse_p_data(body))
            except ValueError as error:
                raise self._wire.protocol_error(str(error)) from error
        return self._fragments.popleft()
