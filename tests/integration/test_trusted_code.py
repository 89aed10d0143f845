"""A bundle that may run its own code is still in the cage: what it can reach, and what it is told when it cannot."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicomnode.domain.model import Runtime
from dicomnode.errors import ModelChanged, ModelFailed, ModelProcessDied, ModelRefused
from dicomnode.infer.pool import Pool, sandbox_report
from dicomnode.infer.sandbox import SCOPE_ABI, landlock_abi
from tests.builders import affine_lps
from tests.bundles import blobs, model_file, spleen_form, volume
from tests.classification_bundles import classification_file, classification_template
from tests.zoo import changed_config, write_scripts

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not importlib.util.find_spec("ignite"), reason="trust = 'code' needs pytorch-ignite"),
]
IMAGE = volume(blobs((16, 40, 44)), affine_lps(spacing_zyx_mm=(3.0, 1.1, 1.3)))
PROBE = """
import glob, json, os, pathlib, signal, socket, subprocess, sys
import scripts.second as second

def tried(action):
    try:
        return action()
    except BaseException as error:
        return type(error).__name__

def probe(patient, mark, port, parent):
    root = pathlib.Path("/bundle")
    said = {
        "patient": tried(lambda: open(patient).read()),
        "passwd": tried(lambda: open("/etc/passwd").read()),
        "parent's memory": tried(lambda: open(f"/proc/{parent}/mem", "rb").read(1)),
        "parent's environment": tried(lambda: open(f"/proc/{parent}/environ").read()),
        "write": tried(lambda: open(mark, "w").write("x")),
        "write by another program": tried(lambda: subprocess.run(["/bin/sh", "-c", f"echo x > {mark}"]).returncode),
        "write into the bundle": tried(lambda: (root / "configs" / "new.json").write_text("x")),
        "connect": tried(lambda: socket.create_connection(("127.0.0.1", port), 5) and "done"),
        "kill": tried(lambda: os.kill(parent, 0) or "done"),
        "mount": tried(lambda: os.chroot("/usr") or "done"),
        "environment": sorted(os.environ),
        "second": second.VALUE, "own file": json.loads((root / "configs" / "words.json").read_text())["said"],
        "files": sorted(glob.glob("/bundle/configs/*.json")), "folders": sorted(os.listdir("/bundle")),
        "there": [os.path.isfile("/bundle/configs/words.json"), os.path.exists("/bundle/absent"), root.is_dir()],
        "makedirs": tried(lambda: os.makedirs("/bundle/eval/out", exist_ok=True) or "done"),
        "walked": sum(len(names) for _, _, names in os.walk("/bundle")),
    }
    raise RuntimeError(json.dumps(said))
"""

LOUD = """
import os

