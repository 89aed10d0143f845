"""Real programs for tests: a whole node in processes, an Orthanc, dcmtk's tools, on loopback."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED_DATA = Path(os.environ.get("DICOMNODE_SHARED_DATA", ROOT.parent / "shared" / "data"))
PATIENCE_S = 120.0


def need(program: str, package: str) -> str:
    """Return the path of a Debian program, or skip saying which package to install."""
    for folder in ("/usr/bin", "/usr/sbin"):
        if os.access(f"{folder}/{program}", os.X_OK):
            return f"{folder}/{program}"
    pytest.skip(f"{program} is not installed: apt-get install {package}")


def shared_data(*parts: str) -> Path:
    """Return a path of the shared data, or skip where it is absent."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared data absent: {path} (set DICOMNODE_SHARED_DATA)")
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(happened: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """Poll until ``happened`` returns something true; fail by name when it never does."""
    deadline_s = time.monotonic() + patience_s
    while time.monotonic() < deadline_s:
        found = happened()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"never happened within {patience_s:g} s: {what}")


class LiveNode:
    """``dicomnode serve`` over a folder of its own; ``receive`` adds lines to its ``[receive]`` table."""

    def __init__(self, folder: Path, *, peers: str, routes: str, extra: str = "", quiet_s: float = 1.0,
                 port: int = 0, models_dir: Path = ROOT / "models", receive: str = "") -> None:
        self.folder = folder
        self.port = port or free_port()
        self.config_path = folder / "node.toml"
        self.log_path = folder / "node.log"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copytree(ROOT / "config" / "models", folder / "models", dirs_exist_ok=True)
        self.config_path.write_text(
            f'[node]\nbind = "127.0.0.1"\nport = {self.port}\ndata_dir = "data"\nmodels_dir = "{models_dir}"\n'
            f'[receive]\nmin_free_gb = 0.1\n{receive}\n[completion]\nquiet_s = {quiet_s}\n[web]\nenabled = false\n'
            f"{extra}\n{peers}\n{routes}\n", encoding="utf-8")
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def spool(self) -> Path:
        return self.folder / "data" / "spool"

    def start(self) -> LiveNode:
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dicomnode", "--config", str(self.config_path), "serve"],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
        until(self._listens, f"the node listens; its log: {self.log_path}", 60)
        return self

    def _listens(self) -> bool:
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the node ended with {self.process.returncode}: {self.log_path.read_text()[-3000:]}")
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self) -> int:
        if self.process is None or self.process.poll() is not None:
            return self.process.returncode if self.process else 0
        self.process.terminate()
        return self.process.wait(60)

    def kill_everything(self) -> None:
        """SIGKILL the supervisor and every role at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait(30)

    def pids(self, role: str) -> list[int]:
        """Return the living processes of a role, by their locks."""
        return [int(p.name.split(".")[1]) for p in (self.folder / "data" / "run").glob(f"{role}.*.alive")]

    def cli(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command against this node's configuration."""
        return subprocess.run([sys.executable, "-m", "dicomnode", "--config", str(self.config_path), *words],
                              check=check, capture_output=True, text=True, timeout=120)

    def rows(self, *words: str) -> list[dict[str, Any]]:
        return json.loads(self.cli(*words, "--json").stdout)

    def events(self) -> list[dict[str, Any]]:
        """Return the node's log events so far."""
        found = []
        for line in self.log_path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found

    def wait_for_event(self, name: str, patience_s: float = PATIENCE_S, count: int = 1) -> list[dict[str, Any]]:
        def seen() -> list[dict[str, Any]]:
            found = [e for e in self.events() if e.get("event") == name]
            return found if len(found) >= count else []
        try:
            return until(seen, f"{count} × log event {name}", patience_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_path.read_text()[-4000:]}") from error


@contextmanager
def live_node(folder: Path, **options: Any) -> Iterator[LiveNode]:
    node = LiveNode(folder, **options)
    try:
        yield node.start()
    finally:
        node.stop()


