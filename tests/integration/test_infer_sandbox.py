"""The cage, entered by a real process: nothing of the machine can be read, written or called."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROBE = """
import json, os, socket, sys
from dicomnode.infer import sandbox
report = sandbox.enter(parent_pid=os.getppid(), gpu=False)
def tried(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "done"
print(json.dumps({"report": report, "read": tried(lambda: open(sys.argv[1]).read()),
    "write": tried(lambda: open(sys.argv[2], "w").write("x")),
    "connect": tried(lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3])), 5)),
    "capabilities": [line.split()[1] for line in open("/proc/self/status") if line.startswith("CapEff")][0]}))
"""


@pytest.fixture(scope="module")
def probed(tmp_path_factory) -> dict[str, object]:
    import socket

    folder = tmp_path_factory.mktemp("outside")
    (folder / "patient").write_text("secret", encoding="ascii")
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [sys.executable, "-c", PROBE, str(folder / "patient"), str(folder / "new"), str(server.getsockname()[1])],
            env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=True, text=True)
    answer = json.loads(done.stdout)
    answer["written"] = (folder / "new").exists()
    return answer


def test_files_outside_the_installed_software_can_neither_be_read_nor_written(probed):
    if "Landlock" not in probed["report"]["filesystem"] or "not closed" in probed["report"]["filesystem"]:
        pytest.skip(f"this kernel has no Landlock: {probed['report']['filesystem']}")
    assert probed["read"] == probed["write"] == "PermissionError"
    assert probed["written"] is False


def test_the_network_is_out_of_reach(probed):
    if "not separated" in probed["report"]["network"]:
        pytest.skip(f"this kernel grants no network namespace: {probed['report']['network']}")
    assert probed["connect"] != "done"


def test_no_capability_is_left(probed):
    assert int(str(probed["capabilities"]), 16) == 0
