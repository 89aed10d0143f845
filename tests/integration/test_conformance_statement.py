"""What the conformance statement says of services and statuses, held against live associations."""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from pydicom import Dataset, dcmread
from pydicom._uid_dict import UID_dictionary
from pynetdicom import AE, evt
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.sop_class import StorageCommitmentPushModel

from dicomnode.cli import cli
from dicomnode.config import load, load_model
from dicomnode.conformance.facts import name_of
from dicomnode.conformance.origins import _texts, elements
from dicomnode.conformance.sample import PEER
from dicomnode.deliver import Outgoing, deliver, echo, outgoing_file, request_commitment
from dicomnode.deliver.commit import PUSH_MODEL
from dicomnode.deliver.part10 import OutgoingFile
from dicomnode.domain.dicom import COMPREHENSIVE_SR_STORAGE, InstanceRef
from dicomnode.domain.findings import EncodedObject, NotAnalysed
from dicomnode.domain.job import UID_NAMESPACE
from dicomnode.domain.node import NodeConfig, Peer
from dicomnode.errors import DeliveryError, PeerBusy, PeerRefused
from dicomnode.infer.pool import Pool
from dicomnode.receive import scp
from dicomnode.receive.association import MOST_EVENT_BYTES
from dicomnode.run import receiver
from dicomnode.run.analyse import Identity, Task, analyse
from dicomnode.run.loop import utc_now
from dicomnode.run.notices import notice, take_back
from dicomnode.run.outbox import kinds_for
from dicomnode.spool import Spool
from tests.builders import ct_series, write_series
from tests.live import free_port, until
from tests.peers import ScriptedPeer as ScriptedAcceptor
from tests.peers import Talk, storing
from tests.threshold_bundles import threshold_model
from tests.upper_layer import COMMAND, CT, EXPLICIT, LAST, VERIFICATION, associate_rq, command, pdu, pdv, scripted_peer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PATIENCE_S = 60.0
MR = "1.2.840.10008.5.1.4.1.1.4"
EVENT_REPORT = 0x0100
SOP_CLASSES = sorted(uid for uid, entry in UID_dictionary.items() if entry[1] in {"SOP Class", "Meta SOP Class"})
SYNTAXES = sorted(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax")
CONTEXTS = 128
Contexts = set[tuple[str, str]]


@dataclass
class Said:
    """The tables of a statement by their titles, and the configuration that it is of."""

    config: NodeConfig
    tables: dict[str, list[dict[str, object]]]

    def contexts(self, title: str) -> Contexts:
        return {(row["SOP Class UID"], syntax) for row in self.tables[title] for syntax in row["Transfer syntax UIDs"]}

    def statuses(self, title: str) -> dict[int, str]:
        return {int(row["Status code"], 16): row["Service status"] for row in self.tables[title]}

    def value(self, title: str, name: str) -> str:
        (row,) = [row for row in self.tables[title] if row["Property"] == name]
        return row["Value"]


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> Said:
    """The statement of a node whose one peer takes everything and commits."""
    folder = tmp_path_factory.mktemp("node")
    model = threshold_model(folder / "models", "organs")
    path = folder / "node.toml"
    path.write_text(
        f'[node]\nae_title = "DICOMNODE"\nbind = "127.0.0.1"\nport = {free_port()}\nmodels_dir = "models"\n'
        '[receive]\nmax_pdu_bytes = 65536\n[peers.scanner]\nae_title = "SCANNER"\n'
        f'[peers.pacs]\nae_title = "PACS"\nhost = "127.0.0.1"\nport = {free_port()}\nstorage_commitment = true\n'
        'rejection_notes = true\ntakes = ["SEG", "LABELMAP", "SR3D", "SR", "TEXT", "SC", "KOS"]\n'
        f'[[routes]]\nname = "all"\nmodel = ["{model.stem}"]\nto = ["pacs"]\noutputs = ["GSPS", "RTSTRUCT", "PM"]\n',
        encoding="utf-8")
    found = CliRunner().invoke(cli, ["conformance", "--config", str(path), "--json"], catch_exceptions=False)
    tables = {table["table"]: [dict(zip(table["columns"], row, strict=True)) for row in table["rows"]]
              for table in json.loads(found.stdout)}
    return Said(config=load(path, environ={}), tables=tables)


@pytest.fixture(scope="module")
def node(said) -> Iterator[NodeConfig]:
    """The receiver of that very configuration."""
    stop = threading.Event()
    thread = threading.Thread(target=receiver.run, args=(said.config, stop))
    thread.start()
    try:
        until(lambda: answers(said.config.node.port), "the receiver answers")
        yield said.config
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    assert not thread.is_alive()


def answers(port: int) -> bool:
    """Whether somebody answers a C-ECHO on a port."""
    peer = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=port)
    with suppress(DeliveryError):
        return echo(node_ae_title="SCANNER", peer=peer, timeout_s=PATIENCE_S) >= 0
    return False