def shout(text):
    for fd in range(3, 60):
        try:
            os.write(fd, text.encode())
        except OSError:
            pass
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory) -> dict[str, Any]:
    """What a trusted bundle found when it tried everything."""
    outside, models = tmp_path_factory.mktemp("outside"), tmp_path_factory.mktemp("models")
    (outside / "patient").write_text("secret", encoding="ascii")
    folder = models / "probe"
    write_scripts(folder, {"probe.py": PROBE, "second.py": "VALUE = 2\n"})
    spleen_form(folder)
    (folder / "configs" / "words.json").write_text('{"said": "yes"}', encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as server:
        arguments = (str(outside / "patient"), str(outside / "mark"), server.getsockname()[1], os.getpid())
        changed_config(folder, lambda config: config.update(
            imports=["$from scripts.probe import probe"], initialize=[f"$probe{arguments}"]))
        with Pool(models, device="cpu", threads=1) as pool, pytest.raises(ModelFailed) as caught:
            pool.run(model_file(folder, trust="code"), {"image": IMAGE})
    text = str(caught.value)
    assert '{"patient' in text, text
    found: dict[str, Any] = json.loads(text[text.index('{"patient'):text.rindex("}") + 1])
    found["marked"] = (outside / "mark").exists()
    return found


@pytest.mark.parametrize("said", ["junk", "[1]", "[" * 9000, '{"ok": true}', '{"error": 7}'])
def test_what_a_bundle_writes_into_the_channel_is_a_failure_of_its_model(said, tmp_path):
    folder = spleen_form(tmp_path / "loud")
    write_scripts(folder, {"loud.py": LOUD})
    changed_config(folder, lambda config: config.update(
        imports=["$from scripts.loud import shout"], initialize=[f"$shout({said!r})"]))
    with Pool(tmp_path, device="cpu", threads=1) as pool, pytest.raises((ModelFailed, ModelProcessDied)):
        pool.run(model_file(folder, trust="code"), {"image": IMAGE}, progress=lambda _fraction: None)


def test_no_file_of_the_machine_can_be_read_or_written(said):
    if landlock_abi() < 1:
        pytest.skip("this kernel has no Landlock")
    for what in ("patient", "passwd", "parent's memory", "parent's environment", "write"):
        assert said[what] == "PermissionError", what
    assert said["write by another program"] != 0
    assert said["marked"] is False


def test_the_network_is_out_of_reach(said):
    if "not separated" in sandbox_report()["network"]:
        pytest.skip("this kernel grants no network namespace")
    assert said["connect"] in {"OSError", "ConnectionRefusedError", "PermissionError"}


def test_the_node_cannot_be_signalled_nor_privileges_gained(said):
    if landlock_abi() < SCOPE_ABI:
        pytest.skip("this kernel's Landlock does not scope signals")
    assert said["kill"] == said["mount"] == "PermissionError"


def test_nothing_of_the_nodes_environment_is_there(said):
    assert not [name for name in said["environment"] if name.startswith(("DICOMNODE", "PG", "AWS"))]
    assert "HOME" in said["environment"]


def test_the_bundles_own_modules_and_files_are_served_from_memory(said):
    assert (said["second"], said["own file"]) == (2, "yes")
    assert said["files"] == ["/bundle/configs/inference.json", "/bundle/configs/metadata.json",
                             "/bundle/configs/words.json"]
    assert said["folders"] == ["configs", "models", "scripts"]
    assert said["there"] == [True, False, True]
    assert said["walked"] == 6
    assert said["makedirs"] == "done"
    assert said["write into the bundle"] == "PermissionError"


def test_code_that_changed_since_it_was_trusted_is_refused_before_it_is_parsed(tmp_path):
    folder = tmp_path / "bundle"
    write_scripts(folder, {"own.py": "VALUE = 1\n"})
    model = model_file(spleen_form(folder), trust="code")
    (folder / "scripts" / "own.py").write_text("VALUE = 2\n", encoding="utf-8")
    with Pool(tmp_path, device="cpu", threads=1) as pool, pytest.raises(ModelChanged, match="nothing of it was loaded"):
        pool.run(model, {"image": IMAGE})


def test_scripts_are_never_imported_for_a_bundle_that_is_not_trusted(tmp_path):
    folder = tmp_path / "bundle"
    write_scripts(folder, {"own.py": "raise SystemExit\n"})
    spleen_form(folder, extra={"inferer": {"_target_": "scripts.own.Inferer"}})
    with Pool(tmp_path, device="cpu", threads=1) as pool, pytest.raises(ModelRefused, match=r"scripts\.own\.Inferer"):
        pool.run(model_file(folder), {"image": IMAGE})


def test_a_bundle_of_more_files_than_one_message_holds_is_refused(tmp_path):
    folder = spleen_form(tmp_path / "bundle")
    write_scripts(folder, {f"part_{number}.py": "" for number in range(260)})
    with Pool(tmp_path, device="cpu", threads=1) as pool, pytest.raises(ModelRefused, match="files to load"):
        pool.run(model_file(folder, trust="code"), {"image": IMAGE})


@pytest.mark.parametrize(("change", "said"), [
    ({"evaluator": None}, "no 'evaluator'"), ({"dataset": "$[]"}, "no 'dataset'"),
    ({"inferer": {"_target_": "scripts.absent.Inferer"}}, "scripts.absent.Inferer")])
def test_what_the_engine_cannot_run_is_said(change, said, tmp_path):
    folder = spleen_form(tmp_path / "bundle", extra=change)
    with Pool(tmp_path, device="cpu", threads=1) as pool, pytest.raises(ModelFailed, match=said):
        pool.run(model_file(folder, trust="code"), {"image": IMAGE})


def test_a_trusted_classification_gives_the_same_probabilities_as_its_pieces(tmp_path):
    folder = classification_template(tmp_path / "bundle")
    model = classification_file(folder)
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        pieces = pool.run(model, {"image": IMAGE}).probabilities
    assert pieces is not None
    trusted = replace(model, trust="code")
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        engine = pool.run(trusted, {"image": IMAGE}).probabilities
    assert engine == pytest.approx(pieces, abs=1e-6)


def test_no_trace_of_a_bundle_reaches_the_disk(tmp_path):
    folder = spleen_form(tmp_path / "bundle")
    before = sorted(path for path in tmp_path.rglob("*"))
    with Pool(tmp_path, device="cpu", threads=1) as pool:
        output = pool.run(model_file(folder, trust="code", runtime=Runtime(fast_resample=True)), {"image": IMAGE})
    assert output.labels_zyx is not None
    assert output.notes == ("not used with trust = 'code': fast_resample",)
    assert sorted(path for path in tmp_path.rglob("*")) == before
    assert not Path("/bundle").exists()
