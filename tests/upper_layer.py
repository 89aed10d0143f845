"""A scripted DICOM peer: it says exactly the bytes that a test tells it to, over a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from struct import pack
from typing import Self

from pydicom import Dataset, dcmwrite
from pynetdicom.dsutils import decode, encode
from pynetdicom.pdu import A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import A_ASSOCIATE, ImplementationClassUIDNotification, MaximumLengthNotification
from pynetdicom.presentation import build_context

from tests.builders import dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
COMMAND, LAST = 1, 2


def associate_rq(contexts: Sequence[tuple[str, str]], *, calling: str = "SCANNER", called: str = "DICOMNODE",
                 more: Sequence[object] = ()) -> bytes:
    """An A-ASSOCIATE-RQ whose contexts have the ids 1, 3, 5, …; ``more`` stands in its user information."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = calling, called
    proposed = []
    for number, (abstract, syntax) in enumerate(contexts):
        context = build_context(abstract, [syntax])
        context.context_id = 2 * number + 1
        proposed.append(context)
    primitive.presentation_context_definition_list = proposed
    length = MaximumLengthNotification()
    length.maximum_length_received = 16384
    class_uid = ImplementationClassUIDNotification()
    class_uid.implementation_class_uid = "1.2.3.4"
    primitive.user_information = [length, class_uid, *more]
    return bytes(A_ASSOCIATE_RQ(primitive).encode())


def pdv(data: bytes, control: int, context_id: int = 1) -> bytes:
    """One presentation data value item."""
    return pack(">IBB", len(data) + 2, context_id, control) + data


def pdu(*pdvs: bytes) -> bytes:
    """One P-DATA-TF PDU."""
    body = b"".join(pdvs)
    return pack(">BxI", 4, len(body)) + body


def command(**elements: object) -> bytes:
    """A command set; ``CommandGroupLength`` is counted here."""
    body = encode(dataset(**elements), is_implicit_vr=True, is_little_endian=True)
    assert body is not None
    whole = encode(dataset(CommandGroupLength=len(body), **elements), is_implicit_vr=True, is_little_endian=True)
    assert whole is not None
    return whole


def store_command(built: Dataset, **changes: object) -> bytes:
    """The C-STORE-RQ that announces ``built``."""
    elements: dict[str, object] = {
        "AffectedSOPClassUID": built.SOPClassUID, "CommandField": 1, "MessageID": 1, "Priority": 0,
        "CommandDataSetType": 1, "AffectedSOPInstanceUID": built.SOPInstanceUID}
    return command(**{**elements, **changes})


def data_set(built: Dataset) -> bytes:
    """The data set alone, Explicit VR Little Endian."""
    buffer = BytesIO()
    dcmwrite(buffer, built, implicit_vr=False, little_endian=True)
    return buffer.getvalue()


class ScriptedPeer:
    """One connection; reads time out after ten seconds, so that a missing answer is a failure and not a hang."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        connection.settimeout(10)

    def say(self, *pieces: bytes) -> Self:
        """Send each piece by itself."""
        for piece in pieces:
            self.connection.sendall(piece)
        return self

    def hear(self) -> bytes:
        """The next PDU; empty when the node hung up."""
        head = self._exactly(6)
        return head + self._exactly(int.from_bytes(head[2:6], "big")) if head else b""

    def associate(self, *contexts: tuple[str, str], calling: str = "SCANNER", called: str = "DICOMNODE") -> bytes:
        """Propose, and return the answering PDU."""
        return self.say(associate_rq(contexts or [(CT, EXPLICIT)], calling=calling, called=called)).hear()

    def store(self, built: Dataset, **changes: object) -> Dataset:
        """Send one image in two PDUs, and return the response."""
        self.say(pdu(pdv(store_command(built, **changes), COMMAND | LAST)), pdu(pdv(data_set(built), LAST)))
        return self.response()

    def response(self) -> Dataset:
        """The command set of the next PDU."""
        heard = self.hear()
        assert heard[:1] == b"\x04", f"no P-DATA-TF: {heard.hex()}"
        return decode(BytesIO(heard[12:]), is_implicit_vr=True, is_little_endian=True)

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.connection.recv(size - len(data))
            if not piece:
                return b""
            data += piece
        return data


@contextmanager
def scripted_peer(port: int) -> Iterator[ScriptedPeer]:
    """Connect to a node on loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        yield ScriptedPeer(connection)
