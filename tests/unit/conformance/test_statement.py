"""The conformance statement: where attributes come from, what is said of a configuration, and what is not."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from dicomnode.cli import cli
from dicomnode.config import load
from dicomnode.conformance.communication import is_secret
from dicomnode.conformance.document import Section, Statement, Table
from dicomnode.conformance.facts import Facts, Made, facts
from dicomnode.conformance.html import to_html
from dicomnode.conformance.markdown import to_markdown
from dicomnode.conformance.origins import Attribute, Origin, Presence, attributes
from dicomnode.conformance.sample_model import a_model
from dicomnode.conformance.statement import statement, statement_of
from dicomnode.domain.audit import AuditSettings
from dicomnode.domain.dicom import CHARACTER_SETS
from dicomnode.domain.node import NodeConfig, Peer, ReceiveSettings, Route
from dicomnode.domain.security import TlsSettings
from dicomnode.errors import RefusedInstance
from dicomnode.receive.answers import ACTION_ANSWERS, EVENT_ANSWERS, STORE_ANSWERS

TAGS = {
    "PatientID": 0x00100020, "SOPInstanceUID": 0x00080018, "Manufacturer": 0x00080070, "ReferencedSOP": 0x00081155,
    "DeviceSerialNumber": 0x00181000, "Segments": 0x00620002, "Type": 0x0062000F, "CodeValue": 0x00080100,
    "Performed": 0x0040A372, "SourceImages": 0x00082112, "SeriesDescription": 0x0008103E, "SegmentNumber": 0x00620004,
    "PatientAge": 0x00101010, "Predecessors": 0x0040A360,
}


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> NodeConfig:
    path = tmp_path_factory.mktemp("node") / "node.toml"
    path.write_text(
        '[node]\ndatabase_url = "postgresql+psycopg://node:hunter2@db.example/node"\n'
        '[peers.pacs]\nae_title = "P<b>|&"\nhost = "pacs.example"\nport = 104\ncharset_fallback = "GB18030"\n',
        encoding="utf-8")
    return replace(load(path, environ={}), routes=(Route(name="all", model=("any",), to=("pacs",)),))


@pytest.fixture(scope="module")
def known(config) -> Facts:
    return facts(config, {})


@pytest.fixture(scope="module")
def said(known) -> Statement:
    return statement_of(known)


def origin(made: Made, *names: str) -> Attribute:
    path = tuple(TAGS[name] for name in names)
    (found,) = [one for one in attributes(made) if one.path == path]
    return found


def of_kind(known: Facts, kind: str) -> Made:
    return next(made for made in known.made if made.kind == kind)


def test_what_two_sets_of_results_share_is_fixed_and_what_follows_their_images_is_copied(known):
    seg = of_kind(known, "SEG")
    assert origin(seg, "PatientID").origins == (Origin.COPIED,)
    assert origin(seg, "SOPInstanceUID").origins == (Origin.GENERATED,)
    assert origin(seg, "SeriesDescription").origins == (Origin.GENERATED,)
    assert origin(seg, "DeviceSerialNumber").origins == (Origin.NODE,)
    manufacturer = origin(seg, "Manufacturer")
    assert (manufacturer.origins, manufacturer.fixed) == ((Origin.FIXED,), ("dicomnode",))


def test_a_value_that_stands_under_another_name_in_the_source_is_said_to_be_that(known):
    referenced = origin(of_kind(known, "SEG"), "SourceImages", "ReferencedSOP")
    assert (referenced.origins, referenced.copy_of) == ((Origin.COPIED,), "SOPInstanceUID")


def test_what_the_model_file_states_is_told_from_what_is_computed(known):
    assert origin(of_kind(known, "SEG"), "Segments", "Type", "CodeValue").origins == (Origin.MODEL,)
    assert origin(of_kind(known, "SEG"), "Segments", "SegmentNumber").origins == (Origin.GENERATED,)
    assert origin(of_kind(known, "SR3D"), "Performed").origins == (Origin.EMPTY,)


def test_what_images_may_lack_is_empty_or_absent_in_the_results_and_said_to_be(known):
    seg = of_kind(known, "SEG")
    assert origin(seg, "PatientID").presence is Presence.VNAP
    assert origin(seg, "PatientAge").presence is Presence.ANAP
    assert origin(seg, "SOPInstanceUID").presence is Presence.ALWAYS
    assert origin(of_kind(known, "SR3D"), "Performed").presence is Presence.EMPTY
    assert origin(of_kind(known, "SR3D"), "Predecessors").presence is Presence.ANAP


def test_what_only_some_findings_bring_is_listed_as_not_always_present(known):
    several, one_segment = (made for made in known.made if made.kind == "SEG")
    kind = 0x00209311  # Dimension Organization Type: of segments, only one makes a volume
    paths = {one.path: one.presence for one in attributes(several, one_segment)}
    assert (kind,) not in {one.path for one in attributes(several)}
    assert paths[kind,] is Presence.ANAP


def test_no_attribute_is_listed_twice_and_every_object_that_peers_take_is_there(known, said):
    assert {made.kind for made in known.made} == set(known.config.peers["pacs"].takes)
    for made in known.made:
        paths = [one.path for one in attributes(made)]
        assert len(paths) == len(set(paths)) > 60
    titles = [table.title for _, section in said.numbered() for table in section.tables]
    assert len(titles) == len(set(titles))


def test_each_refusal_of_the_receiver_has_its_row():
    assert {one.status for one in (*STORE_ANSWERS, *EVENT_ANSWERS, *ACTION_ANSWERS)} >= {
        error.status for error in RefusedInstance.__subclasses__()}


def test_every_key_of_the_receiver_and_the_peers_is_said_with_its_value_and_no_secret(said, config):
    rows = {row[0]: row[1:] for row in said.table("Configuration parameters").rows}
    for one in fields(ReceiveSettings):
        assert f"[receive] {one.name}" in rows
    assert rows["[receive] max_associations"] == ("32", "32")
    assert set(said.table("Peers").columns) == {one.name for one in fields(Peer)}
    text = to_markdown(said) + to_html(said)
    assert "hunter2" not in text
    assert "db.example" not in text
    assert str(config.path.parent) not in text
    assert is_secret("tls_key_file")


def test_what_a_configuration_changes_changes_the_statement(config):
    changed = replace(config, receive=replace(config.receive, sop_classes=("1.2.840.10008.5.1.4.1.1.2",)), peers={
        "pacs": replace(config.peers["pacs"], storage_commitment=True, takes=("TEXT",))},
        routes=(Route(name="all", model=("any",), to=("pacs",), outputs=("SC",)),))
    said = statement(changed, {})
    accepted = {row[0] for row in said.table("Accepted presentation contexts").rows}
    proposed = {row[0] for row in said.table("Proposed presentation contexts").rows}
    assert "CT Image Storage" in accepted
    assert "MR Image Storage" not in accepted
    assert {"Storage Commitment Push Model SOP Class", "Secondary Capture Image Storage"} <= proposed
    roles = {row[0]: row[2:] for row in said.table("Network services").rows}
    assert roles["Storage Commitment Push Model SOP Class"] == ("Yes", "No")
    assert roles["CT Image Storage"] == ("No", "Yes")


@pytest.mark.parametrize(("asks", "offers", "roles", "accepted", "proposed"), [
    (False, False, None, "SCU (N-EVENT-REPORT arrives)", None),
    (True, False, ("Yes", "No"), "SCU (N-EVENT-REPORT arrives)", "SCU"),
    (False, True, ("No", "Yes"), "SCU (N-EVENT-REPORT arrives), SCP (N-ACTION arrives)",
     "SCP (N-EVENT-REPORT is sent)"),
    (True, True, ("Yes", "Yes"), "SCU (N-EVENT-REPORT arrives), SCP (N-ACTION arrives)",
     "SCU, SCP (N-EVENT-REPORT is sent)")])
def test_storage_commitment_stands_in_the_roles_that_are_configured(config, asks, offers, roles, accepted, proposed):
    changed = replace(
        config, receive=replace(config.receive, storage_commitment=offers),
        peers={"pacs": replace(config.peers["pacs"], storage_commitment=asks)},
        routes=(Route(name="all", model=("any",), to=("pacs",)),))
    said = statement(changed, {})
    name = "Storage Commitment Push Model SOP Class"
    assert {row[0]: row[2:] for row in said.table("Network services").rows}.get(name) == roles
    assert {row[0]: row[4] for row in said.table("Accepted presentation contexts").rows}[name] == accepted
    assert {row[0]: row[4] for row in said.table("Proposed presentation contexts").rows}.get(name) == proposed


@pytest.mark.parametrize(("task", "there", "absent"), [
    ("segmentation", {"SEG", "findings", "volumes"}, {"classification"}),
    ("detection", {"findings", "negative"}, {"SEG", "volumes"}),
    ("classification", {"classification"}, {"SEG", "volumes"})])
def test_the_objects_are_those_of_what_the_models_do(config, task, there, absent):
    known = facts(config, {"any": a_model(0, task)})
    met = {made.kind for made in known.made} | {made.group for made in known.made}
    assert there <= met
    assert not absent & met
    assert {"TEXT", "KOS"} <= {made.kind for made in known.made}


def test_the_character_sets_are_those_that_the_node_decodes_with_whom_they_are_assumed_for(said):
    rows = dict(said.table("Character sets that are read").rows)
    assert set(rows) == set(CHARACTER_SETS)
    assert rows["GB18030"] == ("pacs",)


def test_values_that_no_result_may_carry_are_made_fit_as_the_reader_does(said):
    rows = said.table("Values that are made fit before they are copied").rows
    assert ("PatientSex", "holds no valid value: left empty") in rows
    assert ("PatientName", "is absent: left empty") in rows


def test_markdown_has_every_table_whole_and_a_table_of_contents_that_links_to_its_headings(said):
    text = to_markdown(said)
    headings = re.findall(r"^#{2,6} (.+)$", text, re.MULTILINE)
    assert headings == [f"{number} {section.title}" for number, section in said.numbered()]
    assert re.findall(r"^ *- \[(.+)\]\(#", text, re.MULTILINE) == headings
    tables = re.findall(r"^\|.*(?:\n\|.*)+", text, re.MULTILINE)
    assert len(tables) == sum(len(section.tables) for _, section in said.numbered())
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table.splitlines()[0]
    assert r"P&lt;b>\|&" in text


class Page(HTMLParser):
    """Counts what a page holds, and that what is opened is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.met: dict[str, int] = {}
        self.ids: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag, attrs):
        self.met[tag] = self.met.get(tag, 0) + 1
        values = dict(attrs)
        self.ids |= {values["id"]} if "id" in values else set()
        self.links |= {values["href"].removeprefix("#")} if "href" in values else set()
        if tag not in {"meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_html_is_one_page_with_every_table_escaped_and_linked(said):
    page = Page()
    page.feed(to_html(said))
    assert page.open == []
    assert page.met["table"] == sum(len(section.tables) for _, section in said.numbered())
    assert page.links == page.ids
    assert page.met.keys() & {"script", "link", "img", "b"} == set()


def test_a_row_that_does_not_fit_its_columns_is_refused():
    with pytest.raises(ValueError, match="has 2 columns, a row has 1"):
        Table(title="t", columns=("a", "b"), rows=(("only one",),))


def test_paragraphs_are_joined_and_drawings_keep_their_lines():
    section = Section(title="t", text="\nfirst\nline\n\n    a -> b\n    c -> d\n")
    assert section.paragraphs == ("first line", "    a -> b\n    c -> d")


def test_html_and_json_together_are_refused(tmp_path: Path):
    (tmp_path / "node.toml").write_text("", encoding="utf-8")
    done = CliRunner().invoke(cli, ["conformance", "--config", str(tmp_path / "node.toml"), "--html", "--json"])
    assert (done.exit_code, "choose one" in done.output) == (2, True)


def test_a_node_without_routes_has_a_statement_too(tmp_path: Path):
    (tmp_path / "node.toml").write_text("", encoding="utf-8")
    done = CliRunner().invoke(cli, ["conformance", "--config", str(tmp_path / "node.toml"), "--html"])
    assert done.stdout.startswith("<!doctype html>")
    assert "SEG" in done.stdout


def test_the_audit_trail_is_claimed_as_far_as_it_is_configured(config, known):
    def words(**audit: str) -> str:
        return to_markdown(statement_of(replace(known, config=replace(config, audit=AuditSettings(**audit)))))

    assert "no audit messages are written" in words()
    said = words(file="/var/lib/dicomnode/audit.log")
    assert "Audit Trail Message Format Profile (PS3.15 A.5), without extensions: an append-only file." in said
    assert "SYSLOG-TLS" not in said
    said = words(syslog="audit.hospital.example:6514")
    assert "PRI 85 and 84, MSGID DICOM+RFC3881" in said
    assert "| DICOM Study Deleted | A.5.3.8 |" in said
    assert "/var/lib" not in said
    assert "audit.hospital.example" not in said


def test_without_tls_no_profile_is_claimed_and_with_it_the_one_that_is_spoken(config, known):
    def words(some: NodeConfig) -> str:
        return to_markdown(statement_of(replace(known, config=some)))

    assert "claims no secure transport connection profile" in words(config)
    tls = TlsSettings(port=2762, certificate=Path("/etc/node.pem"), key=Path("/etc/node.key"), ca=Path("/etc/ca.pem"),
                      versions=("1.3",))
    peers = {"pacs": replace(config.peers["pacs"], tls=True),
             "ct": Peer(name="ct", ae_title="CT", tls_names=("ct1.hospital",))}
    said = words(replace(config, tls=tls, peers=peers, receive=replace(config.receive, plain=False)))
    assert "RFC 8996, 9325 TLS Secure Transport Connection Profile" in said
    assert "accepted alone; used towards pacs. TLS 1.3; both sides" in said
    assert "| Peers that must use TLS | ct |" in said
    assert "/etc/" not in said
