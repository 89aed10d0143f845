"""What starts the node on a machine: units that systemd understands and finds hardened, an image not root."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from dicomnode.cli import COMMANDS

ROOT = Path(__file__).parents[2]
UNITS = sorted((ROOT / "deploy" / "systemd").glob("*.service"))
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
MOST_EXPOSED = 2.5
"""systemd's own measure, 0 best, 10 worst; an ordinary service has 9.6."""
unit = pytest.mark.parametrize("path", UNITS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """A folder of the units, their program replaced by one that is on this machine; the tool that reads them."""
    tool = shutil.which("systemd-analyze")
    if tool is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    folder = tmp_path_factory.mktemp("units")
    for path in UNITS:
        text = path.read_text(encoding="utf-8").replace("/opt/dicomnode/bin/dicomnode", shutil.which("true"))
        (folder / path.name).write_text(text)
    return lambda path, *words: subprocess.run([tool, *words, str(folder / path.name)], capture_output=True, text=True,
                                               check=False, timeout=120)


def settings(path: Path) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^([A-Z]\w+)=(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def test_there_is_a_unit_for_the_whole_node_and_one_for_each_role():
    assert sorted(path.stem for path in UNITS) == [
        "dicomnode", "dicomnode-deliver", "dicomnode-keep", "dicomnode-receive", "dicomnode-web", "dicomnode-work"]
    commands = {settings(path)["ExecStart"][0].split()[-1] for path in UNITS}
    assert commands == {"serve", "deliver", "keep", "receive", "web", "work"}
    assert commands <= set(COMMANDS)


@unit
def test_systemd_understands_every_line(analysed, path):
    done = analysed(path, "verify", "--man=no")
    said = [line for line in done.stderr.splitlines() if path.name in line]
    assert (done.returncode, said) == (0, [])


@unit
def test_systemd_finds_the_unit_hardened(analysed, path):
    done = analysed(path, "security", "--offline=true")
    exposed = re.search(r"exposure level for .*: ([\d.]+)", done.stdout)
    assert exposed is not None, done.stdout + done.stderr
    assert float(exposed[1]) <= MOST_EXPOSED


@unit
def test_only_those_that_start_models_may_make_namespaces_and_machine_code(path):
    runs_models = path.stem in {"dicomnode", "dicomnode-work"}
    found = settings(path)
    assert found["RestrictNamespaces"] == (["user net ipc"] if runs_models else ["yes"])
    assert ("MemoryDenyWriteExecute" in found) is not runs_models
    assert any("landlock" in line for line in found["SystemCallFilter"]) is runs_models


@unit
def test_a_role_never_runs_beside_the_whole_node(path):
    conflicts = " ".join(settings(path)["Conflicts"]).split()
    others = {f"{other.stem}.service" for other in UNITS} - {"dicomnode.service"}
    assert set(conflicts) == (others if path.stem == "dicomnode" else {"dicomnode.service"})


def test_the_image_runs_as_a_numbered_user_that_is_not_root():
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    users = re.findall(r"^USER (.*)$", last, re.MULTILINE)
    assert users == ["10001:10001"]
    after = last.partition("\nUSER ")[2]
    assert not re.search(r"^(RUN|COPY|ADD) ", after, re.MULTILINE)


def test_the_image_starts_the_program_that_the_package_installs():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
    assert 'ENTRYPOINT ["dicomnode"]' in DOCKERFILE
    assert "dicomnode" in scripts
    command = re.search(r'^CMD \["(\w+)"\]$', DOCKERFILE, re.MULTILINE)[1]
    assert command in COMMANDS


def test_what_the_image_copies_exists_and_is_let_in():
    lines = re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
    copied = [word for line in lines for word in line.split()[:-1]]
    let_in = re.findall(r"^!(.+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    assert copied
    for name in copied:
        assert (ROOT / name).exists(), name
        assert name in let_in, name
    shipped = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
    assert set(shipped["wheel"]["force-include"]) <= set(copied)
