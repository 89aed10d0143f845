"""Models that do what no model should, and a worker in which reading one study is deadly."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Final

from dicomnode.config import model_from_text
from dicomnode.domain.model import Runtime
from dicomnode.infer.digest import bundle_digest
from tests.model_files import write_model_file
from tests.threshold_bundles import threshold_model
from tests.zoo import changed_config, write_scripts

ACTS: Final = {
    "abort": "os.abort()",
    "hang": "threading.Event().wait()",
    "grow": "[kept.append(grown()) for _ in range(1000)]",
}
"""What each model does as soon as it runs: dies, never ends, takes all memory that it can get."""
SCRIPT: Final = """
import mmap, os, threading

kept = []

def grown():
    part = mmap.mmap(-1, 64 << 20)  # shared, and so not bounded by the child's own limit
    part.write(bytes(64 << 20))
    return part

def act():
    {act}
"""
DEADLY: Final = "DICOMNODE_TEST_DEADLY"
"""SeriesDescription=act; in the worker of a test, reading such a series does that."""
PLANTED: Final = f"""
import os, sys

if "work" in sys.orig_argv and os.environ.get("{DEADLY}"):
    import dicomnode.read.series as series

    true_load = series.load

    def load(paths, *rest, **more):
        import pydicom

        acts = dict(one.split("=") for one in os.environ["{DEADLY}"].split(","))
        act = acts.get(pydicom.dcmread(paths[0], stop_before_pixels=True).SeriesDescription)
        if act == "abort":
            os.abort()
        if act == "hang":
            import threading

            threading.Event().wait()
        return true_load(paths, *rest, **more)

    series.load = load
"""


def poisonous_model(folder: Path, act: str, *, time_limit_s: float, memory_limit_mb: int) -> None:
    """Write a bundle that does ``act`` (a key of ``ACTS``) when it runs, and its model file beside it."""
    threshold_model(folder, act)
    bundle = folder / f"{act}_bundle"
    write_scripts(bundle, {"poison.py": SCRIPT.format(act=ACTS[act])})
    changed_config(bundle, lambda config: config.update(
        imports=["$from scripts.poison import act"], initialize=["$act()"]))
    model = model_from_text((folder / f"{act}.toml").read_text(encoding="utf-8"), source=act)
    runtime = Runtime(time_limit_s=time_limit_s, memory_limit_mb=memory_limit_mb)
    write_model_file(replace(model, trust="code", digest=bundle_digest(bundle), runtime=runtime), folder)


def plant(folder: Path, acts: dict[str, str]) -> dict[str, str]:
    """Write what makes reading deadly in the workers of a node; return the environment that it needs."""
    folder.mkdir(parents=True)
    (folder / "sitecustomize.py").write_text(PLANTED, encoding="utf-8")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    assert "sitecustomize" not in sys.modules or sys.modules["sitecustomize"].__file__ != str(folder)
    return {"PYTHONPATH": path, DEADLY: ",".join(f"{name}={act}" for name, act in acts.items())}
