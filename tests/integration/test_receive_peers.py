from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pytest
from pydicom import DataElement, Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from pynetdicom import AE, build_role

from dicomnode.receive.syntaxes import decodable_transfer_syntaxes
from dicomnode.spool import Spool
from tests.builders import ct_series, dataset, enhanced_ct, write_series
from tests.live import Orthanc, need, shared_data
from tests.receiving import Receiver, free_port, receiver

COMMITMENT, COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1", "1.2.840.10008.1.20.1.1"
CT, ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1"
SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SERVE = """
import signal, sys, threading
from pathlib import Path
from dicomnode.domain.node import NodeSettings, ReceiveSettings
from dicomnode.receive import scp
from dicomnode.receive.syntaxes import decodable_transfer_syntaxes
from dicomnode.spool import Spool
root, port, processes = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
spool = Spool(root, min_free_bytes=0)
spool.prepare()
scp.serve(NodeSettings(bind="127.0.0.1", port=port, data_dir=root),
          ReceiveSettings(unknown_peers="accept", processes=processes, max_associations_per_peer=2), {}, spool,
          stop=stop, notify=lambda: None, ready=lambda: print("ready", flush=True))
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Receiver]:
    with receiver(tmp_path / "spool") as running:
        yield running


def a_series(folder: Path, count: int = 12, seed: str = "ct", syntax: str = ExplicitVRLittleEndian) -> list[Path]:
    rows = np.arange(count * 64 * 64, dtype=np.int16).reshape(count, 64, 64)
    return write_series(folder, ct_series(rows, seed=seed), transfer_syntax=syntax)


def data_set_bytes(path: Path) -> bytes:
    """Everything behind the File Meta Information."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little"):]


def by_uid(paths: Sequence[Path]) -> dict[str, bytes]:
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): data_set_bytes(path) for path in paths}


def arrived(spool: Spool) -> list[Path]:
    return [arrival.path for arrival in spool.arrivals()]


def storescu(port: int, paths: Sequence[Path], *options: str, nagle: bool = True,
             calling: str = "SCANNER") -> subprocess.CompletedProcess[str]:
    program = need("storescu", "dcmtk")
    environment = dict(os.environ) if nagle else {**os.environ, "TCP_NODELAY": "1"}
    return subprocess.run(
        [program, "-v", "-aet", calling, "-aec", "DICOMNODE", *options, "127.0.0.1", str(port), *map(str, paths)],
        env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=120)


@pytest.mark.parametrize("nagle", [False, True])
@pytest.mark.parametrize("options", [(), ("--max-send-pdu", "4096"), ("--propose-implicit",)])
def test_what_storescu_sends_arrives_unchanged(
    node: Receiver, tmp_path: Path, *, options: tuple[str, ...], nagle: bool,
):
    syntax = ImplicitVRLittleEndian if options == ("--propose-implicit",) else ExplicitVRLittleEndian
    paths = a_series(tmp_path / "sent", syntax=syntax)
    sent = storescu(node.port, paths, *options, nagle=nagle)
    assert sent.returncode == 0, sent.stdout
    assert len(arrived(node.spool)) == len(paths)
    assert _data_sets(arrived(node.spool)) == _data_sets(paths)


def _data_sets(paths: Sequence[Path]) -> dict[str, Dataset]:
    """dcmtk and Orthanc write the element headers anew, so data sets are compared, not bytes."""
    return {uid: dcmread(path) for uid, path in _paths(paths).items()}


def _elements(path: Path) -> list[DataElement]:
    """All but the retired group lengths, which a sender may leave out."""
    return [element for element in dcmread(path) if element.tag.element]


def _paths(paths: Sequence[Path]) -> dict[str, Path]:
    return {str(dcmread(path, stop_before_pixels=True).SOPInstanceUID): path for path in paths}


