"""A patient who cannot be overlooked goes through the whole node, well and badly; only spool, results, index and audit
trail may know of it."""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from lxml import etree
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import RLELossless
from pynetdicom import AE, AllStoragePresentationContexts, evt

from dicomnode.deliver.scu import send_files
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.node import Peer
from dicomnode.errors import AssociationRejectedPermanent, PeerRefused
from tests.builders import ct_series, uid_of, write_series
from tests.bundles import save_weights
from tests.live import LiveNode, free_port, until
from tests.threshold_bundles import threshold_model

pytestmark = pytest.mark.timeout(600)

PATIENT = {
    "PatientName": "Quastenflosser^Ottokar", "PatientID": "PIDXQ7741", "PatientBirthDate": "19230517",
    "AccessionNumber": "ACCXQ7742", "ReferringPhysicianName": "Zwickmuehle^Edeltraud", "StudyID": "SIDXQ7745",
    "OtherPatientNames": "Quastenflosser^Adalbert", "PatientAddress": "Haifischgasse 7746",
    "PatientTelephoneNumbers": "0049777747", "InstitutionName": "Spital Haifischbar", "OperatorsName": "Knurrhahn",
    "PatientComments": "Quastenflosser kommt wieder", "StudyDescription": "CT von Quastenflosser",
    "SeriesDescription": "Quastenflosser Thorax", "ProtocolName": "Quastenflosser wie immer",
    "ImageComments": "Frau Quastenflosser", "PerformingPhysicianName": "Seegurke^Hagen",
    "StudyDate": "19370709", "SeriesDate": "19370709", "AcquisitionDate": "19370709", "ContentDate": "19370709",
    "PatientAge": "097Y", "RequestingPhysician": "Zwickmuehle^Edeltraud",
}
UNMISTAKABLE = re.compile(
    rb"quastenfl|ottokar|kunigunde|adalbert|pidxq|accxq|sidxq|zwickmuehle|edeltraud|haifisch|knurrhahn|seegurke"
    rb"|0049777747|19230517|1923-05-17|19370709|1937-07-09|097Y", re.IGNORECASE)
FINAL = ("analysed", "not applicable", "not analysed", "undelivered")
SETTINGS = """
[worker]
attempts = 1
backoff_s = 0.2
threads = 1
device = "cpu"
[delivery]
backoff_s = 0.2
backoff_max_s = 1.0
max_age_h = 0.002
[log]
level = "DEBUG"
[audit]
file = "audit.log"
"""


def routes() -> str:
    return "".join(
        f'[[routes]]\nname = "{name}"\nmodel = ["{model}"]\nto = ["{to}"]\nwhen = {{ {when} = "{value}" }}\n'
        f'report_not_analysed = {told}\n'
        for name, model, to, when, value, told in (
            ("well", "levels", "pacs", "Modality", "CT", "true"),
            ("strict", "narrow", "stubborn", "Modality", "CT", "true"),
            ("ill", "broken", "pacs", "BodyPartExamined", "KNEE", "false")))


def write_models(folder: Path) -> Path:
    threshold_model(folder, "levels", lung_hu=200, nodule_hu=600)
    narrow = threshold_model(folder, "narrow", lung_hu=200, nodule_hu=600)
    narrow.write_text(narrow.read_text() + '[limits]\nBodyPartExamined = ["CHEST"]\nSeriesDescription = ["Thorax"]\n')
    broken = threshold_model(folder, "broken", lung_hu=200, nodule_hu=600)
    import torch

    from dicomnode.infer.digest import bundle_digest
    bundle = folder / "broken_bundle"
    before = bundle_digest(bundle)
    save_weights(bundle, {"weight": torch.zeros(3, 2, 1, 1, 1), "bias": torch.zeros(3)})
    broken.write_text(broken.read_text().replace(before, bundle_digest(bundle)))
    return folder


def study(folder: Path, **more: object) -> list[Path]:
    """A small CT of the patient, with private elements that name it too."""
    hu = np.full((12, 40, 40), -800)
    hu[:, 8:32, 8:32] = 300
    hu[5:7, 18:22, 18:22] = 800
    images = ct_series(hu, seed=folder.name, **{
        **PATIENT, "StudyInstanceUID": uid_of(folder.name), **more})
    for image in images:
        block = image.private_block(0x0011, "QUASTENFLOSSER WORKS", create=True)
        block.add_new(0x10, "LO", "Quastenflosser, Ottokar, 19230517")
    return write_series(folder, images)