class Orthanc:
    """An Orthanc with empty storage on loopback."""

    def __init__(self, folder: Path, *, node_port: int, lua: Path | None = None, **settings: object) -> None:
        self.program = need("Orthanc", "orthanc")
        self.dicom_port, self.http_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http_port}"
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "orthanc.log"
        self._config = folder / "orthanc.json"
        self._config.write_text(json.dumps({
            "Name": "TESTPACS", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
            "DicomAet": "ORTHANC", "DicomPort": self.dicom_port, "HttpPort": self.http_port,
            "RemoteAccessAllowed": False, "AuthenticationEnabled": False, "DicomCheckCalledAet": False,
            "DicomModalities": {"dicomnode": ["DICOMNODE", "127.0.0.1", node_port]},
            "LuaScripts": [str(lua)] if lua else [], "Plugins": [], "StableAge": 2, **settings,
        }))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen([self.program, str(self._config)], stdout=log, stderr=subprocess.STDOUT)
        until(self._answers, f"Orthanc answers; its log: {self._log}", 60)
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)

    def _answers(self) -> bool:
        try:
            return bool(self.get("/system"))
        except OSError:
            return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=30) as answer:
            return json.load(answer)

    def order(self, method: str, path: str, body: object) -> Any:
        """PUT or POST JSON; return the JSON that comes back, None where nothing does."""
        request = urllib.request.Request(f"{self.url}{path}", data=json.dumps(body).encode(), method=method)
        with urllib.request.urlopen(request, timeout=60) as answer:
            said = answer.read()
        return json.loads(said) if said.strip() else None

    def upload(self, paths: Sequence[Path]) -> None:
        for path in paths:
            request = urllib.request.Request(f"{self.url}/instances", data=path.read_bytes(), method="POST",
                                             headers={"Content-Type": "application/dicom"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                answer.read()

    def instances(self, modality: str) -> list[str]:
        """Return Orthanc's identifiers of every instance of a modality."""
        found = []
        for series in self.get("/series"):
            about = self.get(f"/series/{series}")
            if about["MainDicomTags"].get("Modality") == modality:
                found += about["Instances"]
        return found

    def find(self, query: dict[str, object]) -> list[str]:
        """Return the identifiers of what ``/tools/find`` finds."""
        request = urllib.request.Request(f"{self.url}/tools/find", data=json.dumps(query).encode(), method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return [str(one) for one in json.load(answer)]

    def send(self, resource: str, modality: str) -> str:
        """Order that a study or series is sent to a modality; return the order's identifier."""
        order = json.dumps({"Resources": [resource], "Synchronous": False}).encode()
        request = urllib.request.Request(f"{self.url}/modalities/{modality}/store", data=order, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return str(json.load(answer)["ID"])

    def download(self, instance: str, path: Path) -> Path:
        with urllib.request.urlopen(f"{self.url}/instances/{instance}/file", timeout=60) as answer:
            path.write_bytes(answer.read())
        return path


def orthanc_example(node_port: int) -> dict[str, Any]:
    """Return what ``config/orthanc`` says about DICOM and routing, for a node on another port."""
    folder = ROOT / "config" / "orthanc"
    settings = json.loads((folder / "orthanc.json").read_text(encoding="utf-8"))
    settings["DicomModalities"]["dicomnode"]["Port"] = node_port
    settings["LuaScripts"] = [str(folder / name) for name in settings["LuaScripts"]]
    elsewhere = {"Name", "StorageDirectory", "IndexDirectory", "HttpPort", "DicomPort"}
    return {key: value for key, value in settings.items() if key not in elsewhere}


def unpack(archive: Path, folder: Path) -> list[Path]:
    """Unpack a .tar.xz of the shared data and return its files."""
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["tar", "xJf", str(archive), "-C", str(folder)], check=True)
    return sorted(p for p in folder.rglob("*") if p.is_file())
