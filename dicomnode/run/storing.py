"""An encoded object becomes a stored result: bytes on disk, and what the ledger is to know of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.job import StoredResult
from dicomnode.spool import Spool


def put(spool: Spool, folder: Path, one: EncodedObject) -> StoredResult:
    """Write an object into a job's result folder, durably."""
    path = spool.put_result(folder, f"{one.kind}.{one.sop_instance_uid}.dcm", one.payload)
    return StoredResult(
        kind=one.kind,
        group=one.group,
        sop_class_uid=one.sop_class_uid,
        sop_instance_uid=one.sop_instance_uid,
        series_uid=one.series_uid,
        transfer_syntax_uid=one.transfer_syntax_uid,
        path=path,
        size_bytes=len(one.payload),
        sha256=hashlib.sha256(one.payload).hexdigest(),
        refers_to=one.refers_to,
    )
