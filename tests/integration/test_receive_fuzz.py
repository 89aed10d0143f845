from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_preamble

from tests.receiving import receiver
from tests.shared import unpacked
from tests.upper_layer import COMMAND, CT, EXPLICIT, LAST, command, pdu, pdv, scripted_peer

PIECE_BYTES = 16_000
IMPLICIT = "1.2.840.10008.1.2"


def identity(path: Path) -> tuple[str, str]:
    """SOP Instance UID and transfer syntax as far as anybody can read them."""
    try:
        read = dcmread(path, force=True, stop_before_pixels=True)
        return str(read.get("SOPInstanceUID") or "1.2.3"), str(read.file_meta.get("TransferSyntaxUID", EXPLICIT))
    except Exception:  # noqa: BLE001  malformed on purpose: whatever the reader raises
        return "1.2.3", EXPLICIT


def data_set(path: Path) -> bytes:
    """The bytes behind the File Meta Information, or all of them where there is none."""
    content = path.read_bytes()
    with path.open("rb") as file:
        try:
            read_preamble(file, force=False)
        except (InvalidDicomError, EOFError):
            return content
    return content[144 + int.from_bytes(content[140:144], "little"):] if len(content) > 144 else content


def announce(uid: str) -> bytes:
    return command(AffectedSOPClassUID=CT, CommandField=1, MessageID=1, Priority=0, CommandDataSetType=1,
                   AffectedSOPInstanceUID=uid[:64])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_malformed_data_set_is_answered_and_only_acknowledged_ones_are_kept(tmp_path: Path):
    files = [path for path in sorted(unpacked("dicom_fuzz", tmp_path / "fuzz").rglob("*")) if path.is_file()]
    assert len(files) > 500
    statuses: list[int] = []
    with receiver(tmp_path / "spool", max_instance_mb=64.0) as node, scripted_peer(node.port) as peer:
        peer.associate((CT, EXPLICIT), (CT, IMPLICIT))
        for path in files:
            uid, syntax = identity(path)
            context_id = 3 if syntax == IMPLICIT else 1
            data = data_set(path) or b"\0"
            pieces = [data[start:start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES)]
            peer.say(pdu(pdv(announce(uid), COMMAND | LAST, context_id)))
            for piece in pieces[:-1]:
                peer.say(pdu(pdv(piece, 0, context_id)))
            statuses.append(int(peer.say(pdu(pdv(pieces[-1], LAST, context_id))).response().Status))
        arrivals = list(node.spool.arrivals())
    assert set(statuses) <= {0x0000, 0xA900, 0xC000}
    assert len(arrivals) == statuses.count(0)
    assert list(node.spool.root.rglob("*.part")) == []
