"""What the configuration says, as values that the rooms take.

Each class is one table of ``node.toml``; each default is the default of the key of that name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from dicomnode.domain.audit import AuditSettings
from dicomnode.domain.condition import When
from dicomnode.domain.dicom import (
    CT_IMAGE_STORAGE,
    ENHANCED_CT_IMAGE_STORAGE,
    ENHANCED_MR_IMAGE_STORAGE,
    MR_IMAGE_STORAGE,
    ae_title,
)
from dicomnode.domain.roles import (
    CompletionSettings,
    DeliverySettings,
    LogSettings,
    RetentionSettings,
    WebSettings,
    WorkerSettings,
    positive,
)
from dicomnode.domain.security import HIGHEST_PORT, TlsSettings

TAKES: Final = ("SEG", "LABELMAP", "SR3D", "SR", "TEXT", "SC", "GSPS", "RTSTRUCT", "PM", "KOS")
"""Object kinds a peer may take, in the order in which they are sent: binary Segmentation, Label Map Segmentation,
Comprehensive 3D SR, Comprehensive SR, text SR, Secondary Capture, Grayscale Softcopy Presentation State, RT Structure
Set, Parametric Map, Key Object Selection that names every object of one analysis."""
DEFAULT_TAKES: Final = ("SEG", "SR3D", "SR", "TEXT", "KOS")
OUTPUTS: Final = ("SC", "GSPS", "RTSTRUCT", "PM")
"""Kinds that a route may ask for: every peer of the route gets them besides what it takes."""
OPTIONAL: Final = frozenset({"KOS", *OUTPUTS})
"""Kinds whose refusal by a peer is noted, and fails no delivery: the findings are in the others."""


def _port(value: int, name: str) -> None:
    if not 0 <= value <= HIGHEST_PORT:
        msg = f"{name} = {value}: allowed are 0 to {HIGHEST_PORT}"
        raise ValueError(msg)


def _kinds(met: tuple[str, ...], allowed: tuple[str, ...], name: str) -> None:
    unknown = sorted(set(met) - set(allowed))
    if unknown:
        msg = f"{name} = {unknown}: allowed are {', '.join(allowed)}"
        raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSettings:
    """Who the node is and where its bytes lie."""

    ae_title: str = "DICOMNODE"
    bind: str = "0.0.0.0"  # noqa: S104
    port: int = 11112
    data_dir: Path = Path("data")
    models_dir: Path = Path("models")
    database_url: str = ""  # empty: SQLite below data_dir
    migrate: bool = True  # `serve` runs pending migrations
    hung_after_s: float = 120.0  # `serve` kills a process that shows no life for so long, and starts it again

    def __post_init__(self) -> None:
        """Refuse an AE title or port that DICOM does not allow."""
        object.__setattr__(self, "ae_title", ae_title(self.ae_title))
        _port(self.port, "port")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiveSettings:
    """What may come in."""

    plain: bool = True  # whether [node] port answers; false: [tls] port alone
    unknown_peers: str = "refuse"  # or "accept"
    processes: int = 1
    max_associations: int = 32
    max_associations_per_peer: int = 8
    max_objects_per_association: int = 0  # 0: no limit
    min_free_gb: float = 2.0
    max_pdu_bytes: int = 131072
    idle_timeout_s: float = 60.0
    max_instance_mb: float = 4096.0
    storage_commitment: bool = False  # as SCP: promise senders that we keep and analyse what they sent
    sop_classes: tuple[str, ...] = (
        CT_IMAGE_STORAGE, ENHANCED_CT_IMAGE_STORAGE, MR_IMAGE_STORAGE, ENHANCED_MR_IMAGE_STORAGE,
    )

    def __post_init__(self) -> None:
        """Refuse values without meaning."""
        if self.unknown_peers not in {"refuse", "accept"}:
            msg = f"unknown_peers = {self.unknown_peers!r}: allowed are 'refuse' and 'accept'"
            raise ValueError(msg)
        positive(processes=self.processes, max_associations=self.max_associations,
                  max_associations_per_peer=self.max_associations_per_peer,
                  idle_timeout_s=self.idle_timeout_s, max_instance_mb=self.max_instance_mb)

    @property
    def min_free_bytes(self) -> int:
        """The disk floor in bytes."""
        return int(self.min_free_gb * 1e9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One DICOM application that sends to us, receives from us, or both."""

    name: str
    ae_title: str
    host: str = ""  # may be left out for peers that only send
    port: int = 0
    addresses: tuple[str, ...] = ()  # CIDR blocks from which it may call; empty: any
    tls: bool = False  # whether we call it over TLS
    tls_names: tuple[str, ...] = ()  # what its certificate must carry, one of them; empty: any certificate of [tls] ca
    tls_only: bool = False  # it may not call over plain TCP
    sends: tuple[str, ...] = ()  # SOP Classes that it may send, of those the node takes; empty: all
    max_associations: int | None = None  # in place of [receive] max_associations_per_peer
    max_objects_per_s: float = 0.0  # 0: no limit; beyond it its objects are answered later
    takes: tuple[str, ...] = DEFAULT_TAKES
    quiet_s: float | None = None
    charset_fallback: str = ""  # SpecificCharacterSet assumed where a data set has none but bytes above 0x7F
    storage_commitment: bool = False
    rejection_notes: bool = False  # a Key Object Selection tells it which of our results a later analysis supersedes

    def __post_init__(self) -> None:
        """Refuse what DICOM or the node cannot mean."""
        object.__setattr__(self, "ae_title", ae_title(self.ae_title))
        _port(self.port, "port")
        for block in self.addresses:
            ip_network(block, strict=False)
        _kinds(self.takes, TAKES, "takes")
        if self.max_associations is not None:
            positive(max_associations=self.max_associations)
        if 0 < self.max_objects_per_s < 1 or self.max_objects_per_s < 0:
            msg = f"max_objects_per_s = {self.max_objects_per_s:g}: allowed are 0 (no limit) and values from 1"
            raise ValueError(msg)

    @property
    def can_receive(self) -> bool:
        """Whether results can be sent to it."""
        return bool(self.host and self.port)

    @property
    def must_use_tls(self) -> bool:
        """Whether its calls over plain TCP are refused: there it could not show the certificate that it must have."""
        return self.tls_only or bool(self.tls_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Which studies from whom go through which models to whom."""

    name: str
    model: tuple[str, ...]
    from_: tuple[str, ...] = ()  # peer names; empty: any
    to: tuple[str, ...] = ()
    when: When = field(default_factory=dict)
    outputs: tuple[str, ...] = ()  # of OUTPUTS: what every peer of the route gets besides what it takes
    report_not_analysed: bool = False
    priority: int = 100  # lower goes first

    def __post_init__(self) -> None:
        """Refuse kinds that no route may ask for."""
        _kinds(self.outputs, OUTPUTS, "outputs")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """The whole configuration, checked."""

    path: Path
    node: NodeSettings
    receive: ReceiveSettings
    completion: CompletionSettings
    worker: WorkerSettings
    delivery: DeliverySettings
    retention: RetentionSettings
    web: WebSettings
    log: LogSettings
    audit: AuditSettings = field(default_factory=AuditSettings)
    peers: Mapping[str, Peer]
    routes: tuple[Route, ...]
    tls: TlsSettings = field(default_factory=TlsSettings)

    @property
    def config_dir(self) -> Path:
        """The folder of the file: relative paths start here."""
        return self.path.parent

    @property
    def spool_dir(self) -> Path:
        """Where images, results, events and quarantine lie."""
        return self.node.data_dir / "spool"

    @property
    def database_url(self) -> str:
        """The SQLAlchemy URL: configured, or SQLite below ``data_dir``."""
        return self.node.database_url or f"sqlite:///{self.node.data_dir / 'dicomnode.sqlite'}"

    def quiet_s(self, peer_ae_titles: frozenset[str]) -> float:
        """Return the longest quiet period among the peers that fed a study; who has none of its own has the default."""
        fed = [peer for peer in self.peers.values() if peer.ae_title in peer_ae_titles]
        periods = [self.completion.quiet_s if peer.quiet_s is None else peer.quiet_s for peer in fed]
        if peer_ae_titles - {peer.ae_title for peer in fed}:
            periods.append(self.completion.quiet_s)
        return max(periods, default=self.completion.quiet_s)
