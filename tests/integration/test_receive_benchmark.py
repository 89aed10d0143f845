from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import ROOT, need


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--serve"]])
def test_the_ingest_benchmark_compares_three_servers_and_leaves_nothing(tmp_path: Path, options: list[str]):
    need("storescu", "dcmtk")
    need("Orthanc", "orthanc")
    run = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "ingest.py"), "--images", "60", "--senders", "1", "--repeats", "1",
         "--folder", str(tmp_path), *options],
        text=True, capture_output=True, check=False, timeout=280)
    assert run.returncode == 0, run.stderr
    table = run.stdout.splitlines()
    assert [line.split()[0] for line in table if "(" in line and "median" not in line] == [
        "storescp", "Orthanc", "dicomnode"]
    assert ("backlog empty" in run.stdout) == bool(options)
    assert list(tmp_path.iterdir()) == []
