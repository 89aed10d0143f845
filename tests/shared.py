"""Real data that lies beside the repository, never in it: found by DICOMNODE_SHARED_DATA or ``../shared/data``."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

DEFAULT_FOLDER = Path(__file__).resolve().parents[1].parent / "shared" / "data"


def shared_data(name: str) -> Path:
    """Return a folder of the shared data; skip the test where it is absent."""
    folder = Path(os.environ.get("DICOMNODE_SHARED_DATA", DEFAULT_FOLDER)) / name
    if not folder.is_dir():
        pytest.skip(f"no shared data {name}: set DICOMNODE_SHARED_DATA to the folder that has it")
    return folder


def unpacked(name: str, folder: Path) -> Path:
    """Unpack the one archive of a shared series into ``folder`` and return it; skip where it is absent."""
    (archive,) = shared_data(name).glob("*.tar.xz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder


def dicom_files(folder: Path) -> list[Path]:
    """Return every file below a folder that says it is DICOM, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [path for path in files if path.read_bytes()[128:132] == b"DICM"]
