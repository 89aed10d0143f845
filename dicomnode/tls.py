"""TLS for both directions: contexts out of files, made anew when these change; peers by their certificates.

PS3.15 B.12, BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile: versions 1.2 and 1.3, ephemeral keys and
AES-GCM, both sides with a certificate.

Notes
-----
Session tickets are off: a resumed session would pass by the check of a certificate that has meanwhile expired, or
whose authority is no longer trusted.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicomnode import logs
from dicomnode.errors import ConfigError

CIPHERS: Final = "@SECLEVEL=2:ECDHE+AESGCM:DHE+AESGCM:!PSK:!DSS:!aNULL"
"""Of TLS 1.2; level 2 refuses RSA and DH keys below 2048 bits. A server has no DH parameters, so that DHE is ours only
towards peers that know nothing better; TLS 1.3 has its own suites, all of them with forward secrecy."""
VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
FINGERPRINT: Final = "sha256:"
PEER_SPEAKS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it showed no certificate",
    "WRONG_VERSION_NUMBER": "it speaks no TLS, or a version that the profile forbids",
    "UNSUPPORTED_PROTOCOL": "it offers no TLS version that [tls] versions allows",
    "VERSION_TOO_LOW": "it offers no TLS version that [tls] versions allows",
    "TLSV1_ALERT_PROTOCOL_VERSION": "it speaks no TLS version that [tls] versions allows",
    "NO_SHARED_CIPHER": "it offers no cipher suite of the profile (ephemeral keys with AES-GCM)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "it shares no cipher suite or certificate type with us",
    "HTTP_REQUEST": "it speaks HTTP",
    "UNEXPECTED_EOF_WHILE_READING": "it closed the connection during the handshake",
}
"""OpenSSL's reasons in the words of an administrator."""
ALERT: Final = "_ALERT_"
OWN_CERTIFICATE_ALERTS: Final = frozenset({
    "UNKNOWN_CA", "CERTIFICATE_EXPIRED", "BAD_CERTIFICATE", "CERTIFICATE_REQUIRED", "CERTIFICATE_UNKNOWN",
    "UNSUPPORTED_CERTIFICATE", "CERTIFICATE_REVOKED", "ACCESS_DENIED",
})
"""Alerts by which a peer says that it does not take our certificate (RFC 8446 6.2)."""

_log = logs.get("tls")


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """What a context is made of; ``certificate`` and ``key`` may be absent where only the other side proves itself."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    key_password_file: Path | None = None
    versions: Collection[str] = tuple(VERSIONS)

    @property
    def stamp(self) -> tuple[Any, ...]:
        """Another value after any change of the files."""
        return tuple(map(_stamp, (self.ca, self.certificate, self.key, self.key_password_file)))


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a certificate says its bearer is: subject CN, DNS and IP names, all lower case; SHA-256 of the whole."""

    names: frozenset[str]
    sha256: str

    def carries(self, wanted: str) -> bool:
        """Whether it has this name, or this ``sha256:`` fingerprint, colons and letter case aside."""
        if wanted.lower().startswith(FINGERPRINT):
            return wanted[len(FINGERPRINT):].replace(":", "").lower() == self.sha256
        return wanted.lower() in self.names

    def __str__(self) -> str:
        """Name it for logs and refusals."""
        return f"{', '.join(sorted(self.names)) or 'no name'} ({FINGERPRINT}{self.sha256})"


class Contexts:
    """The context of one direction; new files are taken as soon as they fit together, broken ones never.

    Parameters
    ----------
    listens:
        Whether we are the side that is called.
    """

    def __init__(self, files: TlsFiles, *, listens: bool) -> None:
        self._files = files
        self._listens = listens
        self._lock = threading.Lock()
        self._stamp: tuple[Any, ...] = ()
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        """The context for the next connection; open ones keep theirs.

        Raises
        ------
        ConfigError
            If the files cannot be used and never could; a later, broken change is logged once.
        """
        with self._lock:
            stamp = self._files.stamp
            if self._context is None:
                self._stamp, self._context = stamp, context(self._files, listens=self._listens)
            elif stamp != self._stamp:
                self._stamp = stamp
                self._renew()
            return self._context

    def _renew(self) -> None:
        try:
            self._context = context(self._files, listens=self._listens)
        except ConfigError as error:
            _log.error("tls_files_not_taken", reason=str(error), advice="the old ones stay in use; mend the files")
        else:
            _log.warning("tls_files_taken", certificate=str(self._files.certificate))


