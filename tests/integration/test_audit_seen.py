"""What waits for the audit trail's file and server is seen: in ``status``, in the metrics, in ``check``."""

from __future__ import annotations

import json
import socket
from datetime import UTC, datetime, timedelta

import pytest
from click.testing import CliRunner

from dicomnode import config
from dicomnode.audit import Queue
from dicomnode.cli import cli
from dicomnode.errors import ConfigError
from dicomnode.ledger.engine import Ledger
from dicomnode.run import auditing
from dicomnode.run.state import look
from dicomnode.web.metrics import Recent, expose
from tests.certificates import Authority
from tests.syslog import SyslogServer


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("ca") / "ours")


@pytest.fixture
def node(tmp_path):
    """A configuration whose audit server is away."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        away = probe.getsockname()[1]
    (tmp_path / "node.toml").write_text(
        f'[node]\ndata_dir = "data"\n[audit]\nfile = "audit.log"\nsyslog = "localhost:{away}"\nsyslog_ca = "ca.pem"\n')
    (tmp_path / "ca.pem").write_text("")
    return config.load(tmp_path / "node.toml", environ={})


def test_paths_of_the_audit_trail_start_where_the_documentation_says(node, tmp_path):
    assert node.audit.file == str(tmp_path / "data" / "audit.log")
    assert node.audit.syslog_ca == str(tmp_path / "ca.pem")


@pytest.mark.parametrize(("table", "said"), [
    ('syslog = "audit.hospital.example"', "allowed is host:port"),
    ('syslog = "audit.hospital.example:99999"', "allowed is host:port"),
    ('syslog = "a:1"\nsyslog_key = "k.pem"', "the one needs the other"),
])
def test_half_a_configuration_is_refused_with_what_is_missing(tmp_path, table, said):
    (tmp_path / "node.toml").write_text(f"[audit]\n{table}\n")
    with pytest.raises(ConfigError, match=said):
        config.load(tmp_path / "node.toml", environ={})


def test_messages_that_wait_are_counted_and_after_five_minutes_a_problem(node):
    ledger = Ledger(node.database_url)
    auditing.Auditor(node).started("serve")
    now = datetime.now(UTC)
    soon = look(node, ledger, now=now)
    assert {one.sink: one.waiting for one in soon.audit} == {"file": 1, "syslog": 1}
    assert not [problem for problem in soon.problems if "audit" in problem.what]
    later = look(node, ledger, now=now + timedelta(minutes=6))
    assert {problem.what for problem in later.problems if "audit" in problem.what} == {
        "audit messages wait for their file", "audit messages wait for their syslog"}
    ledger.dispose()


def test_metrics_tell_what_waits(node):
    ledger = Ledger(node.database_url)
    auditing.Auditor(node).started("serve")
    seen = look(node, ledger, now=datetime.now(UTC) + timedelta(minutes=10))
    told = expose(node, seen, Recent(), accept="text/plain")[0].decode()
    assert 'dicomnode_audit_messages_waiting{sink="syslog"} 1.0' in told
    assert 'dicomnode_audit_oldest_age_seconds{sink="file"} 6' in told
    ledger.dispose()


def test_a_node_that_audits_nothing_writes_nothing(tmp_path):
    (tmp_path / "node.toml").write_text('[node]\ndata_dir = "data"\n')
    quiet = config.load(tmp_path / "node.toml", environ={})
    auditor = auditing.Auditor(quiet)
    auditor.started("serve")
    auditor.refused(address="10.1.2.3", calling="X", reason="no peer")
    assert not (tmp_path / "data").exists()


def test_a_disk_that_takes_no_message_stops_nobody(node, tmp_path, capsys, caplog):
    queue = tmp_path / "data" / "audit"
    queue.parent.mkdir()
    queue.write_text("in the way")
    auditing.Auditor(node).refused(address="10.1.2.3", calling="X", reason="no peer")
    assert "audit_not_written" in capsys.readouterr().out + caplog.text


def test_check_says_which_sink_takes_no_messages_and_sends_none(node, authority, tmp_path):
    (tmp_path / "ca.pem").write_bytes(authority.ca.read_bytes())
    said = {row["what"]: row for row in checked(tmp_path)}
    assert said["audit: file"]["ok"]
    assert not said["audit: syslog"]["ok"]
    assert "check the audit server" in said["audit: syslog"]["detail"]
    port = node.audit.syslog_port
    with SyslogServer(authority, authority.issue("syslog", dns="localhost"), port=port) as server:
        said = {row["what"]: row for row in checked(tmp_path)}
        assert said["audit: syslog"]["ok"], said["audit: syslog"]["detail"]
        assert server.frames == []
    assert not (tmp_path / "data" / "audit.log").exists()
    assert Queue(auditing.folder(node), "syslog").backlog(0.0).waiting == 0


def checked(folder) -> list[dict]:
    result = CliRunner().invoke(cli, ["--config", str(folder / "node.toml"), "check", "--json"])
    return json.loads(result.stdout)
