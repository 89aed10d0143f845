"""Tables of ``node.toml`` that say how associations are protected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

HIGHEST_PORT: Final = 65535
TLS_VERSIONS: Final = ("1.2", "1.3")
"""RFC 8996 forbids what came before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsSettings:
    """``[tls]``: certificates of both directions, and the port on which TLS is answered; 0: none."""

    port: int = 0
    certificate: Path | None = None  # ours, and the chain above it, PEM
    key: Path | None = None
    key_password_file: Path | None = None
    ca: Path | None = None  # what peers' certificates must chain to, PEM
    versions: tuple[str, ...] = TLS_VERSIONS

    def __post_init__(self) -> None:
        """Refuse ports that are none and versions that no profile allows."""
        if not 0 <= self.port <= HIGHEST_PORT:
            msg = f"port = {self.port}: allowed are 0 to {HIGHEST_PORT}"
            raise ValueError(msg)
        if not self.versions or set(self.versions) - set(TLS_VERSIONS):
            msg = f"versions = {list(self.versions)}: allowed are {', '.join(TLS_VERSIONS)}, at least one"
            raise ValueError(msg)

    @property
    def configured(self) -> bool:
        """Whether certificate, key and ca are all named: without them there is no TLS in either direction."""
        return None not in {self.certificate, self.key, self.ca}