# What the node accepts


def accepted(port: int, proposed: list[tuple[str, str]]) -> tuple[Contexts, A_ASSOCIATE_AC]:
    """Propose, each pair in a context of its own; return what is accepted, and the whole answer."""
    with scripted_peer(port) as peer:
        answer = A_ASSOCIATE_AC()
        answer.decode(peer.say(associate_rq(proposed)).hear())
        peer.say(b"\x05\x00\x00\x00\x00\x04\x00\x00\x00\x00").hear()
    return {proposed[item.presentation_context_id // 2] for item in answer.presentation_context
            if item.result_reason == 0}, answer


def test_of_every_sop_class_in_every_transfer_syntax_the_node_accepts_those_of_the_table_and_no_other(said, node):
    storage = [uid for uid in SOP_CLASSES if uid.startswith("1.2.840.10008.5.1.4.1.1.")]
    others = [uid for uid in SOP_CLASSES if uid not in storage]
    asked = [(abstract, syntax) for abstract in storage for syntax in SYNTAXES]
    asked += [(abstract, syntax) for abstract in others for syntax in (*SYNTAXES[:6], SYNTAXES[-1])]
    found: Contexts = set()
    for start in range(0, len(asked), CONTEXTS):
        found |= accepted(node.node.port, asked[start:start + CONTEXTS])[0]
    assert len(asked) > 10_000
    assert said.contexts("Accepted presentation contexts") <= set(asked)
    assert found == said.contexts("Accepted presentation contexts")


def test_the_answer_to_an_association_names_the_node_as_the_statement_does(said, node):
    _, answer = accepted(node.node.port, [(VERIFICATION, EXPLICIT)])
    user = answer.user_information
    assert user.implementation_class_uid == said.value("Application entity", "Implementation Class UID")
    assert user.implementation_version_name == said.value("Application entity", "Implementation Version Name")
    assert f"{user.maximum_length} bytes" == said.value("Association acceptor", "Maximum PDU length that is announced")


def an_image(**attributes: object) -> Dataset:
    (image,) = ct_series(np.zeros((1, 4, 5), np.int16), seed="status", **attributes)
    return image


@dataclass
class Another:
    """One more receiver of the same configuration, with a spool of its own."""

    port: int
    spool: Spool
    stop: threading.Event


@contextmanager
def another(said: Said, name: str, *, min_free_bytes: int = 0, unknown_peers: str = "refuse") -> Iterator[Another]:
    settings = replace(said.config.node, port=free_port(), data_dir=said.config.node.data_dir / name)
    made = Another(settings.port, Spool(settings.data_dir, min_free_bytes=min_free_bytes), threading.Event())
    made.spool.prepare()
    ready = threading.Event()
    receive = replace(said.config.receive, unknown_peers=unknown_peers)
    thread = threading.Thread(target=scp.serve, args=(settings, receive, said.config.peers, made.spool), kwargs={
        "stop": made.stop, "notify": lambda: None, "ready": ready.set})
    thread.start()
    try:
        assert ready.wait(PATIENCE_S)
        yield made
    finally:
        made.stop.set()
        thread.join(PATIENCE_S)


def test_each_status_of_the_c_store_table_is_what_its_cause_is_answered_with(said, node):
    def stored(port: int = node.node.port, image: Dataset | None = None, **changes: object) -> int:
        with scripted_peer(port) as peer:
            peer.associate()
            return int(peer.store(image or an_image(), **changes).Status)

    with another(said, "full", min_free_bytes=1 << 62) as full:
        answers = {
            0x0000: stored(), 0xA700: stored(full.port), 0x0122: stored(AffectedSOPClassUID=MR),
            0xA900: stored(AffectedSOPInstanceUID="1.2.3"), 0xC000: stored(image=an_image(StudyInstanceUID=None))}
    assert set(answers) == set(said.statuses("C-STORE responses that the node gives"))
    assert answers == dict(zip(answers, answers, strict=True))


def report_of(event_type: int, transaction: str = "1.2.3") -> tuple[bytes, bytes]:
    """An N-EVENT-REPORT-RQ and its data set, Explicit VR Little Endian."""
    request = command(
        AffectedSOPClassUID=PUSH_MODEL, CommandField=EVENT_REPORT, MessageID=1, CommandDataSetType=1,
        AffectedSOPInstanceUID="1.2.840.10008.1.20.1.1", EventTypeID=event_type)
    value = transaction.encode()
    value += b"\0" * (len(value) % 2)
    return request, b"\x08\x00\x95\x11UI" + len(value).to_bytes(2, "little") + value


def test_each_status_of_the_n_event_report_table_is_what_its_cause_is_answered_with(said, node):
    def reported(port: int, calling: str, event_type: int, before: Sequence[bytes] = ()) -> int:
        request, data = report_of(event_type)
        with scripted_peer(port) as peer:
            peer.associate((PUSH_MODEL, EXPLICIT), calling=calling)
            peer.say(pdu(pdv(request, COMMAND | LAST)), *(pdu(pdv(piece, 0)) for piece in before))
            return int(peer.say(pdu(pdv(data, LAST))).response().Status)

    with another(said, "open", unknown_peers="accept") as broken:
        shutil.rmtree(broken.spool.root / "events")
        (broken.spool.root / "events").touch()
        answers = {
            0x0000: reported(node.node.port, "PACS", 1), 0xC000: reported(node.node.port, "PACS", 7),
            0x0110: reported(node.node.port, "PACS", 1, [bytes(4000)] * (MOST_EVENT_BYTES // 4000 + 1)),
            0x0124: reported(broken.port, "STRANGER", 1), 0xA700: reported(broken.port, "PACS", 1)}
    assert set(answers) == set(said.statuses("N-EVENT-REPORT responses that the node gives"))
    assert answers == dict(zip(answers, answers, strict=True))


def test_other_requests_are_answered_as_their_table_says(said, node):
    answers = {}
    for field_, status in ((0x0030, 0x0000), (0x0020, 0x0211)):
        request = command(AffectedSOPClassUID=VERIFICATION, CommandField=field_, MessageID=1, CommandDataSetType=0x0101)
        with scripted_peer(node.node.port) as peer:
            peer.associate((VERIFICATION, EXPLICIT))
            answers[status] = int(peer.say(pdu(pdv(request, COMMAND | LAST))).response().Status)
    assert set(answers) == set(said.statuses("Responses to other requests"))
    assert answers == dict(zip(answers, answers, strict=True))


def codes(row: dict[str, object], *columns: str) -> tuple[int, ...]:
    return tuple(int(str(row[column]).partition(" ")[0]) for column in columns)


def test_each_rejection_of_the_table_is_what_its_cause_meets(said, node):
    def rejected(request: bytes, port: int = node.node.port) -> tuple[int, ...]:
        with scripted_peer(port) as peer:
            heard = peer.say(request).hear()
            assert heard[0] == 0x03
            return tuple(heard[7:10])

    good = associate_rq([(CT, EXPLICIT)])
    with another(said, "taken") as taken, ExitStack() as held:
        for _ in range(node.receive.max_associations_per_peer):
            assert held.enter_context(scripted_peer(taken.port)).associate()[0] == 0x02
        limit = rejected(good, taken.port)
    found = {
        rejected(good.replace(b"1.2.840.10008.3.1.1.1", b"1.2.840.10008.3.1.1.9")),
        rejected(associate_rq([(CT, EXPLICIT)], calling="STRANGER")),
        rejected(associate_rq([(CT, EXPLICIT)], called="ANOTHER")),
        rejected(good[:6] + b"\x00\x02" + good[8:]), limit}
    assert found == {codes(row, "Result", "Source", "Reason")
                     for row in said.tables["Association rejections that the node sends"]}


def test_each_abort_of_the_table_is_what_its_cause_meets(said, node):
    def aborted(*pieces: bytes, associate: bool = True) -> int:
        with scripted_peer(node.node.port) as peer:
            if associate:
                peer.associate()
            heard = peer.say(*pieces).hear()
            assert heard[:1] == b"\x07"
            return heard[9]

    found = {1: aborted(b"\x63\x00\x00\x00\x00\x00"), 2: aborted(pdu(), associate=False),
             6: aborted(pdu(pdv(b"no command", COMMAND | LAST)))}
    with another(said, "stopping") as stopping, scripted_peer(stopping.port) as peer:
        peer.associate()
        stopping.stop.set()
        found[0] = peer.hear()[9]
    assert {codes(row, "Reason")[0] for row in said.tables["Aborts that the node sends"]} == set(found)
    assert all(reason == met for reason, met in found.items())


# What the node proposes


def listed(rows: list[dict[str, object]]) -> dict[tuple[int, ...], dict[str, object]]:
    """Return the rows of a table of attributes by the tags from the top to each."""
    found, above = {}, []
    for row in rows:
        tag = int(str(row["Tag"]).strip("()").replace(",", ""), 16)
        above = [*above[:str(row["Attribute"]).count("> ")], tag]
        found[tuple(above)] = row
    return found


def test_every_attribute_of_what_the_worker_makes_is_listed_and_what_is_fixed_has_that_value(said, objects):
    seen = set()
    for one in objects:
        group = re.split("[:/|]", one.group)[0]
        (rows,) = [rows for title, rows in said.tables.items()
                   if re.match(rf"Attributes of {re.escape(name_of(one.sop_class_uid))}: {group} \(", title)]
        known = listed(rows)
        for path, element in elements(dcmread(BytesIO(one.payload))):
            row = known[path]
            assert row["VR"] == element.VR, (one.kind, row)
            assert row["Presence"] != "EMPTY" or not element.value, (one.kind, row)
            if row["Origin"] == "fixed" and isinstance(row["Value"], list):
                assert {text[:40] for text in _texts(element)} <= {text[:40] for text in row["Value"]}, (one.kind, row)
        absent = [row["Attribute"] for path, row in known.items() if row["Presence"] == "ALWAYS" and len(path) == 1
                  and path not in {found for found, _ in elements(dcmread(BytesIO(one.payload)))}]
        assert absent == [], one.kind
        seen.add((one.sop_class_uid, group))
    assert len(seen) >= 12


def unheard(*_: object) -> None:
    """Hear what a delivery tells, and leave it."""


@dataclass
class Listener:
    """An SCP that accepts everything and writes down what it is proposed."""

    proposed: Contexts = field(default_factory=set)
    lengths: set[int] = field(default_factory=set)
    names: set[str] = field(default_factory=set)

    def note(self, event: evt.Event) -> None:
        peer = event.assoc.requestor
        self.lengths.add(peer.maximum_length)
        self.names.add(peer.implementation_version_name)
        self.proposed |= {(str(context.abstract_syntax), str(syntax))
                          for context in peer.primitive.presentation_context_definition_list
                          for syntax in context.transfer_syntax}


@contextmanager
def listening(peer: Peer) -> Iterator[Listener]:
    listener, ae = Listener(), AE(ae_title=peer.ae_title)
    for abstract in ("1.2.840.10008.1.1", StorageCommitmentPushModel):
        ae.add_supported_context(abstract)
    server = ae.start_server((peer.host, peer.port), block=False, evt_handlers=[
        (evt.EVT_REQUESTED, listener.note), (evt.EVT_C_ECHO, lambda _: 0x0000),
        (evt.EVT_C_STORE, lambda _: 0x0000), (evt.EVT_N_ACTION, lambda _: (0x0000, None))])
    yield listener
    server.shutdown()


@pytest.fixture(scope="module")
def objects(said, tmp_path_factory) -> list[EncodedObject]:
    return analysed(said, tmp_path_factory.mktemp("studies"))


def analysed(said: Said, folder: Path) -> list[EncodedObject]:
    """Everything that the worker makes of a study with a nodule, of one without, of one refused, and of a grown one."""
    config = said.config
    (route,) = config.routes
    audiences = (kinds_for("pacs", config.peers, route.outputs),)
    model = load_model(route.model[0], config)
    objects: list[EncodedObject] = []
    with Pool(config.node.models_dir, device="cpu", threads=1, warm=1) as pool:
        for name, nodule in (("with", 900), ("without", 500)):
            hu = np.zeros((10, 32, 32), np.int16)
            hu[2:8, 6:26, 6:26], hu[4:6, 12:16, 12:16] = 500, nodule
            paths = write_series(folder / name, ct_series(hu, seed=name))
            identity = Identity(node_id=UID_NAMESPACE, job_key=name)
            objects += analyse([Task(model=model, paths={"ct": paths})], pool, identity, clock=utc_now,
                               audiences=audiences).objects
    identity = Identity(node_id=UID_NAMESPACE, job_key="refused")
    reason = NotAnalysed(reason="MissingSlices", text="a gap", study_uid="1.2.3")
    sent = [InstanceRef(sop_class_uid=one.sop_class_uid, sop_instance_uid=one.sop_instance_uid) for one in objects]
    return [*objects, *notice(reason, paths[:1], identity, clock=utc_now),
            *take_back({PEER: sent}, paths[:1], identity, clock=utc_now).values()]


def test_a_listening_peer_is_proposed_the_contexts_of_the_table_and_no_other(said, objects, tmp_path):
    peer = said.config.peers["pacs"]
    files = []
    for number, one in enumerate(objects):
        (tmp_path / f"{number}.dcm").write_bytes(one.payload)
        files.append(outgoing_file(tmp_path / f"{number}.dcm"))
    with listening(peer) as listener:
        with pytest.raises(PeerRefused):  # this peer only listens
            deliver(node_ae_title="DICOMNODE", peer=peer, timeout_s=PATIENCE_S, stored=unheard, not_taken=unheard,
                    items=[Outgoing(item_id=number, alternatives=(file,)) for number, file in enumerate(files)])
        echo(node_ae_title="DICOMNODE", peer=peer, timeout_s=PATIENCE_S)
        request_commitment(node_ae_title="DICOMNODE", peer=peer, transaction_uid="1.2.3", timeout_s=PATIENCE_S,
                           refs=[InstanceRef(sop_class_uid=CT, sop_instance_uid="1.2.4")])
    assert listener.proposed == said.contexts("Proposed presentation contexts")
    announced = said.value("Association initiator", "Maximum PDU length that is announced")
    assert {f"{length} bytes" for length in listener.lengths} == {announced}
    assert listener.names == {said.value("Application entity", "Implementation Version Name")}
    made = {row["SOP Class UID"] for row in said.tables["Objects that this configuration makes"]}
    assert made == {one.sop_class_uid for one in objects}


def test_each_status_that_a_peer_answers_has_the_consequence_of_its_row(said, tmp_path):
    first, second = (outgoing_file(path) for path in write_series(tmp_path, ct_series(np.zeros((2, 4, 5), np.int16))))
    forms = replace(first, kind="SR3D"), replace(second, kind="SR", sop_class_uid=COMPREHENSIVE_SR_STORAGE)
    for row in said.tables["Behaviour on C-STORE responses"]:
        lowest, _, highest = str(row["Status codes"]).partition(" to ")
        for code in {lowest, highest or lowest}:
            status = int(code, 16) if code.startswith("0x") else 0x0300
            assert consequence(status, forms) == str(row["Behaviour"]).split(";")[0].split(",")[0], (row, hex(status))


def test_an_object_that_may_be_left_out_fails_no_delivery_whatever_status_it_meets(said, tmp_path):
    (file,) = map(outgoing_file, write_series(tmp_path, ct_series(np.zeros((1, 4, 5), np.int16))))
    for row in said.tables["Behaviour on C-STORE responses"]:
        if "delivery fails" in str(row["Behaviour"]):
            assert "except for objects that may be left out" in str(row["Behaviour"]), row
            status, left_out = int(str(row["Status codes"]).replace("any other", "0x0300")[:6], 16), []
            with storing(status) as acceptor:
                deliver(node_ae_title="DICOMNODE", peer=acceptor.peer, timeout_s=PATIENCE_S, stored=unheard,
                        items=[Outgoing(item_id=1, alternatives=(file,), optional=True)],
                        not_taken=lambda item, _why, to=left_out: to.append(item))
            assert left_out == [1], row


def consequence(status: int, alternatives: tuple[OutgoingFile, OutgoingFile]) -> str:
    """Answer the first of two forms with a status; say in the statement's words what the sender does."""
    sent: list[tuple[str, int]] = []
    with storing(status, 0x0000) as acceptor:
        try:
            deliver(node_ae_title="DICOMNODE", peer=acceptor.peer, timeout_s=PATIENCE_S,
                    items=[Outgoing(item_id=1, alternatives=alternatives)],
                    stored=lambda _item, uid, met, _why: sent.append((uid, met)), not_taken=unheard)
        except PeerBusy:
            return "The delivery is tried again later"
        except PeerRefused:
            return "The delivery fails and waits for an operator"
    if sent == [(alternatives[0].sop_instance_uid, status)]:
        return "The object counts as stored"
    assert sent == [(alternatives[1].sop_instance_uid, 0)]
    return "The next form of the same result that the peer takes is sent"


@pytest.mark.parametrize("title", ["Behaviour on A-ASSOCIATE-RJ", "Behaviour on A-ABORT"])
def test_each_rejection_and_abort_that_is_met_has_the_consequence_of_its_row(said, title):
    rows = said.tables[title]
    rejection = "RJ" in title
    for row in rows:
        if rejection:
            answer = b"\x03\x00\x00\x00\x00\x04\x00" + bytes(codes(row, "Result", "Source", "Reason"))
        else:
            reason = 0 if row["Reason"] == "any" else codes(row, "Reason")[0]
            answer = b"\x07\x00\x00\x00\x00\x04\x00\x00" + bytes((codes(row, "Source")[0], reason))

        def script(talk: Talk, answer: bytes = answer) -> None:
            talk.read_request()
            talk.socket.sendall(answer)

        with ScriptedAcceptor(script) as acceptor, pytest.raises(DeliveryError) as met:
            echo(node_ae_title="DICOMNODE", peer=acceptor.peer, timeout_s=PATIENCE_S)
        again = met.value.verdict.value == "retry"
        assert row["Behaviour"].startswith("The delivery is tried again" if again else "The delivery fails"), row
    assert len(rows) > 5


def test_no_secret_and_no_path_is_said(said):
    text = json.dumps(said.tables)
    assert str(said.config.path.parent) not in text
    assert "database" not in text
    assert "SCANNER" in text