def context(files: TlsFiles, *, listens: bool) -> ssl.SSLContext:
    """Make a context that demands a certificate of the other side.

    Raises
    ------
    ConfigError
        With everything that is wrong with the files.
    """
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if listens else ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False  # [peers.*] tls_names says who a peer is: AE titles and addresses are no host names
    made.verify_mode = ssl.CERT_REQUIRED
    allowed = sorted(VERSIONS[one] for one in files.versions)
    made.minimum_version, made.maximum_version = allowed[0], allowed[-1]
    made.set_ciphers(CIPHERS)
    made.options |= ssl.OP_NO_TICKET | ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    if listens:
        made.num_tickets = 0
        made.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    problems = [*_load_ca(made, files), *_load_own(made, files)]
    if problems:
        raise ConfigError(*problems)
    return made


def _load_ca(made: ssl.SSLContext, files: TlsFiles) -> list[str]:
    try:
        made.load_verify_locations(files.ca)
    except OSError as error:
        return [f"[tls] ca = {files.ca}: {_said(error)}; a PEM file of one certificate or several is needed"]
    return []


def _load_own(made: ssl.SSLContext, files: TlsFiles) -> list[str]:
    if files.certificate is None:
        return []
    try:
        made.load_cert_chain(files.certificate, files.key, _password(files.key_password_file))
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            return [f"[tls] key = {files.key}: is not the key of certificate = {files.certificate}"]
        return [(f"[tls] certificate = {files.certificate}, key = {files.key}: {_said(error)}; two PEM files are "
                 "needed, and key_password_file where the key is encrypted")]
    except (OSError, ValueError) as error:
        return [f"[tls] certificate = {files.certificate}, key = {files.key}: {_said(error)}"]
    except ConfigError as error:
        return [*error.problems]
    return []


def _password(file: Path | None) -> Callable[[], str]:
    """Return what OpenSSL calls for an encrypted key, in place of its question on the terminal."""
    def read() -> str:
        if file is None:
            raise ConfigError("[tls] key is encrypted; [tls] key_password_file must name the file with its password")
        try:
            return file.read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"[tls] key_password_file = {file}: {_said(error)}") from error

    return read


def identity(connection: ssl.SSLSocket) -> Identity:
    """Return who is on the other side of a connection whose handshake is done."""
    said: Any = connection.getpeercert() or {}
    whole = connection.getpeercert(binary_form=True) or b""
    names = [value for part in said.get("subject", ()) for name, value in part if name == "commonName"]
    names += [value for kind, value in said.get("subjectAltName", ()) if kind in {"DNS", "IP Address"}]
    return Identity(frozenset(name.lower() for name in names), hashlib.sha256(whole).hexdigest())


def why(error: OSError) -> str:
    """Say why a handshake or a TLS connection failed, as its other side would be described: 'it showed no …'."""
    if isinstance(error, ssl.SSLCertVerificationError) or "CERTIFICATE_VERIFY_FAILED" in str(error):
        reason = getattr(error, "verify_message", "") or "it could not be verified"
        return f"its certificate is not accepted: {reason}"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or ""
        alert = reason.partition(ALERT)[2]
        if alert in OWN_CERTIFICATE_ALERTS:
            return f"it does not accept our certificate: {alert.lower().replace('_', ' ')}"
        if isinstance(error, ssl.SSLEOFError):
            reason = "UNEXPECTED_EOF_WHILE_READING"
        return PEER_SPEAKS.get(reason) or (reason.lower().replace("_", " ") or _said(error))
    return f"the connection broke: {_said(error)}"


def _said(error: Exception) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return getattr(error, "strerror", None) or str(error)


def _stamp(file: Path | None) -> tuple[int, ...] | None:
    """Device, inode, size and time of change; None where there is no such file."""
    try:
        found = file.stat() if file else None
    except OSError:
        return None
    return found and (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
