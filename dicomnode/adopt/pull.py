"""``models pull``: fetch a bundle, then take it in like one that was brought by hand."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from dicomnode.adopt import hubs
from dicomnode.adopt.add import Added, Wish, add, plain
from dicomnode.adopt.fetch import Fetcher
from dicomnode.adopt.unpack import bundle_root, unpack
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import ModelFailed, ModelRefused, SpoolUnavailable, UnusableBundle
from dicomnode.infer.configs import parsed

LARGE_FILES: Final = ("large_files.yml", "large_files.yaml", "large_files.json")
"""Where a bundle of the zoo says which of its files lie elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where from, and what it must be.

    Parameters
    ----------
    source:
        A hub's name for it, or the URL of a zip: ``hubs.FORMS``.
    sha256:
        Hexadecimal sha256 of the archive; '' takes any.
    tell:
        Called with each URL that is fetched.
    """

    source: str
    sha256: str = ""
    fetcher: Fetcher = field(default_factory=Fetcher)
    tell: Callable[[str], None] = lambda _url: None


def pull(origin: Origin, config: NodeConfig, wish: Wish) -> Added:
    """Fetch a bundle and add it; only this command and no other part of the node ever fetches one.

    Raises
    ------
    HubUnavailable
        If it cannot be fetched.
    UnusableBundle, ModelChanged, ModelRefused, ConfigError
        As ``add``, and if a hash is not the published one.
    """
    found = hubs.find(origin.source, origin.fetcher)
    _refuse_changeable(found, origin, wish)
    try:
        return _pulled(found, origin, config, wish)
    except OSError as error:
        msg = f"{error.filename or config.node.models_dir}: {error.strerror or error}; nothing was added"
        raise SpoolUnavailable(msg) from error


def _pulled(found: hubs.Found, origin: Origin, config: NodeConfig, wish: Wish) -> Added:
    config.node.models_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pulling-", dir=config.node.models_dir) as staging:
        folder = _fetched(found, origin, Path(staging) / plain(found.name))
        _large_files(folder, origin, {urlsplit(part.url).netloc for part in found.parts})
        return add(folder, config, wish)


def _refuse_changeable(found: hubs.Found, origin: Origin, wish: Wish) -> None:
    """Plain HTTP may be changed on its way: only with a hash that the administrator has from elsewhere."""
    if origin.sha256 and not found.is_archive:
        msg = f"{origin.source}: --sha256 is that of a zip; this hub keeps single files: pin the whole with --digest"
        raise UnusableBundle(msg)
    if not (origin.sha256 or wish.digest or all(origin.fetcher.is_private(part.url) for part in found.parts)):
        msg = (f"{origin.source}: plain HTTP can be changed on its way; use https, or say what it must be: --sha256 of "
               "the zip, or --digest of the bundle")
        raise UnusableBundle(msg)


def _fetched(found: hubs.Found, origin: Origin, folder: Path) -> Path:
    if not found.is_archive:
        for part in found.parts:
            origin.tell(part.url)
            origin.fetcher.file(part.url, folder / part.path, expected=part.hash)
        return bundle_root(folder, origin.source)
    (part,) = found.parts
    archive = folder.with_name(f"{folder.name}.zip")
    origin.tell(part.url)
    origin.fetcher.file(part.url, archive, expected=origin.sha256 or part.hash)
    return unpack(archive, folder)


def _large_files(folder: Path, origin: Origin, hosts: Collection[str]) -> None:
    """Fetch the files that the bundle keeps elsewhere and does not hold yet, by the hash that it gives.

    The token is for the hub's ``hosts``: no other that a bundle names gets it.
    """
    listing = next((folder / name for name in LARGE_FILES if (folder / name).is_file()), None)
    if listing is None:
        return
    for entry in _listed(listing):
        path = folder / hubs.inside(entry.get("path"), str(listing))
        if path.exists():
            continue
        url, expected = str(entry.get("url", "")), str(entry.get("hash_val") or "")
        if not url.startswith("https://") and not (expected and url.startswith("http://")):
            msg = (f"{listing.name}: {path.name} is to come from {url[:200]!r}; allowed are https URLs, or http with a "
                   "hash: fetch it by hand, put it into the bundle, and run `dicomnode models add`")
            raise UnusableBundle(msg)
        origin.tell(url)
        is_hub = bool(origin.fetcher.mirror) or urlsplit(url).netloc in hosts
        fetcher = origin.fetcher if is_hub else replace(origin.fetcher, token="")
        fetcher.file(url, path, expected=expected)


def _listed(listing: Path) -> list[Mapping[str, Any]]:
    try:
        entries = parsed(listing.name, listing.read_bytes()).get("large_files")
    except (ModelFailed, ModelRefused) as error:
        msg = f"{listing.name} of the bundle: {error}"
        raise UnusableBundle(msg) from error
    return [entry for entry in entries if isinstance(entry, Mapping)] if isinstance(entries, list) else []
