"""OHIF as the npm registry has it, served from one origin with the DICOMweb of an Orthanc."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import subprocess
import tarfile
import tempfile
import threading
import urllib.error
import urllib.request
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest

from tests.live import ROOT

OHIF_VERSION = "3.13.2"
OHIF_SHA512 = "WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
CACHE = ROOT / "build" / f"ohif-{OHIF_VERSION}"
DICOM_WEB, WADO = "/dicom-web", "/wado"
HOP_HEADERS = {"transfer-encoding", "connection", "keep-alive", "content-length", "server", "date"}


def ohif_dist() -> Path:
    """Return the folder of the built viewer, from the npm registry once; skip where no registry is reached."""
    if not (CACHE / "index.html").is_file():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed: apt-get install npm")
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE.parent) as scratch:
            _unpack(_packed(Path(scratch)), Path(scratch))
            Path(scratch, "package", "dist").replace(CACHE)
    return CACHE


def _packed(folder: Path) -> Path:
    wanted = f"@ohif/app@{OHIF_VERSION}"
    words = ["npm", "pack", wanted, "--fetch-retries=2", "--fetch-timeout=120000", "--pack-destination", str(folder)]
    got = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    if got.returncode:
        pytest.skip(f"npm pack {wanted} gave nothing (is a registry configured and reached?): {got.stderr[-300:]}")
    (archive,) = folder.glob("*.tgz")
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != OHIF_SHA512:
        raise AssertionError(f"{wanted} has sha512 {digest}, pinned is {OHIF_SHA512}: not the package that was tested")
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as packed:
        wanted = [one for one in packed if one.name.startswith("package/dist/") and not one.name.endswith(".map")]
        packed.extractall(folder, wanted, filter="data")


def dicomweb_settings() -> dict[str, object]:
    """Return what an Orthanc needs besides its usual settings to be OHIF's archive; skip without the plugin."""
    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if not plugin.exists():
        pytest.skip("Orthanc's DICOMweb is not installed: apt-get install orthanc-dicomweb")
    return {"Plugins": [str(plugin)],
            "DicomWeb": {"Enable": True, "Root": f"{DICOM_WEB}/", "EnableWado": True, "WadoRoot": WADO, "Ssl": False,
                         "StudiesMetadata": "Full", "SeriesMetadata": "Full"}}


def app_config() -> str:
    """Return OHIF's configuration: one archive on the page's own origin, no dialogs."""
    source = {
        "friendlyName": "archive", "name": "archive", "wadoUriRoot": WADO, "qidoRoot": DICOM_WEB,
        "wadoRoot": DICOM_WEB, "qidoSupportsIncludeField": False, "imageRendering": "wadors",
        "thumbnailRendering": "wadors", "enableStudyLazyLoad": True, "supportsFuzzyMatching": False,
        "supportsWildcard": True, "omitQuotationForMultipartRequest": True, "bulkDataURI": {"enabled": True}}
    return "window.config = " + json.dumps({
        "routerBasename": None, "extensions": [], "modes": [], "customizationService": {}, "showStudyList": True,
        "maxNumberOfWebWorkers": 2, "showWarningMessageForCrossOrigin": False, "showCPUFallbackMessage": False,
        "strictZSpacingForVolumeViewport": True, "investigationalUseDialog": {"option": "never"},
        "defaultDataSourceName": "dicomweb",
        "dataSources": [{"namespace": "@ohif/extension-default.dataSourcesModule.dicomweb", "sourceName": "dicomweb",
                         "configuration": source}]})


class ViewerServer:
    """The viewer's files and the archive's DICOMweb on one port of loopback."""

    def __init__(self, dist: Path, archive_url: str) -> None:
        def handler(*args: Any) -> _Handler:
            return _Handler(*args, dist=dist, archive_url=archive_url)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, dist: Path, archive_url: str) -> None:
        self._archive_url = archive_url
        super().__init__(*args, directory=str(dist))

    def do_GET(self) -> None:
        if self.path.startswith((DICOM_WEB, WADO)):
            self._pass_on()
        elif self.path.split("?")[0] == "/app-config.js":
            self._answer(200, [("Content-Type", "text/javascript")], app_config().encode())
        else:
            if not Path(self.translate_path(self.path)).is_file():
                self.path = "/index.html"  # a page of the application, not a file
            super().do_GET()

    def end_headers(self) -> None:
        self.send_header("Cross-Origin-Opener-Policy", "same-origin")
        self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def _pass_on(self) -> None:
        """Ask the archive under the page's own host name: its BulkDataURIs then stay on this origin."""
        kept = {name: self.headers[name] for name in ("Accept", "Host") if name in self.headers}
        request = urllib.request.Request(f"{self._archive_url}{self.path}", headers=kept)
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                self._answer(answer.status, answer.headers.items(), answer.read())
        except urllib.error.HTTPError as refusal:
            self._answer(refusal.code, refusal.headers.items(), refusal.read())

    def _answer(self, status: int, headers: Any, body: bytes) -> None:
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in HOP_HEADERS:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: the tests say what is wrong."""