def undecodable(folder: Path) -> list[Path]:
    paths = study(folder)
    for path in paths:
        image = dcmread(path)
        image.PixelData = encapsulate([b"Quastenflosser^Ottokar no pixels"])
        image.file_meta.TransferSyntaxUID = RLELossless
        image["PixelData"].is_undefined_length = True
        image.save_as(path)
    return paths


def unknown_charset(folder: Path) -> list[Path]:
    paths = study(folder, SpecificCharacterSet="ISO_IR 100", PatientName="Quastenflosser^Öttokar")
    for path in paths:
        path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"ISO_IR 999"))
    return paths


def send(node: LiveNode, paths: list[Path]) -> None:
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
    send_files(node_ae_title="SCANNER", peer=us, paths=paths, timeout_s=120)


def refused(node: LiveNode, paths: list[Path]) -> None:
    with pytest.raises(PeerRefused):
        send(node, paths)


def plant_in_quarantine(node: LiveNode, path: Path) -> None:
    """An arrival that the receiver would have refused, as a failing disk leaves it: cut in the middle of the header."""
    whole = path.read_bytes()
    folder = node.spool / "arrivals" / "00000000000000000001-planted"
    folder.mkdir(parents=True)
    (folder / "000001.tmp").write_bytes(whole[:whole.index(b"Spital Haifischbar") + 9])
    (folder / "000001.tmp").rename(folder / "000001.dcm")


@contextmanager
def refusing_pacs() -> Iterator[int]:
    """A PACS that accepts every association and refuses every object; yields its port."""
    ae = AE(ae_title="STUBBORN")
    ae.supported_contexts = AllStoragePresentationContexts
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _event: 0xC000)])
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()


@pytest.fixture(scope="module")
def lived(tmp_path_factory):
    """The node after all of it, still running; what its processes wrote to their temporary folder is in ``tmp``."""
    top = tmp_path_factory.mktemp("privacy")
    (top / "tmp").mkdir()
    web_port = free_port()
    with ReceivingPacs(top / "pacs") as pacs, refusing_pacs() as stubborn_port:
        peers = (f'[peers.scanner]\nae_title = "SCANNER"\n'
                 f'[peers.pacs]\nae_title = "DEMOPACS"\nhost = "127.0.0.1"\nport = {pacs.port}\n'
                 f'[peers.stubborn]\nae_title = "STUBBORN"\nhost = "127.0.0.1"\nport = {stubborn_port}\n')
        node = LiveNode(top / "node", peers=peers, routes=routes(), extra=SETTINGS,
                        models_dir=write_models(top / "models"))
        text = node.config_path.read_text()
        node.config_path.write_text(text.replace("enabled = false", f"enabled = true\nport = {web_port}"))
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(top / "tmp")
        try:
            node.start()
        finally:
            os.environ.pop("TMPDIR") if before is None else os.environ.update(TMPDIR=before)
        try:
            happen(node, top)
            yield node, web_port, top
        finally:
            node.stop()


