"""node.toml → NodeConfig: what is right comes out as written, what is wrong comes out all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomnode import config
from dicomnode.domain.dicom import CT_IMAGE_STORAGE, MR_IMAGE_STORAGE
from dicomnode.domain.node import NodeConfig, NodeSettings, ReceiveSettings
from dicomnode.errors import ConfigError

MODEL = """
name = "lungs"
task = "segmentation"
bundle = "lung_bundle"
digest = "sha256:{digest}"
intended_use = "Test."
[[inputs]]
role = "ct"
[[labels]]
value = 1
name = "Lung"
category = {{ value = "91723000", scheme = "SCT", meaning = "Anatomical Structure" }}
type = {{ value = "39607008", scheme = "SCT", meaning = "Lung" }}
colour_rgb = [126, 200, 227]
""".format(digest="0" * 64)

GOOD = """
[node]
ae_title = "NODE"
data_dir = "here"
[peers.ct1]
ae_title = "SCANNER"
[peers.pacs]
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
[[routes]]
name = "chest"
from = ["ct1"]
to = ["pacs"]
model = "lungs"
when = { Modality = "CT", EchoTime = 90 }
"""


@pytest.fixture
def write(tmp_path):
    def write(text: str, model: str = MODEL) -> Path:
        (tmp_path / "models").mkdir(exist_ok=True)
        (tmp_path / "models" / "lungs.toml").write_text(model, encoding="utf-8")
        path = tmp_path / "node.toml"
        path.write_text(text, encoding="utf-8")
        return path
    return write


def problems(path: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path, environ={})
    assert all(str(path.parent) in problem for problem in caught.value.problems)
    return [problem.split(".toml: ", 1)[1] for problem in caught.value.problems]


def loaded(path: Path, **environ: str) -> NodeConfig:
    return config.load(path, environ=environ)


def test_a_config_with_five_mistakes_lists_all_five(write):
    path = write("""
