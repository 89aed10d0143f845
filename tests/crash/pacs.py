"""A PACS that remembers every object that it was ever sent, byte for byte, and commits to what it stored."""

from __future__ import annotations

import hashlib
import threading
from collections import defaultdict
from pathlib import Path
from typing import Self

from pydicom import Dataset
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, build_role, evt
from pynetdicom.sop_class import Verification

from tests.builders import dataset
from tests.upper_layer import COMMAND, EXPLICIT, LAST, associate_rq, command, data_set, pdu, pdv, scripted_peer

COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
TRIES = 40


class RememberingPacs:
    """A storage SCP on loopback; ``node_port``: where its commitment reports go."""

    def __init__(self, folder: Path, *, ae_title: str, node_port: int = 0) -> None:
        self.folder, self.ae_title, self._node_port = folder, ae_title, node_port
        self.sent: dict[str, list[str]] = defaultdict(list)
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._reports: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=self.ae_title)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(Verification)
        entity.add_supported_context(COMMITMENT)
        self._server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[
            (evt.EVT_C_STORE, self._store), (evt.EVT_N_ACTION, self._commit)])
        self.port = self._server.server_address[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        for thread in self._reports:
            thread.join(60)

    def objects(self) -> dict[str, bytes]:
        """Return the data set of each object, as it was sent the last time."""
        return {path.stem: path.read_bytes() for path in self.folder.glob("*.dataset")}

    def _store(self, event: evt.Event) -> int:
        data = event.request.DataSet.getvalue()
        uid = str(event.request.AffectedSOPInstanceUID)
        with self._lock:
            (self.folder / f"{uid}.dataset").write_bytes(data)
            self.sent[uid].append(hashlib.sha256(data).hexdigest())
        return 0x0000

    def _commit(self, event: evt.Event) -> tuple[int, None]:
        request = event.action_information
        thread = threading.Thread(target=self._report, args=[request])
        self._reports.append(thread)
        thread.start()
        return 0x0000, None

    def _report(self, request: Dataset) -> None:
        """Say on an association of its own what is stored; again where the node is not there to hear it."""
        lists: dict[bool, list[Dataset]] = {True: [], False: []}
        for item in request.ReferencedSOPSequence:
            lists[item.ReferencedSOPInstanceUID in self.sent].append(item)
        for item in lists[False]:
            item.FailureReason = 0x0112
        report = dataset(TransactionUID=request.TransactionUID, ReferencedSOPSequence=lists[True] or None,
                         FailedSOPSequence=lists[False] or None)
        for _ in range(TRIES):
            if self._said(report, 2 if lists[False] else 1) or self._closing.wait(0.5):
                return

    def _said(self, report: Dataset, event_type: int) -> bool:
        """Whether the node answered the report with success."""
        asking = command(AffectedSOPClassUID=COMMITMENT, CommandField=0x0100, MessageID=1, CommandDataSetType=1,
                         AffectedSOPInstanceUID=COMMITMENT_INSTANCE, EventTypeID=event_type)
        request = associate_rq([(COMMITMENT, EXPLICIT)], calling=self.ae_title,
                               more=[build_role(COMMITMENT, scp_role=True)])
        try:
            with scripted_peer(self._node_port) as peer:
                peer.say(request).hear()
                answer = peer.say(pdu(pdv(asking, COMMAND | LAST)), pdu(pdv(data_set(report), LAST))).response()
        except (OSError, AssertionError):
            return False
        return answer.Status == 0x0000
