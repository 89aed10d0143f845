"""The tour's node: its configuration, its process, and what it says."""

from __future__ import annotations

import json
import os
import queue
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from dicomnode.shipped import shipped

QUIET_S: Final = 2
STOP_S: Final = 30.0
MODELS: Final = ("demo_chest", "demo_nodule")
"""One route: lungs and nodules as a mask, nodules as boxes with a probability."""

CONFIG: Final = """\
# Written by the guided tour: a node with embedded defaults on loopback.
[node]
ae_title = "DICOMNODE"
bind = "127.0.0.1"
port = {port}
data_dir = "data"
models_dir = "{models}"

[receive]
min_free_gb = 0.2

[completion]
quiet_s = {quiet_s}

[web]
enabled = false

[peers.scanner]
ae_title = "SCANNER"

[peers.tour]
ae_title = "TOUR"
{peers}
[[routes]]
name = "chest-ct"
from = ["scanner"]
model = [{routed}]
to = [{to}]
report_not_analysed = true
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where the tour's results go."""

    name: str
    ae_title: str
    host: str
    port: int


class TourNode:
    """``dicomnode serve`` in a process of its own, over a fresh data folder; stopped on exit.

    Parameters
    ----------
    folder:
        Holds configuration, data and log; its data of an earlier tour is removed.
    """

    def __init__(self, folder: Path, destinations: tuple[Destination, ...]) -> None:
        self.folder = folder
        self.port = _free_port()
        self.config_path = folder / "node.toml"
        self.log_path = folder / "node.log"
        self._events: queue.SimpleQueue[Mapping[str, Any]] = queue.SimpleQueue()
        self._process: subprocess.Popen[str] | None = None
        self._write_config(destinations)

    def _write_config(self, destinations: tuple[Destination, ...]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "models").mkdir(parents=True)
        for name in MODELS:
            shutil.copy(shipped("config") / "models" / f"{name}.toml", self.folder / "models")
        peers = "".join(
            f'\n[peers.{d.name}]\nae_title = "{d.ae_title}"\nhost = "{d.host}"\nport = {d.port}\n' for d in destinations
        )
        self.config_path.write_text(
            CONFIG.format(
                port=self.port,
                models=shipped("models").resolve(),
                quiet_s=QUIET_S,
                peers=peers,
                routed=", ".join(f'"{name}"' for name in MODELS),
                to=", ".join(f'"{d.name}"' for d in destinations),
            ),
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        """Start the node."""
        command = [sys.executable, "-m", "dicomnode", "--config", str(self.config_path), "serve"]
        environment = {key: value for key, value in os.environ.items() if key != "DICOMNODE_DATABASE_URL"}
        self._process = subprocess.Popen(  # noqa: S603
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        threading.Thread(target=self._listen, args=(self._process,), name="node-log", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        """Stop the node and wait for it."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _listen(self, process: subprocess.Popen[str]) -> None:
        if process.stdout is None:
            return
        with process.stdout as lines, self.log_path.open("w", encoding="utf-8") as log:
            for line in lines:
                log.write(line)
                log.flush()
                try:
                    self._events.put(json.loads(line))
                except ValueError:
                    self._events.put({"event": "said", "text": line.rstrip()})
        self._events.put({"event": "node_ended", "exit_code": process.wait()})

    def next_event(self, timeout_s: float) -> Mapping[str, Any] | None:
        """Return the node's next log event, None when none came in time."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