def happen(node: LiveNode, top: Path) -> None:
    studies = top / "studies"
    good = study(studies / "good")
    send(node, good)
    send(node, study(studies / "strange body part", BodyPartExamined="KNEE"))
    gapped = study(studies / "gap")
    send(node, gapped[:5] + gapped[7:])
    send(node, undecodable(studies / "undecodable"))
    send(node, unknown_charset(studies / "charset"))
    cut = study(studies / "cut")[0]
    cut.write_bytes(cut.read_bytes()[:-100])
    refused(node, [cut])
    refused(node, study(studies / "without study", StudyInstanceUID=None)[:1])
    plant_in_quarantine(node, study(studies / "planted")[0])
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
    with pytest.raises(AssociationRejectedPermanent):
        send_files(node_ae_title="STRANGER", peer=us, paths=good, timeout_s=30)
    until(lambda: finished(node) >= 5, "every study has ended", 400)
    renamed = study(studies / "good renamed", PatientName="Quastenflosser^Kunigunde",
                    StudyInstanceUID=uid_of("good"))
    for path, first in zip(renamed, good, strict=True):
        image, same = dcmread(path), dcmread(first)
        for keyword in ("SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            setattr(image, keyword, getattr(same, keyword))
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(path)
    send(node, renamed)
    node.wait_for_event("instance_differs", 120)
    until(lambda: finished(node) >= 5, "the renamed study has ended too", 400)


def finished(node: LiveNode) -> int:
    return sum(row["outcome"].partition(":")[0] in FINAL for row in node.rows("studies"))


def found_in(data: bytes) -> list[bytes]:
    return sorted({data[max(0, hit.start() - 60):hit.end() + 40] for hit in UNMISTAKABLE.finditer(data)})


def test_what_was_meant_to_happen_did(lived):
    node, _, _ = lived
    outcomes = {row["outcome"].partition(":")[0] for row in node.rows("studies")}
    assert len(node.rows("studies")) == 5
    assert outcomes <= set(FINAL)
    events = {event["event"] for event in node.events()}
    assert {"instance_quarantined", "instance_differs", "job_not_completed", "delivery_not_completed",
            "association_refused", "object_sent"} <= events
    ended = [event for event in node.events() if event["event"] == "association_ended"]
    assert sum("0xc000" in event["refused"] for event in ended) == 2


def test_the_logs_of_all_roles_at_debug_name_no_patient(lived):
    node, _, _ = lived
    assert found_in(node.log_path.read_bytes()) == []


def test_page_health_and_metrics_name_no_patient(lived):
    node, port, _ = lived
    paths = ["/", "/health", "/metrics", *(f"/study/{row['study_uid']}" for row in node.rows("studies"))]
    for path in paths:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            assert found_in(answer.read()) == [], path


def test_status_and_lists_name_no_patient(lived):
    node, _, _ = lived
    for words in (("status",), ("status", "--json"), ("jobs", "--json"), ("deliveries", "--json"),
                  ("studies", "--json"), ("check",)):
        said = node.cli(*words, check=False)
        assert found_in((said.stdout + said.stderr).encode()) == [], words


def test_nothing_else_on_the_disk_names_a_patient(lived):
    node, _, top = lived
    data = node.folder / "data"
    may = (node.spool, data / "audit", data / "audit.log")
    files = [path for folder in (node.folder, top / "tmp") for path in folder.rglob("*") if path.is_file()
             and not any(path.is_relative_to(one) for one in may) and not path.name.startswith("dicomnode.sqlite")]
    assert node.log_path in files
    for path in files:
        assert found_in(path.read_bytes()) == [], path


def test_the_audit_trail_names_the_patient_and_everything_that_was_done(lived):
    node, _, _ = lived
    messages = audited(node)
    kinds = {(message.find("EventIdentification/EventID").get("csd-code"),
              message.find("EventIdentification").get("EventOutcomeIndicator")) for message in messages}
    assert kinds >= {("110100", "0"), ("110102", "0"), ("110103", "0"), ("110104", "0"), ("110104", "4"),
                     ("110113", "8")}
    came = [message for message in messages if of(message) == "110104" and b"SCANNER" in etree.tostring(message)]
    counts = {message.find(".//ParticipantObjectIdentification").get("ParticipantObjectID"):
              message.find(".//SOPClass").get("NumberOfInstances") for message in came}
    assert counts[uid_of("good")] == "12"
    assert counts[uid_of("gap")] == "10"
    assert {message.find("EventIdentification").get("EventActionCode") for message in came} == {"C", "U"}
    names = {name.text for message in came for name in message.iter("ParticipantObjectName")}
    assert {"Quastenflosser^Ottokar", "Quastenflosser^Kunigunde"} <= names
    assert {one.get("NetworkAccessPointID") for message in came for one in message.iter("ActiveParticipant")
            if "SCANNER" in one.get("AlternativeUserID", "")} == {"127.0.0.1"}


def test_every_message_of_the_whole_node_is_valid_by_the_schema(lived):
    node, _, _ = lived
    schema = etree.RelaxNG(etree.parse(Path(__file__).parents[1] / "unit" / "audit" / "audit-message.rng"))
    for message in audited(node):
        assert schema.validate(message), schema.error_log


def audited(node: LiveNode) -> list[etree._Element]:
    queue = node.folder / "data" / "audit"
    until(lambda: not [*queue.rglob("*.xml"), *queue.rglob("*.jsonl")], "every audit message is in its file")
    return [etree.fromstring(line) for line in (node.folder / "data" / "audit.log").read_bytes().splitlines()]


def of(message: etree._Element) -> str:
    return message.find("EventIdentification/EventID").get("csd-code")
