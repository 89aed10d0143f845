"""Where bundles are: the names that hubs give them become URLs, hashes and paths."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final
from urllib.parse import quote, urlsplit

from dicomnode.adopt.fetch import Fetcher
from dicomnode.errors import HubUnavailable, UnusableBundle

MODEL_ZOO: Final = "https://raw.githubusercontent.com/Project-MONAI/model-zoo/dev/models/model_info.json"
MONAI_HOSTING: Final = "https://api.ngc.nvidia.com/v2/models/nvidia/monaihosting"
NGC: Final = "https://api.ngc.nvidia.com/v2/models/nvidia/monaitoolkit"
HUGGING_FACE: Final = "https://huggingface.co"
NAMED: Final = re.compile(r"(?P<hub>monai|ngc|hf):(?P<name>\w[\w.-]*(?:/\w[\w.-]*)?)(?:@(?P<version>\w[\w.-]*))?")
NO_PART: Final = frozenset({".gitattributes", ".gitignore", ".gitmodules"})
FORMS: Final = "monai:NAME[@VERSION], ngc:NAME[@VERSION], hf:ORGANISATION/REPOSITORY[@REVISION], or a URL of a zip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One file to fetch; ``path`` is where it belongs in the bundle, '' for a zip of all of it."""

    url: str
    path: str = ""
    hash: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A bundle at a hub."""

    name: str
    parts: tuple[Part, ...]

    @property
    def is_archive(self) -> bool:
        """Whether it is one zip."""
        return len(self.parts) == 1 and not self.parts[0].path


def find(source: str, fetcher: Fetcher) -> Found:
    """Return where a bundle lies.

    Raises
    ------
    HubUnavailable
        If the hub does not answer, or does not have it.
    UnusableBundle
        If ``source`` is no form that is known.
    """
    named = NAMED.fullmatch(source)
    if named is None:
        return _archive(source)
    name, version = named["name"], named["version"] or ""
    if ("/" in name) != (named["hub"] == "hf"):
        raise UnusableBundle(_unknown(source))
    return {"monai": _model_zoo, "ngc": _ngc, "hf": _hugging_face}[named["hub"]](name, version, fetcher)


def inside(path: object, what: str) -> str:
    """Return a path that a listing or a bundle names, if it stays inside the bundle.

    Raises
    ------
    UnusableBundle
        If it would lie outside.
    """
    plain = PurePosixPath(str(path))
    if not isinstance(path, str) or not plain.parts or plain.is_absolute() or ".." in plain.parts or "\\" in path \
            or not path.isprintable():
        msg = f"{what} names the file {str(path)[:200]!r}, which would lie outside the bundle; nothing was added"
        raise UnusableBundle(msg)
    return plain.as_posix()


def _archive(source: str) -> Found:
    parts = urlsplit(source)
    if parts.scheme not in {"http", "https", "file"} or not parts.path.strip("/"):
        raise UnusableBundle(_unknown(source))
    name = PurePosixPath(parts.path).name.removesuffix(".zip")
    return Found(name=name, parts=(Part(url=source),))


def _model_zoo(name: str, version: str, fetcher: Fetcher) -> Found:
    """Look into the zoo's own list: it has the place and the SHA-1 of every version."""
    known = fetcher.listing(MODEL_ZOO)
    versions = {key.removeprefix(f"{name}_v"): entry for key, entry in known.items()
                if key.startswith(f"{name}_v")} if isinstance(known, Mapping) else {}
    if not version and not versions:
        msg = f"{name}: the Model Zoo's list has no bundle of that name; it is at {MODEL_ZOO}"
        raise HubUnavailable(msg)
    chosen = version or max(versions, key=_as_numbers)
    entry = versions.get(chosen)
    if not isinstance(entry, Mapping) or not entry.get("source"):  # the list lacks versions that the hosting has
        url = f"{MONAI_HOSTING}/{name.lower()}/versions/{chosen}/files/{name}_v{chosen}.zip"
        return Found(name=name, parts=(Part(url=url),))
    return Found(name=name, parts=(Part(url=str(entry["source"]), hash=str(entry.get("checksum", ""))),))


def _ngc(name: str, version: str, fetcher: Fetcher) -> Found:
    name = name if name.startswith("monai_") else f"monai_{name}"
    base = f"{NGC}/{name.lower()}/versions"
    if not version:
        entries = _entries(fetcher.listing(f"{base}/"), "modelVersions", base)
        version = str(max(entries, key=lambda entry: str(entry.get("createdDate", ""))).get("versionId", ""))
    entries = _entries(fetcher.listing(f"{base}/{version}/files"), "modelFiles", base)
    paths = [inside(entry.get("path"), base) for entry in entries]
    return Found(name=name.removeprefix("monai_"), parts=tuple(
        Part(url=f"{base}/{version}/files/{quote(path)}", path=path) for path in paths))


def _hugging_face(name: str, version: str, fetcher: Fetcher) -> Found:
    revision = version or "main"
    listing = fetcher.listing(f"{HUGGING_FACE}/api/models/{name}/tree/{revision}?recursive=true")
    files = [entry for entry in _entries({"files": listing}, "files", name) if entry.get("type") == "file"]
    parts = []
    for entry in files:
        path = inside(entry.get("path"), name)
        stored = entry.get("lfs")
        known = str(stored.get("oid", "")) if isinstance(stored, Mapping) else ""
        if PurePosixPath(path).name not in NO_PART:
            parts.append(Part(url=f"{HUGGING_FACE}/{name}/resolve/{revision}/{quote(path)}", path=path,
                              hash=known.removeprefix("sha256:")))
    return Found(name=name.rsplit("/", maxsplit=1)[-1], parts=tuple(parts))


def _entries(listing: Any, key: str, where: str) -> list[Mapping[str, Any]]:  # noqa: ANN401 - JSON of others
    found = listing.get(key) if isinstance(listing, Mapping) else None
    entries = [entry for entry in found if isinstance(entry, Mapping)] if isinstance(found, list) else []
    if not entries:
        msg = f"{where}: the hub's listing has no {key}; check name and version"
        raise HubUnavailable(msg)
    return entries


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _unknown(source: str) -> str:
    return f"{source!r}: allowed are {FORMS}"
