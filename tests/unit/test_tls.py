"""Contexts out of files, and certificates in words."""

from __future__ import annotations

import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicomnode import tls
from dicomnode.errors import ConfigError
from dicomnode.tls import CIPHERS, Contexts, Identity, context
from dicomnode.x509 import certificates
from tests.certificates import Authority, Pair, files

PRINT = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def hospital(tmp_path_factory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls") / "hospital")


@pytest.fixture(scope="module")
def node(hospital) -> Pair:
    return hospital.issue("node", days=10)


@pytest.fixture(scope="module")
def spare(hospital) -> Pair:
    return hospital.issue("spare")


@pytest.mark.parametrize("listens", [True, False])
def test_a_context_speaks_what_the_profile_allows_and_demands_a_certificate(hospital, node, *, listens: bool):
    made = context(files(hospital, node), listens=listens)
    assert (made.minimum_version, made.maximum_version) == (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
    assert made.verify_mode is ssl.CERT_REQUIRED
    older = [suite["name"] for suite in made.get_ciphers() if suite["protocol"] == "TLSv1.2"]
    assert older
    assert all(name.startswith(("ECDHE-", "DHE-")) and "GCM" in name for name in older)
    assert made.options & ssl.OP_NO_TICKET
    assert CIPHERS.startswith("@SECLEVEL=2:")


def test_a_single_version_is_the_only_one(hospital, node):
    made = context(files(hospital, node, versions=("1.3",)), listens=True)
    assert made.minimum_version == made.maximum_version == ssl.TLSVersion.TLSv1_3


def test_everything_that_is_wrong_with_the_files_is_said_at_once(tmp_path, hospital, node, spare):
    with pytest.raises(ConfigError) as refused:
        context(files(hospital, node, ca=tmp_path / "none.pem", key=spare.key), listens=True)
    assert refused.value.problems == (
        (f"[tls] ca = {tmp_path / 'none.pem'}: No such file or directory; a PEM file of one certificate or several is "
         "needed"),
        f"[tls] key = {spare.key}: is not the key of certificate = {node.certificate}")


def test_an_encrypted_key_opens_with_the_password_of_its_file_and_never_asks(tmp_path, hospital, node):
    locked, word = tmp_path / "locked.key", tmp_path / "word"
    hospital._openssl("rsa", "-aes256", "-passout", "pass:tr1cky", "-in", str(node.key), "-out", str(locked))
    word.write_text("tr1cky\n")
    assert context(files(hospital, node, key=locked, key_password_file=word), listens=True)
    for changes, said in ({}, "[tls] key is encrypted; [tls] key_password_file must name the file"), (
            {"key_password_file": tmp_path / "gone"}, "No such file or directory"):
        with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
            context(files(hospital, node, key=locked, **changes), listens=True)


def test_changed_files_are_taken_when_they_fit_and_the_old_ones_stay_until_then(
    tmp_path, hospital, node, spare, monkeypatch,
):
    told: list[str] = []
    monkeypatch.setattr(tls._log, "error", lambda event, **_: told.append(event))
    monkeypatch.setattr(tls._log, "warning", lambda event, **_: told.append(event))
    mine = Pair(tmp_path / "node.pem", tmp_path / "node.key")
    shutil.copy(node.certificate, mine.certificate)
    shutil.copy(node.key, mine.key)
    contexts = Contexts(files(hospital, mine), listens=True)
    first = contexts.current()
    assert contexts.current() is first
    shutil.copy(spare.certificate, mine.certificate)
    assert contexts.current() is first
    assert contexts.current() is first
    assert told == ["tls_files_not_taken"]
    shutil.copy(spare.key, mine.key)
    assert contexts.current() is not first
    assert told == ["tls_files_not_taken", "tls_files_taken"]


def test_files_that_never_fitted_are_an_error_until_they_do(tmp_path, hospital, node):
    mine = Pair(tmp_path / "node.pem", tmp_path / "node.key")
    contexts = Contexts(files(hospital, mine), listens=False)
    with pytest.raises(ConfigError, match="No such file"):
        contexts.current()
    shutil.copy(node.certificate, mine.certificate)
    shutil.copy(node.key, mine.key)
    assert contexts.current()


@pytest.mark.parametrize(("wanted", "carried"), [
    ("CT1.hospital", True), ("10.1.2.3", True), ("hospital", False), ("", False),
    (f"sha256:{PRINT}", True), ("SHA256:" + ":".join(PRINT[i:i + 2].upper() for i in range(0, 64, 2)), True),
    ("sha256:" + "0" * 64, False),
])
def test_a_name_or_a_fingerprint_must_be_the_whole_one(wanted: str, *, carried: bool):
    assert Identity(frozenset({"ct1.hospital", "10.1.2.3"}), PRINT).carries(wanted) is carried


def test_a_certificate_in_words_says_whose_it_is_and_until_when(node, hospital):
    (own,) = certificates(node.certificate.read_text())
    assert own.subject == "O=Hospital, CN=node"
    assert own.not_after - own.not_before == timedelta(days=10)
    assert abs(own.not_before - datetime.now(UTC)) < timedelta(hours=1)
    both = certificates(node.certificate.read_text() + hospital.ca.read_text())
    assert [one.subject for one in both] == ["O=Hospital, CN=node", "O=Hospital, CN=Test CA"]


def test_years_before_2050_have_two_digits_and_later_ones_four(tmp_path):
    long_lived = Authority(tmp_path / "long")
    pair = long_lived.issue("old", days=365 * 40)
    (one,) = certificates(pair.certificate.read_text())
    assert one.not_after.year in {2065, 2066, datetime.now(UTC).year + 39, datetime.now(UTC).year + 40}
    (expired,) = certificates(long_lived.issue("older", expired=True).certificate.read_text())
    assert expired.not_after == datetime(2021, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "hello", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_is_a_value_error(text: str):
    with pytest.raises(ValueError, match="certificate"):
        certificates(text)


def test_what_ends_early_is_a_value_error(node):
    whole = ssl.PEM_cert_to_DER_cert(node.certificate.read_text())
    for size in range(0, len(whole), 7):
        with pytest.raises(ValueError, match="certificate"):
            certificates(ssl.DER_cert_to_PEM_cert(whole[:size]))


def test_a_missing_file_is_another_stamp_than_an_empty_one(tmp_path):
    assert tls._stamp(tmp_path / "none") is None
    Path(tmp_path / "empty").touch()
    assert tls._stamp(tmp_path / "empty") is not None
