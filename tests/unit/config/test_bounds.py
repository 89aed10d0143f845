"""Values without a sane meaning are refused by place, value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.charset import python_encoding

from dicomnode import config
from dicomnode.domain.dicom import CHARACTER_SETS
from dicomnode.errors import ConfigError


def written(folder: Path, text: str) -> Path:
    path = folder / "node.toml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        config.load(written(folder, text), environ={})
    (problem,) = caught.value.problems
    return problem.split(".toml: ", 1)[1]


@pytest.mark.parametrize(("text", "said"), [
    ("[worker]\nlease_s = 0.01", "[worker] lease_s = 0.01: allowed are 1 and above"),
    ("[delivery]\nlease_s = 0.5", "[delivery] lease_s = 0.5: allowed are 1 and above"),
    ("[delivery]\ncommit_ask_again_s = 1e-9", "[delivery] commit_ask_again_s = 1e-09: allowed are 1 and above"),
    ("[delivery]\nmax_age_h = 1e12", "[delivery] max_age_h = 1000000000000.0: allowed are values up to 8760"),
    ("[retention]\nkeep_days = 1e9", "[retention] keep_days = 1000000000.0: allowed are values up to 36500"),
    ("[receive]\nprocesses = 5000", "[receive] processes = 5000: allowed are values up to 64"),
    ("[worker]\nprocesses = 65", "[worker] processes = 65: allowed are values up to 64"),
    ("[delivery]\nprocesses = 65", "[delivery] processes = 65: allowed are values up to 64"),
    ("[peers.a]\nae_title = 'A'\ntakes = []", "[peers.a] takes = []: at least 1 needed, 0 given"),
    ("[peers.a]\nae_title = 'A'\ntakes = 'SEG'", '[peers.a] takes = "SEG": allowed is a list, such as ["SEG"]'),
    ("[peers.a]\nae_title = 'A'\nrejection_notes = true",
     ("[peers.a] rejection_notes = true: allowed only of a peer with host and port; nothing is ever sent to one "
      "without")),
    ("[peers.a]\nae_title = 'A'\nstorage_commitment = true",
     ("[peers.a] storage_commitment = true: allowed only of a peer with host and port; nothing is ever sent to one "
      "without")),
])
def test_a_value_out_of_bounds_is_refused_with_the_bound(tmp_path, text, said):
    assert refusal(tmp_path, text) == said


@pytest.mark.parametrize(("text", "said"), [
    ("[receive]\nmin_free_gb = 50\n[retention]\nfree_gb_wanted = 1",
     "[retention] free_gb_wanted = 1: allowed are values from [receive] min_free_gb = 50"),
    ("[receive]\nmin_free_gb = 50",
     "[retention] free_gb_wanted = 10 (the default): allowed are values from [receive] min_free_gb = 50"),
    ("[retention]\nfree_gb_wanted = 0",
     "[retention] free_gb_wanted = 0: allowed are values from [receive] min_free_gb = 2"),
])
def test_studies_must_leave_before_receiving_stops(tmp_path, text, said):
    assert refusal(tmp_path, text).startswith(said)


def test_the_space_wanted_may_equal_the_floor(tmp_path):
    settings = config.load(
        written(tmp_path, "[receive]\nmin_free_gb = 5\n[retention]\nfree_gb_wanted = 5"), environ={})
    assert settings.retention.free_gb_wanted == settings.receive.min_free_gb == 5


@pytest.mark.parametrize("section", ["node", "web"])
@pytest.mark.parametrize("bind", ["not an address", "10.0.0", "10.0.0.256", "http://host", "-host", "a..b", "host:80"])
def test_what_cannot_be_an_address_is_no_bind(tmp_path, section, bind):
    said = refusal(tmp_path, f'[{section}]\nbind = "{bind}"')
    assert said == f'[{section}] bind = "{bind}": allowed are an IP address, such as "0.0.0.0", or a host name'


@pytest.mark.parametrize("bind", ["0.0.0.0", "::", "::1", "fe80::1", "localhost", "node-1.hospital.example", "my_node"])  # noqa: S104
def test_an_address_or_host_name_is_a_bind(tmp_path, bind):
    assert config.load(written(tmp_path, f'[node]\nbind = "{bind}"'), environ={}).node.bind == bind


@pytest.mark.parametrize(("term", "meant"), [("LATIN9", ""), ("ISO_IR_100", "ISO_IR 100"), ("gb18030", "GB18030"),
                                             ("utf-8", ""), ("ISO IR 192", "ISO_IR 192")])
def test_a_character_set_that_the_node_cannot_read_is_refused_with_the_nearest(tmp_path, term, meant):
    said = refusal(tmp_path, f'[peers.c]\nae_title = "C"\ncharset_fallback = "{term}"')
    assert said.startswith(f'[peers.c] charset_fallback = "{term}": allowed are "" and the Defined Terms')
    assert said.endswith(f"did you mean {meant}?" if meant else '"GB18030"')


@pytest.mark.parametrize("term", ["", *CHARACTER_SETS])
def test_every_character_set_that_may_be_named_can_be_decoded(tmp_path, term):
    path = written(tmp_path, f'[peers.c]\nae_title = "C"\ncharset_fallback = "{term}"')
    assert config.load(path, environ={}).peers["c"].charset_fallback == term
    assert term in python_encoding
