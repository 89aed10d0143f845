"""Peers that play a script over a real socket: any misbehaviour can be staged, and what came is kept."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

from pynetdicom.pdu import A_ASSOCIATE_RQ

from dicomnode.deliver import dimse, pdu
from dicomnode.domain.node import Peer

PATIENCE_S = 20.0


class Talk:
    """The scripted peer's side of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.stored: list[tuple[str, bytes]] = []

    def read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise ConnectionError("the sender closed")
            data += part
        return data

    def read_pdu(self) -> tuple[int, bytes]:
        kind, length = struct.unpack(">BxI", self.read(6))
        return kind, self.read(length)

    def read_request(self) -> A_ASSOCIATE_RQ:
        kind, body = self.read_pdu()
        request = A_ASSOCIATE_RQ()
        request.decode(struct.pack(">BBI", kind, 0, len(body)) + body)
        return request

    def accept(self, *, takes: Callable[[str], bool] = lambda _: True, max_pdu_bytes: int = 16384) -> None:
        request = self.read_request().to_primitive()
        items = b""
        for context in request.presentation_context_definition_list:
            result = 0 if takes(str(context.abstract_syntax)) else 3
            syntax = str(context.transfer_syntax[0]).encode()
            value = bytes((context.context_id, 0, result, 0)) + struct.pack(">BBH", 0x40, 0, len(syntax)) + syntax
            items += struct.pack(">BBH", 0x21, 0, len(value)) + value
        user = struct.pack(">BBHI", 0x51, 0, 4, max_pdu_bytes)
        body = struct.pack(">HH", 1, 0) + bytes(64) + items + struct.pack(">BBH", 0x50, 0, len(user)) + user
        self.socket.sendall(struct.pack(">BBI", pdu.ASSOCIATE_AC, 0, len(body)) + body)

    def read_message(self) -> tuple[int, dimse.Command, bytes]:
        parts = {True: b"", False: b""}
        command = None
        while True:
            kind, body = self.read_pdu()
            if kind != pdu.P_DATA:
                raise ConnectionError(f"PDU {kind}")
            for fragment in pdu.parse_p_data(body):
                parts[fragment.is_command] += fragment.data
                if fragment.is_last and fragment.is_command:
                    command = dimse.parse(parts[True])
                if command and fragment.is_last and fragment.is_command != command.has_data:
                    return fragment.context_id, command, parts[False]

    def respond(self, context_id: int, command: dimse.Command, status: int, *, message_id: int | None = None) -> None:
        self.say(context_id, command_set({
            dimse.AFFECTED_SOP_CLASS: command.sop_class_uid, dimse.COMMAND_FIELD: command.field | dimse.RESPONSE,
            dimse.MESSAGE_ID_RESPONDED_TO: command.message_id if message_id is None else message_id,
            dimse.DATA_SET_TYPE: dimse.NO_DATA_SET, dimse.STATUS: status,
        }))

    def say(self, context_id: int, command: bytes) -> None:
        self.socket.sendall(b"".join(pdu.p_data_pdus(context_id, [command], is_command=True, fragment_bytes=16000)))

    def store(self, *statuses: int) -> None:
        """Answer so many C-STOREs, keep what came."""
        for status in statuses:
            context_id, command, data = self.read_message()
            self.stored.append((command.sop_instance_uid, data))
            self.respond(context_id, command, status)

    def release(self) -> None:
        kind, _ = self.read_pdu()
        assert kind == pdu.RELEASE_RQ
        self.socket.sendall(pdu.RELEASE_RP_PDU)


def command_set(values: dict[int, int | str]) -> bytes:
    """Return any command set, right or wrong."""
    return dimse._command(values)


class ScriptedPeer:
    """Listens on loopback and plays a script to the first caller; ``finished`` where it came to its end."""

    def __init__(self, script: Callable[[Talk], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.peer = Peer(name="pacs", ae_title="PACS", host="127.0.0.1", port=self._listener.getsockname()[1])
        self.talk: Talk | None = None
        self.finished = False
        self._thread = threading.Thread(target=self._play)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(PATIENCE_S)
        self._listener.close()
        assert not self._thread.is_alive()

    def _play(self) -> None:
        self._listener.settimeout(PATIENCE_S)
        with suppress(TimeoutError):
            connection, _ = self._listener.accept()
            with connection, suppress(ConnectionError):
                connection.settimeout(PATIENCE_S)
                self.talk = Talk(connection)
                self._script(self.talk)
                self.finished = True


def storing(
    *statuses: int, takes: Callable[[str], bool] = lambda _: True, max_pdu_bytes: int = 16384,
) -> ScriptedPeer:
    """A peer that accepts what it ``takes``, answers C-STOREs with these statuses, and waits for the release."""

    def script(talk: Talk) -> None:
        talk.accept(takes=takes, max_pdu_bytes=max_pdu_bytes)
        talk.store(*statuses)
        talk.release()
    return ScriptedPeer(script)
