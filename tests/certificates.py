"""Authorities and certificates for tests, made by openssl: good ones, expired ones, and those of another hospital."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from dicomnode.domain.security import TlsSettings
from dicomnode.tls import Contexts, TlsFiles
from tests.live import need

FIRST_DAY, LAST_DAY = "20200101000000Z", "20210101000000Z"


@dataclass(frozen=True)
class Pair:
    """A certificate and its key, PEM."""

    certificate: Path
    key: Path


class Authority:
    """A certification authority in a folder of its own."""

    def __init__(self, folder: Path, name: str = "Test CA", *, days: int = 30) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.ca = folder / "ca.pem"
        self._openssl("req", "-x509", *self._new_key("ca"), "-subj", f"/O=Hospital/CN={name}", "-days", str(days),
                      "-out", "ca.pem")
        (folder / "index.txt").touch()
        (folder / "serial").write_text("1000\n")
        (folder / "ca.conf").write_text(
            "[ca]\ndefault_ca = us\n[us]\ndatabase = index.txt\nserial = serial\nnew_certs_dir = .\n"
            "default_md = sha256\npolicy = any\nunique_subject = no\ncopy_extensions = copy\n"
            "[any]\norganizationName = optional\ncommonName = supplied\n")

    def issue(self, name: str, *, days: int = 10, expired: bool = False, dns: str = "", purposes: str = "") -> Pair:
        """Return a new certificate for this name; an expired one ended years ago."""
        extensions = ["-addext", f"subjectAltName=DNS:{dns}"] if dns else []
        extensions += ["-addext", f"extendedKeyUsage={purposes}"] if purposes else []
        self._openssl("req", *self._new_key(name), "-subj", f"/O=Hospital/CN={name}", *extensions, "-out",
                      f"{name}.csr")
        when = ["-startdate", FIRST_DAY, "-enddate", LAST_DAY] if expired else ["-days", str(days)]
        self._openssl("ca", "-batch", "-notext", "-config", "ca.conf", "-cert", "ca.pem", "-keyfile", "ca.key",
                      *when, "-in", f"{name}.csr", "-out", f"{name}.pem")
        (self.folder / f"{name}.key").chmod(0o600)
        return Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")

    def _new_key(self, name: str) -> list[str]:
        return ["-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key"]

    def _openssl(self, *words: str) -> None:
        done = subprocess.run([need("openssl", "openssl"), *words], cwd=self.folder, capture_output=True, text=True,
                              check=False, timeout=120)
        assert done.returncode == 0, done.stderr


def files(authority: Authority, pair: Pair, **changes: object) -> TlsFiles:
    """What a context of this certificate is made of."""
    values: dict[str, object] = {"ca": authority.ca, "certificate": pair.certificate, "key": pair.key}
    return TlsFiles(**{**values, **changes})


def listening(authority: Authority, pair: Pair, **changes: object) -> Contexts:
    """The side that is called."""
    return Contexts(files(authority, pair, **changes), listens=True)


def calling(authority: Authority, pair: Pair, **changes: object) -> Contexts:
    """The side that calls."""
    return Contexts(files(authority, pair, **changes), listens=False)


def settings(authority: Authority, pair: Pair, port: int) -> TlsSettings:
    """The table of a configuration."""
    return TlsSettings(port=port, certificate=pair.certificate, key=pair.key, ca=authority.ca)
