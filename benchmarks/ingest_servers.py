"""The servers that ``ingest.py`` compares: each starts over an empty folder on loopback and ends with its block."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Protocol

STOP_S = 60.0
AE_TITLE = "BENCHSCP"


class Server(Protocol):
    """One C-STORE SCP."""

    @property
    def name(self) -> str:
        """As the table calls it."""

    def running(self, root: Path, port: int, environment: Mapping[str, str]) -> AbstractContextManager[None]:
        """Serve on ``port`` over ``root`` inside the block."""

    def stored(self, root: Path) -> Iterable[Path]:
        """Every image it keeps."""

    def backlog(self, root: Path) -> int | None:
        """How many images wait to be indexed; None where the server indexes before it answers, or never."""


@contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output, subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT) as process:
        try:
            yield
        finally:
            process.terminate()
            process.wait(STOP_S)


class Storescp:
    """dcmtk's storescp, one process per association, 128 kB PDUs, nothing synced: the floor."""

    name = "storescp (no sync)"

    def running(self, root: Path, port: int, environment: Mapping[str, str]) -> AbstractContextManager[None]:
        """Serve."""
        (root / "images").mkdir()
        return _process(["storescp", "-q", "--fork", "-pdu", "131072", "-aet", AE_TITLE, "-od", str(root / "images"),
                         str(port)], environment, root / "log")

    def stored(self, root: Path) -> Iterable[Path]:
        """Every file of its folder."""
        return (root / "images").iterdir()

    def backlog(self, root: Path) -> int | None:
        """It has no index."""
        _ = root


class Orthanc:
    """Orthanc with its defaults: SQLite index, files synced."""

    name = "Orthanc"

    def running(self, root: Path, port: int, environment: Mapping[str, str]) -> AbstractContextManager[None]:
        """Serve."""
        config = root / "orthanc.json"
        config.write_text(json.dumps({
            "Name": "BENCH", "StorageDirectory": str(root / "db"), "IndexDirectory": str(root / "db"),
            "DicomPort": port, "DicomAet": AE_TITLE, "HttpServerEnabled": False, "Plugins": [],
            "DicomAlwaysAllowStore": True, "DicomCheckCalledAet": False}))
        return _process(["Orthanc", str(config)], environment, root / "log")

    def stored(self, root: Path) -> Iterable[Path]:
        """Every attachment that is a DICOM file: the others are its JSON summaries."""
        return (path for path in (root / "db").rglob("*") if path.is_file() and _is_dicom(path))

    def backlog(self, root: Path) -> int | None:
        """It indexes before it answers."""
        _ = root


class Node:
    """The node of this project: the receiver alone, or the whole node."""

    def __init__(self, *, serve: bool, processes: int, max_pdu_bytes: int = 131072) -> None:
        self._serve = serve
        self._processes = processes
        self._max_pdu_bytes = max_pdu_bytes

    @property
    def name(self) -> str:
        """What runs, and how it differs from the default."""
        name = "dicomnode serve" if self._serve else "dicomnode receive"
        name += f" x{self._processes}" if self._processes > 1 else ""
        return name + (f" pdu {self._max_pdu_bytes}" if self._max_pdu_bytes != 131072 else "")

    @contextmanager
    def running(self, root: Path, port: int, environment: Mapping[str, str]) -> Iterator[None]:
        """Serve."""
        config = root / "node.toml"
        config.write_text(f"""
[node]
ae_title = "{AE_TITLE}"
bind = "127.0.0.1"
port = {port}
data_dir = "data"
[receive]
unknown_peers = "accept"
processes = {self._processes}
max_associations_per_peer = 16
min_free_gb = 1
max_pdu_bytes = {self._max_pdu_bytes}
[completion]
quiet_s = 300
[web]
enabled = false
""")
        command = [sys.executable, "-m", "dicomnode", "--config", str(config), "serve" if self._serve else "receive"]
        with ExitStack() as started:
            for number in range(1 if self._serve else self._processes):
                started.enter_context(_process(command, environment, root / f"log{number}"))
            yield

    def stored(self, root: Path) -> Iterable[Path]:
        """Every arrival, and every image of the store."""
        spool = root / "data" / "spool"
        return [path for part in ("arrivals", "store") for path in (spool / part).rglob("*.dcm")]

    def backlog(self, root: Path) -> int | None:
        """Arrivals that the keeper has not indexed."""
        if not self._serve:
            return None
        return sum(1 for _ in (root / "data" / "spool" / "arrivals").rglob("*.dcm"))


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132).endswith(b"DICM")