[node]
ae_title = "A TITLE THAT IS FAR TOO LONG"
[receive]
max_associations = -3
idle_timout_s = 30
[completion]
quiet_s = "thirty"
[[routes]]
name = "chest"
model = "lungs"
to = ["pcas"]
[peers.pacs]
ae_title = "PACS"
host = "127.0.0.1"
port = 104
""")
    found = problems(path)
    assert sorted(found) == sorted([
        ('[node] ae_title = "A TITLE THAT IS FAR TOO LONG": '
        "allowed are 1 to 16 printable ASCII characters without backslash"),
        "[receive] max_associations = -3: allowed are values above 0",
        "[receive] idle_timout_s: unknown key; did you mean idle_timeout_s?",
        '[completion] quiet_s = "thirty": allowed are numbers',
        '[[routes]] "chest": to = "pcas": there is no [peers.pcas]; did you mean pacs?',
    ])


def test_several_mistakes_in_one_table_are_all_listed(write):
    found = problems(write("[receive]\nprocesses = 0\nmax_associations = 0\nidle_timeout_s = 0\n"))
    assert len(found) == 3


def test_an_empty_file_is_the_defaults(write):
    path = write("")
    settings = loaded(path)
    assert settings.receive == ReceiveSettings()
    assert settings.node.data_dir == path.parent / "data"
    assert settings.node == NodeSettings(data_dir=path.parent / "data", models_dir=path.parent / "models")
    assert settings.peers == {}
    assert settings.routes == ()


def test_what_is_written_comes_out(write):
    settings = loaded(write(GOOD))
    route = settings.routes[0]
    assert settings.node.ae_title == "NODE"
    assert settings.peers["pacs"].can_receive
    assert not settings.peers["ct1"].can_receive
    assert (route.model, route.from_, route.to) == (("lungs",), ("ct1",), ("pacs",))
    assert route.when == {"Modality": ("CT",), "EchoTime": ("90",)}


def test_relative_paths_start_at_the_file_not_at_the_working_directory(write, monkeypatch):
    path = write(GOOD)
    monkeypatch.chdir("/")
    assert loaded(path).node.data_dir == path.parent / "here"
    assert loaded(path).spool_dir == path.parent / "here" / "spool"


def test_the_environment_goes_before_the_file_for_the_database(write):
    path = write('[node]\ndatabase_url = "postgresql+psycopg://file/x"\n')
    assert loaded(path).database_url == "postgresql+psycopg://file/x"
    assert loaded(path, DICOMNODE_DATABASE_URL="postgresql+psycopg://env/x").database_url == "postgresql+psycopg://env/x"


def test_the_database_url_may_stand_in_a_file_of_its_own(write):
    path = write('[node]\ndatabase_url_file = "secret"\n')
    (path.parent / "secret").write_text("postgresql+psycopg://u:p@db/x\n", encoding="utf-8")
    assert loaded(path).database_url == "postgresql+psycopg://u:p@db/x"


def test_a_database_url_file_that_is_not_there_says_who_named_it(write):
    with pytest.raises(ConfigError, match=r"secret: no such file; \[node\] database_url_file names it"):
        loaded(write('[node]\ndatabase_url_file = "secret"\n'))


def test_an_sqlite_path_is_relative_to_the_file(write):
    path = write('[node]\ndatabase_url = "sqlite:///ledger.sqlite"\n')
    assert loaded(path).database_url == f"sqlite:///{path.parent / 'ledger.sqlite'}"


def test_sop_classes_may_be_named_or_given_by_uid(write):
    settings = loaded(write(f'[receive]\nsop_classes = ["CTImageStorage", "{MR_IMAGE_STORAGE}"]\n'))
    assert settings.receive.sop_classes == (CT_IMAGE_STORAGE, MR_IMAGE_STORAGE)


def test_a_misspelt_sop_class_is_refused_with_its_neighbour(write):
    assert problems(write('[receive]\nsop_classes = ["CTImageStorag"]\n')) == [
        ('[receive] sop_classes[0] = "CTImageStorag": allowed are a SOP Class UID, or CTImageStorage, '
        "EnhancedCTImageStorage, MRImageStorage, EnhancedMRImageStorage; did you mean CTImageStorage?"),
    ]


@pytest.mark.parametrize(("text", "expected"), [
    ("[recieve]\nprocesses = 1", "[recieve]: unknown table; did you mean receive?"),
    ("[receive]\nprocesses = true", "[receive] processes = true: allowed are whole numbers"),
    ('[receive]\nprocesses = "2"', '[receive] processes = "2": allowed are whole numbers'),
    ('[receive]\nunknown_peers = "no"', "[receive] unknown_peers = \"no\": allowed are 'refuse' or 'accept'"),
    ("[node]\nport = 70000", "[node] port = 70000: allowed are values up to 65535"),
    ("[peers.x]\n", "[peers.x] ae_title: this key is missing and has no default"),
    ("[peers.x]\nae_title = 'X'\naddresses = ['10.0.0']",
     '[peers.x] addresses[0] = "10.0.0": allowed are an IP address or a block such as "10.1.0.0/16"'),
    ("[peers.x]\nae_title = 'X'\nhost = 'h'",
     "[peers.x]: host is given without port; give both, or neither for a peer that only sends"),
    ("[peers.x]\nae_title = 'X'\ntakes = ['SGE']",
     ("[peers.x] takes[0] = \"SGE\": allowed are 'SEG', 'LABELMAP', 'SR3D', 'SR', 'TEXT', 'SC', "
      "'GSPS', 'RTSTRUCT', 'PM' or 'KOS'")),
    ("[[routes]]\nname = 'r'\nmodel = 'lungs'\noutputs = ['SEG']",
     "[[routes]] \"r\": outputs[0] = \"SEG\": allowed are 'SC', 'GSPS', 'RTSTRUCT' or 'PM'"),
    ("[peers.x]\nae_title = 'X'\n[peers.y]\nae_title = 'X'",
     ('[peers.y] ae_title = "X": peers.x has it too; '
     "give each its own, or say by addresses = [...] from where each calls, or by tls_names = [...] which "
     "certificate each has")),
    ("[completion]\nquiet_s = 60\nmax_wait_s = 30",
     "[completion] quiet_s = 60: allowed are values up to max_wait_s = 30"),
    ("[completion]\nquiet_s = nan", "[completion] quiet_s = NaN: allowed are finite numbers"),
    ("[worker]\ndevice = 'gpu'", '[worker] device = "gpu": allowed are "auto", "cpu", "cuda" and "cuda:N"'),
    ("[[routes]]\nname = 'a'\nmodel = 'lungs'\nwhen = { Modalty = 'CT' }",
     '[[routes]] "a": when.Modalty: not an attribute that the node keeps; did you mean Modality?'),
    ("[[routes]]\nmodel = 'lungs'", "[[routes]] number 1: name: this key is missing and has no default"),
    ("[[routes]]\nname = 'a'\nmodel = 'lungs'\n[[routes]]\nname = 'a'\nmodel = 'lungs'",
     '[[routes]] "a": the name stands 2 times; each route needs its own'),
    ("[[routes]]\nname = 'a'\nmodel = 'lungs'\nto = 'x'\n[peers.x]\nae_title = 'X'",
     '[peers.x]: host and port missing, needed because [[routes]] "a" sends to it'),
    ("[[routes]]\nname = 'a'\nmodel = 'lungs'\nform = ['x']", '[[routes]] "a": form: unknown key; did you mean from?'),
    ("[[routes]]\nname = 'a'\nmodel = []", '[[routes]] "a": model = []: at least 1 needed, 0 given'),
    ("[node]\ndatabase_url = 'x'\ndatabase_url_file = 'y'",
     "[node] database_url_file: database_url is given too; keep one of them"),
    ("[node]\nport = 104\n[web]\nport = 104", "[web] port = 104: [node] port is the same; give each its own"),
    ("receive = 3", "receive = 3: allowed is a table"),
])
def test_a_mistake_is_said_with_its_place_and_what_is_allowed(write, text, expected):
    assert problems(write(text)) == [expected]


def test_a_route_to_a_model_that_is_not_there_says_where_it_was_searched(write):
    path = write("[node]\nmodels_dir = 'bundles'\n[[routes]]\nname = 'a'\nmodel = ['lungs', 'liver']")
    assert problems(path) == [
        (f'[[routes]] "a": model "liver": no model file at {path.parent}/models/liver.toml or '
        f"{path.parent}/bundles/liver.toml; known are lungs"),
    ]


def test_mistakes_in_a_model_file_stand_beside_those_of_the_node(write):
    path = write("[[routes]]\nname = 'a'\nmodel = 'lungs'\npriority = 'high'", MODEL.replace("task =", "tsak ="))
    assert problems(path) == [
        '[[routes]] "a": priority = "high": allowed are whole numbers',
        "task: this key is missing and has no default",
        "tsak: unknown key; did you mean task?",
    ]


def test_text_that_is_no_toml_is_refused_with_line_and_column(write):
    assert "line 2" in problems(write("[node]\nae_title = DICOMNODE\n"))[0]


def test_a_file_that_is_not_there_says_what_to_do(tmp_path):
    with pytest.raises(ConfigError, match=r"no such file; name another with --config"):
        config.load(tmp_path / "node.toml", environ={})


def test_a_file_in_another_encoding_is_refused_with_the_byte(tmp_path):
    path = tmp_path / "node.toml"
    path.write_bytes("# 节点\n".encode("gb18030"))
    with pytest.raises(ConfigError, match="byte 2 is not UTF-8"):
        config.load(path, environ={})


def test_a_byte_order_mark_and_windows_line_ends_are_accepted(tmp_path):
    path = tmp_path / "node.toml"
    path.write_bytes(b'\xef\xbb\xbf[node]\r\nae_title = "WIN"\r\n')
    assert loaded(path).node.ae_title == "WIN"


def test_the_exit_code_of_a_config_error_is_that_of_sysexits(write):
    with pytest.raises(ConfigError) as caught:
        loaded(write("x = 1"))
    assert caught.value.exit_code == 78
