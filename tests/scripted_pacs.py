"""A PACS of which each association plays the next script, and what it was asked to commit to."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from typing import Self

from pydicom.filereader import read_dataset

from dicomnode.deliver import dimse, pdu
from dicomnode.deliver.commit import PUSH_MODEL, PUSH_MODEL_INSTANCE, encoded_report
from dicomnode.domain.dicom import InstanceRef
from tests.peers import PATIENCE_S, Talk

Script = Callable[[Talk], None]


@dataclass(frozen=True)
class Asked:
    """One N-ACTION."""

    transaction_uid: str
    refs: tuple[InstanceRef, ...]

    @property
    def uids(self) -> list[str]:
        return [ref.sop_instance_uid for ref in self.refs]


class ScriptedPacs:
    """Listens on loopback; the n-th caller meets the n-th script, and after the last nobody answers."""

    def __init__(self, *scripts: Script, listening: bool = True) -> None:
        self._scripts = list(scripts)
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)
        self._started = False
        if listening:
            self.appear()

    def appear(self) -> None:
        """Listen from now on: until then the port refuses connections."""
        self._listener.listen(5)
        self._started = True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(PATIENCE_S)
        self._listener.close()

    def _play(self) -> None:
        self._listener.settimeout(0.2)
        while self._scripts and not self._over.is_set():
            if not self._started:
                self._over.wait(0.05)
                continue
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                with connection, suppress(ConnectionError):
                    connection.settimeout(PATIENCE_S)
                    self._scripts.pop(0)(Talk(connection))


def taking(*statuses: int) -> Script:
    """Accept everything, answer C-STOREs so, and release."""
    def script(talk: Talk) -> None:
        talk.accept()
        talk.store(*statuses)
        talk.release()
    return script


def aborting(talk: Talk) -> None:
    """Abort in the middle of an object."""
    talk.accept()
    talk.read_pdu()
    talk.socket.sendall(pdu.ABORT_PDU)


def stalling(until: threading.Event) -> Script:
    """Accept, and say no more."""
    def script(talk: Talk) -> None:
        talk.accept()
        until.wait(PATIENCE_S)
    return script


def promising(asked: queue.SimpleQueue[Asked], *, status: int = 0x0000, then: Callable[[Talk, int, Asked], None]
              | None = None) -> Script:
    """Take one request for commitment; ``then`` goes on in the same association before the release."""
    def script(talk: Talk) -> None:
        talk.accept()
        context_id, command, data = talk.read_message()
        request = read_dataset(BytesIO(data), is_implicit_VR=False, is_little_endian=True)
        named = [(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
                 for item in request.ReferencedSOPSequence]
        one = Asked(str(request.TransactionUID), tuple(
            InstanceRef(sop_class_uid=sop_class, sop_instance_uid=uid) for sop_class, uid in named))
        talk.respond(context_id, command, status)
        if then is not None:
            then(talk, context_id, one)
        asked.put(one)
        talk.release()
    return script


def report_here(talk: Talk, context_id: int, asked: Asked) -> None:
    """Commit to everything on the association that asked; the answer must be success."""
    say_report(talk, context_id, asked.transaction_uid, asked.refs)
    _, answer, _ = talk.read_message()
    assert answer.field == dimse.N_EVENT_REPORT_RQ | dimse.RESPONSE
    assert answer.status == dimse.SUCCESS


def say_report(talk: Talk, context_id: int, transaction_uid: str, refs: Sequence[InstanceRef]) -> None:
    """Send an N-EVENT-REPORT that commits to ``refs``."""
    talk.say(context_id, dimse.n_event_report_rq(77, PUSH_MODEL, PUSH_MODEL_INSTANCE, 1))
    data = encoded_report(transaction_uid, refs, (), implicit_vr=False)
    talk.socket.sendall(b"".join(pdu.p_data_pdus(context_id, [data], is_command=False, fragment_bytes=16000)))
