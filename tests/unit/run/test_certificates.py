"""What is said of certificates, and when: good, soon to end, ended, broken."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicomnode.domain.security import TlsSettings
from dicomnode.run.certificates import Weight, problems, remarks
from tests.certificates import Authority, Pair, settings

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "hospital", days=400)


@pytest.fixture(scope="module")
def node(hospital) -> Pair:
    return hospital.issue("node", days=60)


def said(table: TlsSettings, now: datetime) -> list[tuple[Weight, str]]:
    return [(one.weight, one.text) for one in remarks(table, now)]


def test_without_tls_there_is_nothing_to_say():
    assert said(TlsSettings(), NOW) == []


def test_good_certificates_are_named_with_their_last_day(hospital, node):
    table = settings(hospital, node, 2762)
    found = said(table, NOW + timedelta(days=1))
    assert [weight for weight, _ in found] == [Weight.GOOD] * 2
    assert found[0][1].startswith("[tls] certificate: O=Hospital, CN=node, valid until ")
    assert found[1][1].startswith("[tls] ca: O=Hospital, CN=Test CA, valid until ")
    assert list(problems(table, NOW + timedelta(days=1))) == []


@pytest.mark.parametrize(("day", "weight"), [(29, Weight.GOOD), (31, Weight.SOON), (59, Weight.SOON), (61, Weight.BAD)])
def test_the_last_thirty_days_are_a_warning_and_what_comes_after_is_not_good(
    hospital, node, day: int, weight: Weight,
):
    assert said(settings(hospital, node, 2762), NOW + timedelta(days=day))[0][0] is weight


def test_each_warning_says_what_to_do(hospital, node):
    table = settings(hospital, node, 2762)
    (soon,) = problems(table, NOW + timedelta(days=58))
    assert (soon.what, soon.action) == (
        "TLS needs attention", "ask its authority for a new one, and put it in place of the old: no restart is needed")
    (ended,) = problems(table, NOW + timedelta(days=70))
    assert ended.what == "TLS fails"
    assert "CN=node expired on " in ended.why
    early = list(problems(table, NOW - timedelta(days=2)))
    assert [one.action for one in early] == ["see that the clock of this machine is right"] * 2


def test_a_key_that_everybody_may_read_is_a_warning(hospital, node, tmp_path):
    key = tmp_path / "open.key"
    key.write_bytes(node.key.read_bytes())
    key.chmod(0o644)
    (one,) = problems(settings(hospital, Pair(node.certificate, key), 2762), NOW + timedelta(days=1))
    assert one.why == f"[tls] key = {key}: every user of this machine may read it (mode 0644)"
    assert one.action == f"chmod o= {key}"


def test_a_certificate_for_one_side_of_tls_alone_is_a_warning(hospital):
    soon = NOW + timedelta(hours=1)
    for purposes, side in (("clientAuth", "server"), ("serverAuth", "client")):
        (one,) = problems(settings(hospital, hospital.issue(side, days=60, purposes=purposes), 2762), soon)
        assert f"CN={side} is not for the {side}'s side of TLS" in one.why
    for purposes in ("serverAuth,clientAuth", "anyExtendedKeyUsage"):
        pair = hospital.issue("both", days=60, purposes=purposes)
        assert list(problems(settings(hospital, pair, 2762), soon)) == []


def test_files_that_do_not_fit_are_said_and_what_runs_keeps_its_own(hospital, node, tmp_path):
    (one,) = problems(settings(hospital, Pair(node.certificate, tmp_path / "none.key"), 2762), NOW)
    assert one.what == "TLS fails"
    assert "No such file or directory" in one.why
    assert "what runs keeps those that it has until then" in one.action
