"""Each hub's form of listing and file, from a server on loopback that stands for it; and what must not be taken."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from click.testing import CliRunner

from dicomnode import config
from dicomnode.adopt.add import Wish
from dicomnode.adopt.fetch import Fetcher
from dicomnode.adopt.hubs import find
from dicomnode.adopt.pull import Origin, pull
from dicomnode.cli import cli
from dicomnode.errors import EXIT_UNAVAILABLE, HubUnavailable, ModelChanged, UnusableBundle
from dicomnode.infer.digest import bundle_digest

BUNDLE = Path(__file__).parents[3] / "models" / "phantom_chest_ct_segmentation"
QUIET = Wish(load=False)
HOSTED = "/v2/models/nvidia/monaihosting/chest/versions/1.0.0/files/chest_v1.0.0.zip"
MODEL_INFO = "/Project-MONAI/model-zoo/dev/models/model_info.json"
NGC = "/v2/models/nvidia/monaitoolkit/monai_chest/versions"


class Server(ThreadingHTTPServer):
    """Answers what is in ``pages`` and keeps what it was asked."""

    def __init__(self) -> None:
        self.pages, self.asked = {}, []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers)))
        status, headers, body = self.server.pages.get(self.path, (404, {}, b"no"))
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object):
        return


@pytest.fixture
def server():
    made = Server()
    thread = threading.Thread(target=made.serve_forever, daemon=True)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("zip") / "chest"
    return Path(shutil.make_archive(str(path), "zip", BUNDLE.parent, BUNDLE.name)).read_bytes()


@pytest.fixture
def node(tmp_path):
    (tmp_path / "node.toml").write_text('[node]\nmodels_dir = "bundles"\n', encoding="utf-8")
    return config.load(tmp_path / "node.toml", environ={})


def page(body: object, status: int = 200, **headers: str):
    return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


def pulled(source, server, node, wish=QUIET, **origin: object):
    return pull(Origin(source=source, fetcher=Fetcher(mirror=server.url), **origin), node, wish)


def left_behind(node):
    return [path.name for path in node.node.models_dir.glob("*")] + [
        path.name for path in (node.config_dir / "models").glob("*")]


def test_the_newest_version_of_a_bundle_of_the_zoo_is_fetched_and_checked(server, node, archive):
    sha1 = hashlib.sha1(archive, usedforsecurity=False).hexdigest()
    source = f"https://api.ngc.nvidia.com{HOSTED.replace('1.0.0', '0.10.0')}"
    server.pages = {MODEL_INFO: page({"chest_v0.9.0": {"checksum": "0" * 40, "source": "https://example.org/old.zip"},
                                      "chest_v0.10.0": {"checksum": sha1, "source": source}, "other_v9": {}}),
                    HOSTED.replace("1.0.0", "0.10.0"): page(archive)}
    added = pulled("monai:chest", server, node)
    assert added.model.digest == bundle_digest(BUNDLE)
    assert [path for path, _headers in server.asked] == [MODEL_INFO, HOSTED.replace("1.0.0", "0.10.0")]


def test_a_version_that_the_zoo_does_not_list_is_asked_from_its_hosting(server, node, archive):
    server.pages = {MODEL_INFO: page({}), HOSTED: page(archive)}
    assert pulled("monai:chest@1.0.0", server, node).model.digest == bundle_digest(BUNDLE)


def test_another_checksum_than_the_published_one_is_refused(server, node, archive):
    entry = {"checksum": "0" * 40, "source": f"https://api.ngc.nvidia.com{HOSTED}"}
    server.pages = {MODEL_INFO: page({"chest_v1.0.0": entry}), HOSTED: page(archive)}
    with pytest.raises(ModelChanged, match="sha1 of what came is"):
        pulled("monai:chest", server, node)
    assert left_behind(node) == []


def test_a_bundle_of_ngc_comes_file_by_file_in_its_newest_version(server, node):
    files = {path.relative_to(BUNDLE).as_posix(): path.read_bytes() for path in BUNDLE.rglob("*") if path.is_file()}
    server.pages = {
        f"{NGC}/": page({"modelVersions": [{"versionId": "1.0.0", "createdDate": "2024-05-01T00:00:00Z"},
                                           {"versionId": "0.9.0", "createdDate": "2023-05-01T00:00:00Z"}]}),
        f"{NGC}/1.0.0/files": page({"modelFiles": [{"path": path} for path in files]}),
        **{f"{NGC}/1.0.0/files/{path}": page(data) for path, data in files.items()}}
    added = pulled("ngc:chest", server, node)
    assert (added.model.name, added.model.digest) == ("chest", bundle_digest(BUNDLE))


def test_a_repository_of_hugging_face_comes_file_by_file_and_large_ones_are_checked(server, node):
    listing = [{"type": "directory", "path": "configs"}, {"type": "file", "path": ".gitattributes", "oid": "x"}]
    for path in sorted(path for path in BUNDLE.rglob("*") if path.is_file()):
        name, data = path.relative_to(BUNDLE).as_posix(), path.read_bytes()
        lfs = {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data)}} if name.endswith(".pt") else {}
        listing.append({"type": "file", "path": name, **lfs})
        server.pages[f"/who/chest/resolve/v2/{name}"] = page(data)
    server.pages["/api/models/who/chest/tree/v2?recursive=true"] = page(listing)
    assert pulled("hf:who/chest@v2", server, node).model.digest == bundle_digest(BUNDLE)
    server.pages["/who/chest/resolve/v2/models/model.pt"] = page(b"other weights")
    with pytest.raises(ModelChanged, match="sha256 of what came"):
        pulled("hf:who/chest@v2", server, node, Wish(name="again", load=False))


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", None, 3])
def test_a_listing_that_leads_outside_the_bundle_is_refused(server, node, path):
    server.pages = {f"{NGC}/1/files": page({"modelFiles": [{"path": "configs/inference.json"}, {"path": path}]})}
    with pytest.raises(UnusableBundle, match="outside the bundle"):
        pulled("ngc:chest@1", server, node)


def test_a_zip_comes_from_any_url_and_a_wrong_pin_leaves_nothing(server, node, archive):
    server.pages["/x/chest.zip"] = page(archive)
    with pytest.raises(ModelChanged, match="expected is 0000"):
        pull(Origin(source=f"{server.url}/x/chest.zip", sha256="0" * 64), node, QUIET)
    assert left_behind(node) == []
    sha256 = hashlib.sha256(archive).hexdigest()
    server.pages["/x/chest.zip?signature=a%20b"] = page(archive)
    added = pull(Origin(source=f"{server.url}/x/chest.zip?signature=a%20b", sha256=sha256), node, QUIET)
    assert added.model.digest == bundle_digest(BUNDLE)


def test_a_zip_comes_from_a_file_url(node, archive, tmp_path):
    (tmp_path / "a chest.zip").write_bytes(archive)
    added = pull(Origin(source=(tmp_path / "a chest.zip").as_uri()), node, Wish(name="chest", load=False))
    assert added.model.digest == bundle_digest(BUNDLE)


def test_plain_http_to_another_machine_needs_a_pin(node):
    with pytest.raises(UnusableBundle, match="plain HTTP can be changed"):
        pull(Origin(source="http://mirror.example.org/chest.zip"), node, QUIET)


def test_weights_that_a_bundle_keeps_elsewhere_are_fetched_by_their_hash(server, node):
    weights = (BUNDLE / "models" / "model.pt").read_bytes()
    md5 = hashlib.md5(weights, usedforsecurity=False).hexdigest()
    listing = f"large_files:\n  - path: models/model.pt\n    url: https://drive.example.org/w\n    hash_val: {md5}\n"
    server.pages = {"/chest.zip": page(without_weights(listing)), "/w": page(weights)}
    added = pulled("https://hub.example.org/chest.zip", server, node)
    assert (added.bundle / "models" / "model.pt").read_bytes() == weights
    server.pages["/w"] = page(b"<html>Sign in to Drive</html>")
    with pytest.raises(ModelChanged, match="md5 of what came"):
        pulled("https://hub.example.org/chest.zip", server, node, Wish(name="again", load=False))


class Recording(Fetcher):
    """Has one zip, and keeps with which token each URL was asked."""

    given: ClassVar[list[tuple[str, str]]] = []
    zipped: ClassVar[bytes] = b""

    def file(self, url, path, *, expected=""):
        self.given.append((url, self.token))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.zipped if url.endswith(".zip") else b"weights")
        return expected


def test_the_token_of_a_hub_is_sent_to_no_other_host_that_its_bundle_names(node):
    names = {"a.pt": "https://hub.example.org/a", "b.pt": "https://evil.example.org/b"}
    Recording.zipped = without_weights("large_files:\n" + "".join(
        f"  - {{path: models/{name}, url: '{url}'}}\n" for name, url in names.items()))
    fetcher = Recording(token="hush")  # noqa: S106 - nobody's
    pull(Origin(source="https://hub.example.org/chest.zip", fetcher=fetcher), node, QUIET)
    assert Recording.given == [("https://hub.example.org/chest.zip", "hush"), (names["a.pt"], "hush"),
                               (names["b.pt"], "")]


@pytest.mark.parametrize(("listing", "says"), [
    ('large_files: [{path: "models/w\\0.pt", url: "https://x.org/w"}]', "outside the bundle"),
    ("large_files: [{path: ../../evil, url: 'https://x.org/w'}]", "outside the bundle"),
    ("large_files: [{path: models/w.pt, url: 'file:///etc/passwd'}]", "allowed are https URLs"),
    ("large_files: [{path: models/w.pt, url: 'http://x.org/w'}]", "allowed are https URLs"),
    ("[" * 5000, "large_files.yml"),
])
def test_a_list_of_large_files_that_leads_elsewhere_is_refused(server, node, listing, says):
    server.pages = {"/chest.zip": page(without_weights(listing))}
    with pytest.raises(UnusableBundle, match=says):
        pulled("https://hub.example.org/chest.zip", server, node)
    assert left_behind(node) == []


def without_weights(listing: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("large_files.yml", listing)
        for path in ("configs/inference.json", "configs/metadata.json"):
            made.write(BUNDLE / path, path)
    return buffer.getvalue()


@pytest.mark.parametrize(("status", "says"), [
    (404, "check name and version"), (401, "token"), (503, "the host answers 503")])
def test_a_refusal_says_what_to_do(server, node, status, says):
    server.pages = {MODEL_INFO: page(b"", status)}
    with pytest.raises(HubUnavailable, match=says):
        pulled("monai:chest", server, node)


def test_a_sign_in_page_is_no_listing(server, node):
    server.pages = {MODEL_INFO: page(b"<html>Sign in</html>")}
    with pytest.raises(HubUnavailable, match="no JSON listing"):
        pulled("monai:chest", server, node)


def test_a_connection_that_ends_early_is_told(server, node, archive):
    server.pages = {"/chest.zip": page(archive[:5000], **{"Content-Length": str(len(archive))})}
    with pytest.raises(HubUnavailable, match=r"5000 of|cannot be reached"):
        pulled("https://hub.example.org/chest.zip", server, node)
    assert left_behind(node) == []


def test_a_redirect_that_leaves_the_web_is_not_followed(server, node):
    server.pages = {"/chest.zip": page(b"", 302, Location="file:///etc/passwd")}
    with pytest.raises(HubUnavailable, match="not followed"):
        pulled("https://hub.example.org/chest.zip", server, node)


def test_an_entry_of_the_list_without_a_place_is_asked_from_the_hosting(server):
    server.pages = {MODEL_INFO: page({"chest_v1.0.0": {}})}
    assert find("monai:chest", Fetcher(mirror=server.url)).parts[0].url.endswith(HOSTED)


def test_a_token_is_never_sent_in_the_clear(server):
    server.pages = {MODEL_INFO: page({"chest_v1": {"source": "https://x.org/a.zip"}})}
    find("monai:chest", Fetcher(mirror=server.url, token="hush"))  # noqa: S106 - nobody's
    assert all("Authorization" not in headers for _path, headers in server.asked)


@pytest.mark.parametrize("source", ["monai:", "monai:..", "monai:a/b", "hf:only", "ftp://x/y.zip", "chest", "https://x.org",
                                    "hf:a/b/c", "monai:../../x"])
def test_a_source_of_no_known_form_is_refused_with_the_forms(source):
    with pytest.raises(UnusableBundle, match=r"allowed are monai:NAME"):
        find(source, Fetcher())


def test_without_a_network_the_command_names_the_host_and_the_way_by_hand(node):
    result = CliRunner().invoke(cli, ["--config", str(node.path), "models", "pull", "monai:chest", "--mirror",
                                      "http://127.0.0.1:9"])
    assert isinstance(result.exception, HubUnavailable)
    assert result.exception.exit_code == EXIT_UNAVAILABLE
    assert "127.0.0.1 cannot be reached" in str(result.exception)
    assert "dicomnode models add FILE" in str(result.exception)
