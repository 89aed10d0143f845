"""Orthanc over TLS, both ways: images from it, results to it."""

from __future__ import annotations

import numpy as np

from dicomnode.deliver import echo, send_files
from dicomnode.domain.node import Peer
from tests.builders import ct_series, write_series
from tests.certificates import Authority, calling, listening
from tests.live import Orthanc
from tests.receiving import receiver

PEERS = {"pacs": Peer(name="pacs", ae_title="ORTHANC", tls_names=("orthanc",))}


def test_orthanc_sends_and_takes_over_tls(tmp_path):
    hospital = Authority(tmp_path / "tls")
    ours, theirs = hospital.issue("node"), hospital.issue("orthanc")
    paths = write_series(tmp_path / "ct", ct_series(np.arange(3 * 64 * 64, dtype=np.int16).reshape(3, 64, 64)))
    with receiver(tmp_path / "spool", peers=PEERS, tls=listening(hospital, ours)) as node, Orthanc(
        tmp_path / "orthanc", node_port=0, DicomTlsEnabled=True, DicomTlsCertificate=str(theirs.certificate),
        DicomTlsPrivateKey=str(theirs.key), DicomTlsTrustedCertificates=str(hospital.ca), DicomModalities={
            "dicomnode": {"AET": "DICOMNODE", "Host": "127.0.0.1", "Port": node.tls_port, "UseDicomTls": True}},
    ) as pacs:
        peer = Peer(name="pacs", ae_title="ORTHANC", host="127.0.0.1", port=pacs.dicom_port, tls=True,
                    tls_names=("orthanc",))
        tls = calling(hospital, ours)
        assert echo(node_ae_title="DICOMNODE", peer=peer, timeout_s=60, tls=tls) > 0
        assert send_files(node_ae_title="DICOMNODE", peer=peer, paths=paths, timeout_s=60, tls=tls) == 3
        (study,) = pacs.get("/studies")
        answer = pacs.order("POST", "/modalities/dicomnode/store", {"Resources": [study], "Synchronous": True})
        assert answer["FailedInstancesCount"] == 0
        assert len(list(node.spool.arrivals())) == 3
        assert node.refused == []
