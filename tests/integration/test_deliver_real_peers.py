"""Peers that people have: dcmtk's storescp, Orthanc, and the PACS of the tour."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicomnode.deliver import Outgoing, deliver, echo, outgoing_file, request_commitment, send_files
from dicomnode.deliver.commit import PUSH_MODEL_INSTANCE
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.node import Peer
from dicomnode.errors import AssociationRejectedPermanent, DeliveryError, PeerRefused
from tests.builders import ct_series, uid_of, write_series
from tests.live import ROOT, Orthanc, free_port, need, until

PATIENCE_S = 60.0


@pytest.fixture
def images(tmp_path) -> list[Path]:
    hu = np.random.default_rng(5).integers(-1000, 1000, (4, 64, 64)).astype(np.int16)
    return list(write_series(tmp_path / "ct", ct_series(hu)))


@contextmanager
def storescp(folder: Path, *options: str) -> Iterator[Peer]:
    """Start dcmtk's receiver; objects lie in ``folder`` as it writes them."""
    folder.mkdir(exist_ok=True)
    peer = Peer(name="dcmtk", ae_title="STORESCP", host="127.0.0.1", port=free_port())
    program = need("storescp", "dcmtk")
    process = subprocess.Popen([program, "-od", str(folder), *options, str(peer.port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: answers(peer), "storescp answers")
        yield peer
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def answers(peer: Peer) -> bool:
    try:
        return echo(node_ae_title="NODE", peer=peer, timeout_s=PATIENCE_S) >= 0
    except DeliveryError:
        return False


def send(peer: Peer, paths: list[Path], node_ae_title: str = "NODE") -> int:
    return send_files(node_ae_title=node_ae_title, peer=peer, paths=paths, timeout_s=PATIENCE_S)


def by_uid(paths) -> dict[str, Dataset]:
    return {one.SOPInstanceUID: one for one in map(dcmread, paths)}


def test_storescp_gets_every_element_as_it_lies(images, tmp_path):
    with storescp(tmp_path / "out") as peer:
        assert send(peer, images) == 4
    got, sent = by_uid((tmp_path / "out").iterdir()), by_uid(images)
    assert got == sent
    assert got[next(iter(sent))].file_meta.TransferSyntaxUID == dcmread(images[0]).file_meta.TransferSyntaxUID


def test_a_peer_that_takes_only_implicit_vr_gets_it_rewritten(images, tmp_path):
    with storescp(tmp_path / "out", "--implicit") as peer:
        assert send(peer, images) == 4
    got = by_uid((tmp_path / "out").iterdir())
    assert got == by_uid(images)
    assert all(one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2" for one in got.values())


def test_a_compressed_image_goes_compressed_where_the_peer_takes_it_and_else_decompressed(images, tmp_path):
    packed = tmp_path / "packed.dcm"
    source = dcmread(images[0])
    source.compress(RLELossless, generate_instance_uid=False)
    source.save_as(packed)
    with storescp(tmp_path / "rle", "+xr") as peer:
        send(peer, [packed])
    with storescp(tmp_path / "plain") as peer:
        send(peer, [packed])
    rle, plain = (dcmread(next((tmp_path / name).iterdir())) for name in ("rle", "plain"))
    assert rle.file_meta.TransferSyntaxUID == RLELossless
    assert rle.PixelData == source.PixelData
    assert plain.SOPInstanceUID == source.SOPInstanceUID
    assert plain.PixelData == dcmread(images[0]).PixelData


def test_storescp_that_refuses_associations_is_a_permanent_rejection(images, tmp_path):
    peer = Peer(name="dcmtk", ae_title="STORESCP", host="127.0.0.1", port=free_port())
    process = subprocess.Popen([need("storescp", "dcmtk"), "--refuse", str(peer.port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def rejected() -> str:
        try:
            send(peer, images)
        except AssociationRejectedPermanent as error:
            return str(error)
        except DeliveryError:
            return ""
        return "stored"
    try:
        assert "rejected the association (permanent, service user): no reason given" in until(rejected, "an answer")
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def test_the_pacs_of_the_tour_keeps_what_it_gets_and_says_when(images, tmp_path):
    with ReceivingPacs(tmp_path / "pacs") as pacs:
        peer = Peer(name="pacs", ae_title="DEMOPACS", host="127.0.0.1", port=pacs.port)
        assert not pacs.wait_for(1, 0)
        send(peer, images)
        assert pacs.wait_for(4, PATIENCE_S)
        assert [one.sop_instance_uid for one in pacs.received] == [dcmread(path).SOPInstanceUID for path in images]
        assert {one.calling_ae_title for one in pacs.received} == {"NODE"}
    assert by_uid((tmp_path / "pacs").glob("*.dcm")) == by_uid(images)
    assert {path.suffix for path in (tmp_path / "pacs").iterdir()} == {".dcm"}


def test_the_pacs_of_the_tour_can_come_back_on_the_same_port(images, tmp_path):
    with ReceivingPacs(tmp_path / "pacs") as first:
        port = first.port
    with ReceivingPacs(tmp_path / "pacs", port=port) as again:
        send(Peer(name="pacs", ae_title="DEMOPACS", host="127.0.0.1", port=port), images)
        assert again.wait_for(4, PATIENCE_S)


@pytest.mark.slow
def test_orthanc_stores_what_is_delivered_and_commits_to_it(images, tmp_path):
    reports: list[tuple[str, list[str], list[tuple[str, int]]]] = []

    def note(event: evt.Event) -> tuple[int, None]:
        answer = event.event_information
        reports.append((
            str(answer.TransactionUID),
            sorted(item.ReferencedSOPInstanceUID for item in answer.get("ReferencedSOPSequence", [])),
            [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in answer.get("FailedSOPSequence", [])]))
        return 0x0000, None

    ours = AE(ae_title="DICOMNODE")
    ours.add_supported_context(StorageCommitmentPushModel, scu_role=True, scp_role=True)
    listening = ours.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, note)])
    with Orthanc(tmp_path / "orthanc", node_port=listening.server_address[1]) as orthanc:
        peer = Peer(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port)
        files = [outgoing_file(path) for path in images]
        marks: list[int] = []
        deliver(node_ae_title="DICOMNODE", peer=peer, timeout_s=PATIENCE_S,
                items=[Outgoing(item_id=n, alternatives=(file,)) for n, file in enumerate(files)],
                stored=lambda item_id, *_: marks.append(item_id), not_taken=lambda *_: None)
        assert marks == [0, 1, 2, 3]
        assert len(orthanc.instances("CT")) == 4
        missing, transaction = uid_of("never sent"), uid_of("transaction")
        refs = [InstanceRef(sop_class_uid=file.sop_class_uid, sop_instance_uid=file.sop_instance_uid) for file in files]
        refs.append(InstanceRef(sop_class_uid=files[0].sop_class_uid, sop_instance_uid=missing))
        request_commitment(node_ae_title="DICOMNODE", peer=peer, transaction_uid=transaction, refs=refs,
                           timeout_s=PATIENCE_S)
        until(lambda: reports, "Orthanc reports to the node")
    listening.shutdown()
    assert reports == [(transaction, sorted(file.sop_instance_uid for file in files), [(missing, 0x0112)])]


def test_a_peer_without_storage_commitment_says_how_to_do_without(tmp_path):
    with storescp(tmp_path / "out") as peer, \
            pytest.raises(PeerRefused, match=r"set storage_commitment = false in \[peers\.dcmtk\]"):
        request_commitment(node_ae_title="NODE", peer=peer, transaction_uid="1.2.3", timeout_s=PATIENCE_S,
                           refs=[InstanceRef(sop_class_uid="1.2", sop_instance_uid=PUSH_MODEL_INSTANCE)])


@pytest.mark.slow
def test_the_orthanc_example_sends_images_to_the_node_and_results_never(images, tmp_path):
    example = ROOT / "config" / "orthanc"
    settings = json.loads((example / "orthanc.json").read_text(encoding="utf-8"))
    (lua,) = settings["LuaScripts"]
    with ReceivingPacs(tmp_path / "node", ae_title="DICOMNODE") as node, \
            Orthanc(tmp_path / "orthanc", node_port=node.port, lua=example / lua, StableAge=1,
                    DicomCheckCalledAet=settings["DicomCheckCalledAet"],
                    DicomModalities={"dicomnode": settings["DicomModalities"]["dicomnode"] | {"Port": node.port}},
                    ) as orthanc:
        results = []
        for place, modality in enumerate(("SEG", "SR", "PR", "SC", "KO")):
            one = dcmread(images[0])
            one.Modality, one.SeriesInstanceUID = modality, uid_of("series", modality)
            one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = uid_of("result", place)
            results.append(one)
        own = dcmread(images[0])
        own.Manufacturer, own.SeriesInstanceUID = "dicomnode", uid_of("series", "own")
        own.SOPInstanceUID = own.file_meta.MediaStorageSOPInstanceUID = uid_of("result", "own")
        paths = [tmp_path / f"result{place}.dcm" for place in range(6)]
        for path, one in zip(paths, [*results, own], strict=True):
            one.save_as(path)
        peer = Peer(name="orthanc", ae_title="ORTHANC", host="127.0.0.1", port=orthanc.dicom_port)
        send(peer, [*paths, *images])
        assert node.wait_for(4, PATIENCE_S)
        until(lambda: len(stable(orthanc)) == 7, "every series is stable")
        until(lambda: set(jobs(orthanc)) == {"Success"}, "every job of Orthanc has ended well")
        assert {one.sop_instance_uid for one in node.received} == set(by_uid(images))


def jobs(orthanc: Orthanc) -> list[str]:
    return [orthanc.get(f"/jobs/{job}")["State"] for job in orthanc.get("/jobs")]


def stable(orthanc: Orthanc) -> list[str]:
    return [one for one in orthanc.get("/series") if orthanc.get(f"/series/{one}")["IsStable"]]
