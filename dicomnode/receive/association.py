"""One association from request to release: read a message, keep what it brings, then answer it."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Final

from dicomnode.domain.node import Peer, ReceiveSettings
from dicomnode.errors import (
    DicomNodeError,
    NotAuthorized,
    OutOfResources,
    ProcessingFailure,
    ResourceLimitation,
    SpoolError,
)
from dicomnode.receive import command as dimse
from dicomnode.receive.admit import admit_command, admit_instance, status_of
from dicomnode.receive.command import BadCommand, Command
from dicomnode.receive.commit_request import REQUEST, admit_commit_request, commit_request
from dicomnode.receive.event_report import commitment_event
from dicomnode.receive.file_meta import head
from dicomnode.receive.limits import Limits
from dicomnode.receive.negotiate import STORAGE_COMMITMENT_PUSH_MODEL, Context
from dicomnode.receive.over import ProtocolError
from dicomnode.receive.reasons import INVALID_PARAMETER, NOT_SPECIFIED
from dicomnode.receive.stores import ArrivalSpool, AssociationFolder, IncomingFile
from dicomnode.receive.walk import walk_for
from dicomnode.receive.wire import COMMAND, LAST, Wire

MOST_COMMAND_BYTES: Final = 1 << 16
MOST_EVENT_BYTES: Final = 1 << 24
"""An N-EVENT-REPORT of 100,000 instances has about 12 MB."""
SUCCESS: Final = 0x0000
UNRECOGNIZED_OPERATION: Final = 0x0211
NOTIFY_AFTER_S: Final = 0.25


class Refusals:
    """What was refused, for the log: the count by status and the last reason of each."""

    def __init__(self) -> None:
        self.count: dict[int, int] = {}
        self.reason: dict[int, str] = {}

    def add(self, status: int, reason: str) -> None:
        """Count one."""
        self.count[status] = self.count.get(status, 0) + 1
        self.reason[status] = reason

    def summary(self) -> dict[str, str]:
        """One line per status: how often, and the last reason."""
        return {f"{status:#06x}": f"{count} times; last: {self.reason[status]}" for status, count in self.count.items()}


class Association:
    """An accepted association.

    Parameters
    ----------
    peer:
        The caller, None where the configuration does not name it; only a named one may ask for storage commitment, or
        report it.
    notify:
        Called when something new is durable, at most every quarter of a second.
    """

    def __init__(self, wire: Wire, contexts: Mapping[int, Context], *, calling: str, called: str, address: str,
                 peer: Peer | None, settings: ReceiveSettings, spool: ArrivalSpool,
                 notify: Callable[[], None]) -> None:
        self.stored = 0
        self.refusals = Refusals()
        self._wire = wire
        self._contexts = contexts
        self._calling = calling
        self._called = called
        self._address = address
        self._peer = peer
        self._settings = settings
        self._limits = Limits(settings, peer, spool)
        self._spool = spool
        self._notify = notify
        self._notified_s = 0.0
        self._most_bytes = int(settings.max_instance_mb * 1e6)
        self._folder: AssociationFolder | None = None
        self._data_due = False

    def serve(self) -> None:
        """Answer message after message; ends by AssociationOver."""
        try:
            while True:
                self._wire.at_boundary = True
                context_id, request = self._read_command()
                self._answer(context_id, request)
        finally:
            if self._folder is not None:
                self._folder.close()

    def _read_command(self) -> tuple[int, Command]:
        pieces = []
        size = 0
        while True:
            context_id, control, piece = self._wire.next_fragment()
            self._wire.at_boundary = False
            if not control & COMMAND or context_id not in self._contexts:
                raise ProtocolError(f"fragment {control:#04x} of context {context_id}, a command was due",
                                    INVALID_PARAMETER)
            size += len(piece)
            if size > MOST_COMMAND_BYTES:
                raise ProtocolError(f"command set over {MOST_COMMAND_BYTES} bytes", INVALID_PARAMETER)
            pieces.append(bytes(piece))
            if control & LAST:
                break
        try:
            return context_id, dimse.parse(b"".join(pieces))
        except BadCommand as error:
            raise ProtocolError(f"command set: {error}", INVALID_PARAMETER) from error

    def _answer(self, context_id: int, request: Command) -> None:
        self._data_due = request.has_data
        status, comment = SUCCESS, ""
        try:
            status = self._act(context_id, request)
        except DicomNodeError as error:
            status, comment = status_of(error), str(error)
            self.refusals.add(status, error.reason)
        self._pass_over(context_id)
        if request.field != dimse.C_CANCEL:
            self._wire.send_command(context_id, dimse.response(request, status, comment=comment))

    def _act(self, context_id: int, request: Command) -> int:
        context = self._contexts[context_id]
        if request.field == dimse.C_STORE:
            self._store(context_id, context, request)
        elif request.field == dimse.N_EVENT_REPORT and context.abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL:
            self._keep_event(context_id, context, request)
        elif request.field == dimse.N_ACTION and context.abstract_syntax == STORAGE_COMMITMENT_PUSH_MODEL:
            self._keep_request(context_id, context, request)
        elif request.field not in {dimse.C_ECHO, dimse.C_CANCEL}:
            return UNRECOGNIZED_OPERATION
        return SUCCESS

    def _store(self, context_id: int, context: Context, request: Command) -> None:
        admit_command(request, context, sop_classes=self._limits.sop_classes)
        self._limits.count_object()
        incoming = self._open_folder().begin()
        try:
            incoming.write(head(
                sop_class_uid=request.sop_class_uid, sop_instance_uid=request.sop_instance_uid,
                transfer_syntax_uid=context.transfer_syntax, calling=self._calling, called=self._called,
                address=self._address))
            self._stream(context_id, context, request, incoming)
            incoming.commit()
        except BaseException:
            with suppress(SpoolError):  # a disk that fails keeps a .part, which is swept
                incoming.discard()
            raise
        self.stored += 1
        self._wake_keeper()
        self._wire.hold(self._limits.turn_s())

    def _stream(self, context_id: int, context: Context, request: Command, incoming: IncomingFile) -> None:
        walk = walk_for(context.transfer_syntax, most_bytes=self._most_bytes)
        left_bytes = self._most_bytes
        while self._data_due:
            piece = self._next_data(context_id)
            left_bytes -= len(piece)
            if left_bytes < 0:
                raise OutOfResources(f"instance over max_instance_mb = {self._settings.max_instance_mb:g}")
            walk.feed(piece)
            incoming.write(piece)
        walk.finish()
        admit_instance(request, walk)

    def _next_data(self, context_id: int) -> memoryview:
        met_id, control, piece = self._wire.next_fragment()
        if met_id != context_id or control & COMMAND:
            raise ProtocolError(f"fragment {control:#04x} of context {met_id}, data of context {context_id} were due",
                                INVALID_PARAMETER)
        self._data_due = not control & LAST
        return piece

    def _pass_over(self, context_id: int) -> None:
        """Read what is left of the data set, so that its refusal can be answered; not for ever."""
        left_bytes = self._most_bytes
        while self._data_due:
            left_bytes -= len(self._next_data(context_id))
            if left_bytes < 0:
                raise ProtocolError("a refused data set goes on beyond max_instance_mb", NOT_SPECIFIED)

    def _open_folder(self) -> AssociationFolder:
        if self._folder is None:
            self._folder = self._spool.open_association(f"{time.time_ns():020d}-{uuid.uuid4().hex[:12]}")
        return self._folder

    def _keep_event(self, context_id: int, context: Context, request: Command) -> None:
        if self._peer is None:
            raise NotAuthorized(f"{self._calling!r} is no peer of the configuration: its commitment is not kept")
        event = commitment_event(
            self._whole_data(context_id), transfer_syntax_uid=context.transfer_syntax,
            event_type=request.event_type, calling=self._calling)
        self._spool.put_event("commitment", event)
        self._wake_keeper()

    def _keep_request(self, context_id: int, context: Context, request: Command) -> None:
        peer = admit_commit_request(request, self._peer, self._calling, offered=self._settings.storage_commitment)
        kept = commit_request(
            self._whole_data(context_id), transfer_syntax_uid=context.transfer_syntax,
            peer=peer.name)
        try:
            self._spool.put_event(REQUEST, kept)
        except SpoolError as error:
            raise ResourceLimitation(error.reason) from error

    def _whole_data(self, context_id: int) -> bytes:
        data = bytearray()
        while self._data_due:
            data += self._next_data(context_id)
            if len(data) > MOST_EVENT_BYTES:
                raise ProcessingFailure(f"a data set of storage commitment over {MOST_EVENT_BYTES} bytes")
        return bytes(data)

    def _wake_keeper(self) -> None:
        now_s = time.monotonic()
        if now_s - self._notified_s >= NOTIFY_AFTER_S:
            self._notified_s = now_s
            self._notify()
