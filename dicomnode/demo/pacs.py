"""A PACS for the tour and for tests: stores what it is sent as files, on a loopback port."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self, cast

from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made at import time
from pynetdicom.transport import ThreadedAssociationServer

from dicomnode.domain.dicom import ae_title as checked_ae_title
from dicomnode.domain.dicom import uid

SUCCESS: Final = 0x0000
INVALID_SOP_INSTANCE: Final = 0x0117
OUT_OF_RESOURCES: Final = 0xA700
LOOPBACK: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One object that the PACS stored."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    calling_ae_title: str


class ReceivingPacs:
    """A storage SCP for a ``with`` statement: every object lies in ``folder`` as ``<SOP Instance UID>.dcm``.

    A file appears whole or not at all, and an object sent again replaces the first.

    Parameters
    ----------
    folder:
        Made if it is not there.
    ae_title:
        How it is called; any called AE title is accepted.
    port:
        0 chooses a free one, which ``port`` then names.
    """

    def __init__(self, folder: Path, *, ae_title: str = "DEMOPACS", port: int = 0) -> None:
        self.folder = folder
        self.ae_title = checked_ae_title(ae_title)
        self.port = port
        self.received: list[Received] = []
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        """Listen; objects can be sent from now on."""
        self.folder.mkdir(parents=True, exist_ok=True)
        entity = AE(ae_title=self.ae_title)
        entity.maximum_pdu_size = 0
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax), ALL_TRANSFER_SYNTAXES)
        entity.add_supported_context(Verification)
        server = entity.start_server((LOOPBACK, self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        self._server = cast("ThreadedAssociationServer", server)
        self.port = self._server.server_address[1]
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening; the files stay."""
        self._server.shutdown()

    def wait_for(self, count: int, timeout_s: float) -> bool:
        """Wait until at least ``count`` objects were received; whether that came true in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.received) >= count, timeout_s)

    def _store(self, event: evt.Event) -> int:
        request = cast("C_STORE", event.request)
        try:
            name = uid(str(request.AffectedSOPInstanceUID))
        except ValueError:
            return INVALID_SOP_INSTANCE
        path = self.folder / f"{name}.dcm"
        part = path.with_suffix(f".{threading.get_ident()}.part")
        try:
            part.write_bytes(event.encoded_dataset())
            part.replace(path)
        except OSError:
            return OUT_OF_RESOURCES
        self._note(
            Received(
                path=path,
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=name,
                calling_ae_title=str(event.assoc.requestor.ae_title).strip(),
            )
        )
        return SUCCESS

    def _note(self, received: Received) -> None:
        with self._changed:
            self.received.append(received)
            self._changed.notify_all()
