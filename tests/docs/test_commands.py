"""docs/commands.md has every command with every option, and every JSON key that a command prints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from dicomnode.cli import COMMANDS, WITHOUT_CONFIG, cli
from dicomnode.ledger.engine import Ledger
from dicomnode.spool import Spool
from tests.builders import ct_series, write_series
from tests.ledger_rows import STUDY, a_claimed_delivery

ROOT = Path(__file__).parents[2]
DOCS = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
SECTIONS = {found[1]: found[2] for found in re.finditer(r"^### (.+?)\n(.*?)(?=^##|\Z)", DOCS, re.MULTILINE | re.DOTALL)}


def leaves(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            yield from leaves(f"{name} {below}", one)
    else:
        yield name, command


def every_command() -> dict[str, click.Command]:
    context = click.Context(cli)
    return dict(leaf for name in COMMANDS for leaf in leaves(name, cli.get_command(context, name)))


def test_every_command_is_documented_and_has_help():
    found = every_command()
    assert set(SECTIONS) == set(found)
    assert [name for name, command in found.items() if len(command.help or "") < 20] == []


@pytest.mark.parametrize("name", every_command())
def test_every_option_is_documented_and_has_help(name):
    command = every_command()[name]
    options = {one.opts[0]: one for one in command.params if isinstance(one, click.Option)}
    assert ("--config" in options) is (name not in WITHOUT_CONFIG)
    assert [flag for flag, one in options.items() if not one.help] == []
    assert set(re.findall(r"^\| `(--[a-z0-9-]+)` \|", SECTIONS[name], re.MULTILINE)) == options.keys() - {"--config"}


@pytest.mark.parametrize("name", every_command())
def test_every_argument_is_named_in_its_section(name):
    arguments = [one for one in every_command()[name].params if isinstance(one, click.Argument)]
    for argument in arguments:
        for word in argument.human_readable_name.upper().split("|"):
            assert f"`{word}`" in SECTIONS[name]


def test_the_list_of_commands_is_not_cut_off():
    text = CliRunner().invoke(cli, ["--help"], terminal_width=80).output
    listed = text.partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed] == list(COMMANDS)
    assert [line for line in listed if line.endswith("...")] == []


def test_the_configuration_may_be_named_before_or_behind_the_command(tmp_path):
    for words in (["--config", "gone.toml", "studies"], ["studies", "--config", "gone.toml"]):
        error = CliRunner().invoke(cli, words).exception
        assert "gone.toml" in str(error)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration, a CT, and a ledger in which a delivery is under way."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "node.toml").write_text(
        f'[node]\nae_title = "DICOMNODE"\nmodels_dir = "{ROOT / "models"}"\n'
        '[[routes]]\nname = "chest"\nmodel = ["demo_chest"]\n', encoding="utf-8")
    (folder / "models").mkdir()
    model = ROOT / "config" / "models" / "demo_chest.toml"
    (folder / "models" / model.name).write_bytes(model.read_bytes())
    write_series(folder / "ct", ct_series(np.zeros((3, 8, 8), np.int16)))
    Spool(folder / "data" / "spool", min_free_bytes=0).prepare()
    ledger = Ledger(f"sqlite:///{folder / 'data' / 'dicomnode.sqlite'}")
    ledger.upgrade()
    a_claimed_delivery(ledger)
    ledger.dispose()
    return folder


@pytest.mark.parametrize("words", [
    "check", "conformance", "models list", "models show DEMO", "status", "studies", f"study {STUDY}", "jobs",
    "deliveries", "explain CT"])
def test_every_json_key_is_documented_and_no_other(node, words):
    name = re.sub(r" (CT|DEMO|[\d.]+)$", "", words)
    given = {"CT": str(node / "ct"), "DEMO": "demo_chest"}
    asked = [given.get(word, word) for word in words.split()]
    result = CliRunner().invoke(cli, ["--config", str(node / "node.toml"), *asked, "--json"])
    rows = json.loads(result.stdout)
    documented = SECTIONS[name].partition("| JSON key |")[2]
    cells = re.findall(r"^\| (`.+?`) \|", documented, re.MULTILINE)
    keys = {key for cell in cells for key in re.findall(r"`(\w+)`", cell)}
    assert rows
    assert all(set(row) == keys for row in rows)


def test_commands_with_json_are_those_with_documented_keys():
    with_json = {name for name, command in every_command().items()
                 if any("--json" in one.opts for one in command.params)}
    assert with_json == {name for name, text in SECTIONS.items() if "| JSON key |" in text}