def test_echoscu_is_answered(node: Receiver):
    program = need("echoscu", "dcmtk")
    command = [program, "-aet", "SCANNER", "-aec", "DICOMNODE", "127.0.0.1", str(node.port)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_dcmtk_is_told_why_a_stranger_is_refused(node: Receiver, tmp_path: Path):
    sent = storescu(node.port, a_series(tmp_path, 1), calling="STRANGER")
    assert sent.returncode != 0
    assert "Calling AE Title Not Recognized" in sent.stdout
    assert arrived(node.spool) == []


@pytest.mark.parametrize("syntax", [
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, RLELossless])
def test_each_encoding_arrives_as_it_was_sent_and_decodes_to_the_same_pixels(
    node: Receiver, tmp_path: Path, syntax: str,
):
    paths = a_series(tmp_path, 3, syntax=syntax)
    assert send(node.port, paths, syntax) == [0, 0, 0]
    assert by_uid(arrived(node.spool)) == by_uid(paths)
    for path in arrived(node.spool):
        received = dcmread(path)
        assert received.file_meta.TransferSyntaxUID == syntax
        np.testing.assert_array_equal(received.pixel_array, dcmread(_paths(paths)[received.SOPInstanceUID]).pixel_array)


def send(port: int, paths: Sequence[Path], syntax: str, *, sop_class: str = CT, max_pdu: int = 16382) -> list[int]:
    """Send with pynetdicom; return the statuses."""
    entity = AE(ae_title="SCANNER")
    entity.maximum_pdu_size = max_pdu
    entity.add_requested_context(sop_class, [syntax])
    association = entity.associate("127.0.0.1", port, ae_title="DICOMNODE")
    assert association.is_established
    try:
        return [association.send_c_store(path).Status for path in paths]
    finally:
        association.release()


def test_an_enhanced_multi_frame_object_arrives(node: Receiver, tmp_path: Path):
    paths = write_series(tmp_path, [enhanced_ct(np.zeros((40, 64, 64), np.int16))])
    assert send(node.port, paths, ExplicitVRLittleEndian, sop_class=ENHANCED_CT) == [0]
    assert by_uid(arrived(node.spool)) == by_uid(paths)


@pytest.mark.parametrize(("sop_class", "syntax"), [(CT, ExplicitVRBigEndian), (SEG, ExplicitVRLittleEndian)])
def test_big_endian_and_classes_that_are_not_configured_are_not_accepted(node: Receiver, sop_class: str, syntax: str):
    entity = AE(ae_title="SCANNER")
    entity.add_requested_context(sop_class, [syntax])
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", node.port, ae_title="DICOMNODE")
    assert [context.abstract_syntax for context in association.accepted_contexts] == ["1.2.840.10008.1.1"]
    assert association.send_c_echo().Status == 0
    association.release()


def test_every_real_compressed_image_whose_decoder_is_here_arrives_unchanged(node: Receiver):
    folder = shared_data("dicom_transfer_syntaxes", "cornerstone3D", "packages", "dicomImageLoader", "testImages")
    offered = decodable_transfer_syntaxes()
    sent = 0
    for path in sorted(folder.glob("CTImage.dcm_*")):
        syntax = str(dcmread(path, stop_before_pixels=True).file_meta.TransferSyntaxUID)
        if syntax in offered:
            assert send(node.port, [path], syntax) == [0], path.name
            newest = max(arrived(node.spool))
            assert _elements(newest) == _elements(path)
            assert dcmread(newest).pixel_array.shape == (512, 512)
            sent += 1
    assert sent >= 10


def test_eight_senders_at_once_lose_and_mix_nothing(node: Receiver, tmp_path: Path):
    need("storescu", "dcmtk")
    series = [a_series(tmp_path / str(number), 15, seed=f"ct{number}") for number in range(8)]
    results: list[int] = []
    threads = [threading.Thread(target=lambda paths=paths: results.append(storescu(node.port, paths).returncode))
               for paths in series]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [0] * 8
    assert by_uid(arrived(node.spool)) == by_uid([path for paths in series for path in paths])
    folders = {arrival.association for arrival in node.spool.arrivals()}
    assert len(folders) == 8


def test_orthanc_echoes_and_sends(node: Receiver, tmp_path: Path):
    paths = a_series(tmp_path / "sent", 5)
    peers = {"orthanc": ["DICOMNODE", "127.0.0.1", node.port]}
    with Orthanc(tmp_path / "orthanc", node_port=node.port, DicomModalities=peers, DicomAet="SCANNER") as pacs:
        pacs.upload(paths)
        study = pacs.get("/studies")[0]
        answer = _post(f"{pacs.url}/modalities/orthanc/store", study)
        assert answer["FailedInstancesCount"] == 0
        assert _post(f"{pacs.url}/modalities/orthanc/echo", "{}") == {}
    assert _data_sets(arrived(node.spool)) == _data_sets(paths)


def _post(url: str, body: str) -> dict[str, object]:
    with urlopen(Request(url, data=body.encode(), method="POST"), timeout=60) as answer:
        content: dict[str, object] = json.load(answer)
    return content


def commitment_report() -> Dataset:
    done = dataset(ReferencedSOPClassUID=SEG, ReferencedSOPInstanceUID="2.25.1")
    lost = dataset(ReferencedSOPClassUID=SEG, ReferencedSOPInstanceUID="2.25.2", FailureReason=0x0112)
    return dataset(TransactionUID="2.25.9", ReferencedSOPSequence=[done], FailedSOPSequence=[lost])


def report_commitment(port: int, calling: str) -> int:
    """Send an N-EVENT-REPORT on an association of its own, as a PACS does; return the status."""
    entity = AE(ae_title=calling)
    entity.add_requested_context(COMMITMENT)
    role = build_role(COMMITMENT, scp_role=True)
    association = entity.associate("127.0.0.1", port, ae_title="DICOMNODE", ext_neg=[role])
    assert association.is_established
    status, _ = association.send_n_event_report(commitment_report(), 2, COMMITMENT, COMMITMENT_INSTANCE)
    association.release()
    return int(status.Status)


def test_a_storage_commitment_result_is_kept_for_the_keeper(node: Receiver):
    assert report_commitment(node.port, "SCANNER") == 0x0000
    (event,) = node.spool.events()
    kept = json.loads(event.read_bytes())
    assert kept == {"transaction_uid": "2.25.9", "event_type": 2, "calling_ae_title": "SCANNER",
                    "committed": ["2.25.1"], "failed": {"2.25.2": 0x0112}}


def test_a_stranger_s_storage_commitment_is_not_believed(tmp_path: Path):
    with receiver(tmp_path, unknown_peers="accept") as node:
        assert report_commitment(node.port, "STRANGER") == 0x0124
        assert list(node.spool.events()) == []


def started(root: Path, port: int, processes: int = 1) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(root), str(port), str(processes)],
                               stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_no_image_that_was_acknowledged_is_lost_when_the_receiver_is_killed(tmp_path: Path):
    need("storescu", "dcmtk")
    paths = a_series(tmp_path / "sent", 150)
    port = free_port()
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    with started(spool.root, port) as node:
        sender = threading.Thread(target=lambda: outputs.append(storescu(port, paths).stdout))
        outputs: list[str] = []
        sender.start()
        while len(list(spool.arrivals())) < 10:
            threading.Event().wait(0.005)
        node.send_signal(signal.SIGKILL)
        sender.join()
    acknowledged = outputs[0].count("Received Store Response (Success)")
    kept = by_uid(arrived(spool))
    assert 9 <= acknowledged <= len(kept) <= acknowledged + 1
    assert kept.items() <= by_uid(paths).items()
    assert spool.open_associations() == frozenset()
    assert all(not arrival.association_open for arrival in spool.arrivals())


