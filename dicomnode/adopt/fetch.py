"""Bytes from a hub or mirror into a file: hashed while they come, bounded, every failure one sentence with a way on."""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import quote, urlsplit

from dicomnode import __version__
from dicomnode.errors import HubUnavailable, ModelChanged, UnusableBundle

TIMEOUT_S: Final = 30.0
"""Without a byte for so long, a host counts as gone."""
CHUNK_BYTES: Final = 1 << 20
LISTING_MAX_BYTES: Final = 32 << 20
HASHES: Final = {32: "md5", 40: "sha1", 64: "sha256"}
"""Length of a hexadecimal digest → its algorithm; hubs publish one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetcher:
    """Fetches from the web, or from the mirror that stands for it.

    Parameters
    ----------
    mirror:
        Base URL below which the hubs' own paths are; '' asks the hubs themselves.
    token:
        Sent as a bearer token to the host that was asked, never to where it redirects.
    most_bytes:
        Largest file that is taken.
    """

    mirror: str = ""
    token: str = ""
    most_bytes: int = 16 << 30

    def listing(self, url: str) -> Any:  # noqa: ANN401 - JSON of others
        """Return a JSON document.

        Raises
        ------
        HubUnavailable
            If it cannot be had, or is no JSON.
        """
        try:
            with self._open(url) as answer:
                text = self._read(answer, url, LISTING_MAX_BYTES + 1)
        except _Unreachable as error:
            raise HubUnavailable(error.by_hand("the bundle's zip")) from None
        try:
            if len(text) <= LISTING_MAX_BYTES:
                return json.loads(text)
        except (ValueError, RecursionError):
            pass
        msg = f"{self._place(url)}: the answer is no JSON listing; is this the hub, or a page that asks to sign in?"
        raise HubUnavailable(msg)

    def file(self, url: str, path: Path, *, expected: str = "") -> str:
        """Write what a URL holds to ``path``; return its sha256.

        Parameters
        ----------
        expected:
            Hexadecimal md5, sha1 or sha256 that it must have; '' takes any.

        Raises
        ------
        HubUnavailable
            If it cannot be had whole.
        ModelChanged
            If it has another hash; nothing is left behind.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        own, published = hashlib.sha256(), hashlib.new(_algorithm(expected), usedforsecurity=False)
        size = 0
        with self._open(url) as answer, path.open("wb") as out:
            while chunk := self._read(answer, url, CHUNK_BYTES):
                size += len(chunk)
                if size > self.most_bytes:
                    msg = f"{self._place(url)}: more than {self.most_bytes / (1 << 30):.3g} GB; no bundle is that large"
                    raise UnusableBundle(msg)
                own.update(chunk)
                published.update(chunk)
                out.write(chunk)
            self._refuse_short(answer, size, url)
        if expected and published.hexdigest() != expected.lower():
            path.unlink()
            msg = (f"{self._place(url)}: {published.name} of what came is {published.hexdigest()}, "
                   f"expected is {expected}; nothing was added")
            raise ModelChanged(msg)
        return own.hexdigest()

    def is_private(self, url: str) -> bool:
        """Whether nobody between here and there can change the bytes: HTTPS, a file, or this very machine."""
        parts = urlsplit(self._place(url))
        return parts.scheme in {"https", "file"} or _is_loopback(parts.hostname or "")

    def _place(self, url: str) -> str:
        parts = urlsplit(url)
        if not self.mirror or parts.scheme == "file":
            return url
        return f"{self.mirror.rstrip('/')}{parts.path}{f'?{parts.query}' if parts.query else ''}"

    def _open(self, url: str) -> Any:  # noqa: ANN401 - http.client or a file, both readable
        place = self._place(url)
        scheme = urlsplit(place).scheme
        if scheme not in {"http", "https", "file"}:
            msg = f"{place}: allowed are https, http and file URLs"
            raise HubUnavailable(msg)
        request = urllib.request.Request(  # noqa: S310 - the scheme was checked
            quote(place, safe="%/:=&?~#+!$,;'@()*[]"), headers={"User-Agent": f"dicomnode/{__version__}"})
        if self.token and scheme == "https":
            request.add_unredirected_header("Authorization", f"Bearer {self.token}")
        try:
            return urllib.request.build_opener(_CarefulRedirects).open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            error.close()
            raise HubUnavailable(_refused(place, error.code)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _Unreachable(place, error) from None

    def _read(self, answer: IO[bytes], url: str, size: int) -> bytes:
        try:
            return answer.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise _Unreachable(self._place(url), error) from None

    def _refuse_short(self, answer: Any, size: int, url: str) -> None:  # noqa: ANN401 - as _open
        said = answer.headers.get("Content-Length") if answer.headers else None
        if said is not None and said.isdecimal() and int(said) != size and not answer.headers.get("Content-Encoding"):
            msg = f"{self._place(url)}: {size} of {said} bytes came, then the connection ended; try again"
            raise HubUnavailable(msg)


class _Unreachable(HubUnavailable):
    """No answer from a host."""

    def __init__(self, place: str, error: Exception) -> None:
        self.place, self.host = place, urlsplit(place).hostname
        self.why = str(getattr(error, "reason", None) or error)
        super().__init__(self.by_hand(place))

    def by_hand(self, what: str) -> str:
        """Say what to fetch elsewhere."""
        if self.host is None:
            return f"{self.place}: {self.why}"
        return (f"{self.host} cannot be reached: {self.why}. Where there is no network, fetch {what} on a machine that "
                "has one, bring it here, and run `dicomnode models add FILE`; or name a mirror with --mirror")


class _CarefulRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to the web only, and never from HTTPS to plain HTTP."""

    def redirect_request(self, req: urllib.request.Request, fp: Any, code: int, msg: str,  # noqa: ANN401
                         headers: Any, newurl: str) -> urllib.request.Request | None:  # noqa: ANN401
        """Refuse to leave the web, or its encrypted part."""
        scheme = urlsplit(newurl).scheme
        if scheme not in {"http", "https"} or (req.type == "https" and scheme != "https"):
            reason = f"it redirects to {newurl}, which is not followed"
            raise urllib.error.URLError(reason)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _algorithm(expected: str) -> str:
    if not expected:
        return "sha256"
    if len(expected) not in HASHES or not all(letter in "0123456789abcdefABCDEF" for letter in expected):
        msg = f"hash = {expected!r}: allowed are md5, sha1 or sha256 in hexadecimal digits"
        raise UnusableBundle(msg)
    return HASHES[len(expected)]


def _refused(place: str, status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 - redirection (RFC 9110 15.4)
        return f"{place}: it redirects to a place outside the web, which is not followed"
    if status in {401, 403}:
        return f"{place}: refused ({status}): it wants a sign-in; give a token with --token-file, or check the name"
    if status in {404, 410}:
        return f"{place}: not there ({status}); check name and version"
    return f"{place}: the host answers {status}; try again later"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
