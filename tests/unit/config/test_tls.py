"""[tls], the limits of peers, and what they say of each other: every mistake with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode import config
from dicomnode.domain.dicom import CT_IMAGE_STORAGE
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import ConfigError

FILES = 'certificate = "tls/node.pem"\nkey = "tls/node.key"\nca = "/etc/ca.pem"\n'
PRINT = "sha256:" + ":".join(["AB"] * 32)


def load(folder: Path, text: str) -> NodeConfig:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return config.load(path, environ={})


def problems(folder: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(folder, text)
    return [one.removeprefix(f"{folder / 'node.toml'}: ") for one in refused.value.problems]


def test_files_of_tls_start_at_the_folder_of_the_configuration(tmp_path):
    tls = load(tmp_path, f'[tls]\nport = 2762\n{FILES}versions = ["1.3"]\n').tls
    assert (tls.port, tls.certificate, tls.key, tls.ca) == (
        2762, tmp_path / "tls/node.pem", tmp_path / "tls/node.key", Path("/etc/ca.pem"))
    assert tls.versions == ("1.3",)
    assert tls.configured


def test_without_the_table_there_is_no_tls(tmp_path):
    assert not load(tmp_path, "").tls.configured


def test_a_peer_s_limits_come_out_as_written(tmp_path):
    peer = load(tmp_path, f"""
[tls]
port = 2762
{FILES}
[peers.ct]
ae_title = "CT"
tls = true
tls_names = ["ct1.hospital", "{PRINT}"]
tls_only = true
sends = ["CTImageStorage"]
max_associations = 2
max_objects_per_s = 50
""").peers["ct"]
    assert (peer.tls, peer.tls_only, peer.tls_names) == (True, True, ("ct1.hospital", PRINT))
    assert (peer.sends, peer.max_associations, peer.max_objects_per_s) == ((CT_IMAGE_STORAGE,), 2, 50)


@pytest.mark.parametrize(("text", "expected"), [
    ("[tls]\nport = 2762\nkey = 'k'\n",
     ("[tls]: certificate, ca missing; TLS needs our certificate and its key, and in ca the certificates of the "
     "authorities that peers' certificates must chain to")),
    ("[receive]\nplain = false\n",
     "[receive] plain = false: [tls] port is not given; the node would listen nowhere"),
    (f"[tls]\nport = 11112\n{FILES}", "[tls] port = 11112: [node] port is the same; give each its own"),
    (f"[tls]\nport = 11180\n{FILES}", "[tls] port = 11180: [web] port is the same; give each its own"),
    (f"[tls]\nversions = ['1.1']\n{FILES}", "[tls] versions[0] = \"1.1\": allowed are '1.2' or '1.3'"),
    ("[peers.x]\nae_title = 'X'\ntls = true\n",
     "[peers.x] tls = true: there is no [tls] table with our certificate, its key and ca"),
    (f"[tls]\n{FILES}[peers.x]\nae_title = 'X'\ntls_only = true\n",
     "[peers.x] tls_only: [tls] port is not given, so that this peer could never call"),
    (f"[tls]\nport = 2762\n{FILES}[peers.x]\nae_title = 'X'\ntls_names = ['sha256:12']\n",
     ('[peers.x] tls_names[0] = "sha256:12": a fingerprint is "sha256:" and 64 hexadecimal digits '
     "(openssl x509 -noout -fingerprint -sha256 -in FILE)")),
    ("[peers.x]\nae_title = 'X'\nsends = ['1.2.3']\n",
     '[peers.x] sends = ["1.2.3"]: [receive] sop_classes does not take it; add it there first'),
    ("[peers.x]\nae_title = 'X'\nmax_associations = 0\n",
     "[peers.x] max_associations = 0: allowed are values above 0"),
    ("[peers.x]\nae_title = 'X'\nmax_objects_per_s = 0.5\n",
     "[peers.x] max_objects_per_s = 0.5: allowed are 0 (no limit) and values from 1"),
])
def test_a_mistake_is_said_with_its_place_and_what_is_allowed(tmp_path, text, expected):
    assert problems(tmp_path, text) == [expected]


def test_a_node_without_a_plain_door_may_use_its_number_for_tls(tmp_path):
    text = f"[receive]\nplain = false\n[tls]\nport = 11112\n{FILES}"
    assert load(tmp_path, text).tls.port == 11112


def test_two_peers_may_share_a_title_where_certificates_tell_them_apart(tmp_path):
    text = f"[tls]\nport = 2762\n{FILES}[peers.x]\nae_title = 'X'\n[peers.y]\nae_title = 'X'\ntls_names = ['y']\n"
    assert set(load(tmp_path, text).peers) == {"x", "y"}