def test_a_terminated_receiver_ends_by_itself_and_loses_nothing(tmp_path: Path):
    need("storescu", "dcmtk")
    paths = a_series(tmp_path / "sent", 150)
    port = free_port()
    spool = Spool(tmp_path / "spool", min_free_bytes=0)
    with started(spool.root, port) as node:
        outputs: list[str] = []
        sender = threading.Thread(target=lambda: outputs.append(storescu(port, paths).stdout))
        sender.start()
        while len(list(spool.arrivals())) < 10:
            threading.Event().wait(0.005)
        node.send_signal(signal.SIGTERM)
        sender.join()
        assert node.wait(60) == 0
    assert len(arrived(spool)) == outputs[0].count("Received Store Response (Success)")
    assert list(spool.root.rglob("*.part")) == []


def test_two_processes_share_a_port_and_the_limit_of_a_peer(tmp_path: Path):
    port = free_port()
    root = tmp_path / "spool"
    with started(root, port, 2) as one, started(root, port, 2) as other:
        entity = AE(ae_title="SCANNER")
        entity.add_requested_context("1.2.840.10008.1.1")
        held = [entity.associate("127.0.0.1", port, ae_title="DICOMNODE") for _ in range(6)]
        assert [association.is_established for association in held].count(True) == 2
        for association in held:
            if association.is_established:
                assert association.send_c_echo().Status == 0
                association.release()
        one.terminate()
        other.terminate()
        assert (one.wait(60), other.wait(60)) == (0, 0)
