"""A scanner that asks the node to commit to its images: pynetdicom, in both roles, on loopback."""

from __future__ import annotations

import queue
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from pydicom import Dataset
from pynetdicom import AE, build_role, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from tests.builders import dataset

INSTANCE = "1.2.840.10008.1.20.1.1"
PATIENCE_S = 60.0


@dataclass
class Report:
    """One N-EVENT-REPORT."""

    transaction_uid: str
    event_type: int
    committed: list[str]
    failed: dict[str, int]


@dataclass
class Scanner:
    """Listens for reports, each answered with the next of ``answers`` and then with success."""

    ae_title: str = "SCANNER"
    knows_roles: bool = True
    answers: list[int] = field(default_factory=list)
    reports: queue.SimpleQueue[Report] = field(default_factory=queue.SimpleQueue)

    def __enter__(self) -> Self:
        ours = AE(ae_title=self.ae_title)
        roles = {"scu_role": True, "scp_role": True} if self.knows_roles else {}
        ours.add_supported_context(StorageCommitmentPushModel, **roles)
        self._listening = ours.start_server(("127.0.0.1", 0), block=False,
                                            evt_handlers=[(evt.EVT_N_EVENT_REPORT, self._hear)])
        self.port = int(self._listening.server_address[1])
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown()

    def _hear(self, event: evt.Event) -> tuple[int, None]:
        report = event.event_information
        status = self.answers.pop(0) if self.answers else 0x0000
        self.reports.put(Report(
            transaction_uid=str(report.TransactionUID), event_type=int(event.event_type),
            committed=[str(one.ReferencedSOPInstanceUID) for one in report.get("ReferencedSOPSequence", [])],
            failed={str(one.ReferencedSOPInstanceUID): int(one.FailureReason)
                    for one in report.get("FailedSOPSequence", [])}))
        return status, None

    def heard(self) -> Report:
        """Return the next report; fails where none comes."""
        return self.reports.get(timeout=PATIENCE_S)


def reference(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item of the Referenced SOP Sequence."""
    return dataset(ReferencedSOPClassUID=sop_class_uid, ReferencedSOPInstanceUID=sop_instance_uid)


def asked(
    port: int, transaction_uid: str, refs: Sequence[Dataset], *, calling: str = "SCANNER", action: int = 1,
    instance: str = INSTANCE, **more: Any,
) -> int:
    """Send an N-ACTION of the Push Model in the default role; return the status."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(StorageCommitmentPushModel)
    association = entity.associate("127.0.0.1", port, ae_title="DICOMNODE", ext_neg=more.get("ext_neg"))
    assert association.is_established
    request = dataset(TransactionUID=transaction_uid, ReferencedSOPSequence=list(refs))
    status, _ = association.send_n_action(request, action, StorageCommitmentPushModel, instance)
    association.release()
    return int(status.Status)


def both_roles() -> list[Any]:
    """Propose to be SCU and SCP of the Push Model."""
    return [build_role(StorageCommitmentPushModel, scu_role=True, scp_role=True)]
