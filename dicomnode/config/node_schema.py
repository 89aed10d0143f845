"""The tables of ``node.toml``: which keys there are, and what each may hold.

No default stands here: a key that is left out takes the default of the domain class.
"""

from __future__ import annotations

from typing import Annotated, Literal, Required

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from dicomnode.config.conditions import When
from dicomnode.config.kinds import (
    AeTitle,
    Amount,
    AmountOrZero,
    Bind,
    Charset,
    Count,
    CountOrZero,
    ListenPort,
    Name,
    Names,
    Network,
    PeerPort,
    Processes,
    RateOrZero,
    Seconds,
    SopClass,
    Text,
    TlsName,
)

STRICT = ConfigDict(strict=True, extra="forbid")
Kind = Literal["SEG", "LABELMAP", "SR3D", "SR", "TEXT", "SC", "GSPS", "RTSTRUCT", "PM", "KOS"]
PduBytes = Annotated[int, Field(ge=4096, le=16 * 1024 * 1024)]


class NodeTable(TypedDict, total=False):
    """``[node]``."""

    ae_title: AeTitle
    bind: Bind
    port: ListenPort
    data_dir: Text
    models_dir: Text
    database_url: str
    database_url_file: Text
    migrate: bool
    hung_after_s: Annotated[float, Field(ge=10, allow_inf_nan=False)]


class ReceiveTable(TypedDict, total=False):
    """``[receive]``."""

    plain: bool
    unknown_peers: Literal["refuse", "accept"]
    processes: Processes
    max_associations: Count
    max_associations_per_peer: Count
    max_objects_per_association: CountOrZero
    min_free_gb: AmountOrZero
    max_pdu_bytes: PduBytes
    idle_timeout_s: Amount
    max_instance_mb: Amount
    storage_commitment: bool
    sop_classes: Annotated[list[SopClass], Field(min_length=1)]


class TlsTable(TypedDict, total=False):
    """``[tls]``."""

    port: ListenPort
    certificate: Text
    key: Text
    key_password_file: Text
    ca: Text
    versions: Annotated[list[Literal["1.2", "1.3"]], Field(min_length=1)]


class CompletionTable(TypedDict, total=False):
    """``[completion]``."""

    quiet_s: Amount
    max_wait_s: Amount


class WorkerTable(TypedDict, total=False):
    """``[worker]``."""

    processes: Processes
    device: Annotated[str, Field(pattern=r"^(auto|cpu|cuda|cuda:[0-9]+)$")]
    threads: CountOrZero
    lease_s: Seconds
    attempts: Count
    backoff_s: Amount
    backoff_max_s: Amount
    warm_models: Count
    beside_models_s: Amount
    read_ahead_mb: Annotated[int, Field(ge=0, le=65536)]
    max_decoded_mb: Count
    language: Literal["en", "zh"]


class DeliveryTable(TypedDict, total=False):
    """``[delivery]``."""

    processes: Processes
    max_age_h: Annotated[float, Field(gt=0, le=8760, allow_inf_nan=False)]
    backoff_s: Amount
    backoff_max_s: Amount
    timeout_s: Amount
    lease_s: Seconds
    commit_ask_again_s: Seconds
    max_per_peer: Count
    commit_listen_s: AmountOrZero


class RetentionTable(TypedDict, total=False):
    """``[retention]``."""

    keep_days: Annotated[float, Field(ge=0, le=36500, allow_inf_nan=False)]
    free_gb_wanted: AmountOrZero


class WebTable(TypedDict, total=False):
    """``[web]``."""

    enabled: bool
    bind: Bind
    port: ListenPort


class LogTable(TypedDict, total=False):
    """``[log]``."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"]


class AuditTable(TypedDict, total=False):
    """``[audit]``."""

    file: str
    syslog: str
    syslog_ca: str
    syslog_certificate: str
    syslog_key: str


class PeerTable(TypedDict, total=False):
    """``[peers.<name>]``."""

    ae_title: Required[AeTitle]
    host: Text
    port: PeerPort
    addresses: list[Network]
    tls: bool
    tls_names: list[TlsName]
    tls_only: bool
    sends: list[SopClass]
    max_associations: Count
    max_objects_per_s: RateOrZero
    takes: Annotated[list[Kind], Field(min_length=1)]
    quiet_s: Amount
    charset_fallback: Charset
    storage_commitment: bool
    rejection_notes: bool


RouteTable = TypedDict("RouteTable", {
    "name": Required[Name],
    "model": Required[Annotated[Names, Field(min_length=1)]],
    "from": Names,
    "to": Names,
    "when": When,
    "outputs": list[Literal["SC", "GSPS", "RTSTRUCT", "PM"]],
    "report_not_analysed": bool,
    "priority": int,
}, total=False)


@with_config(STRICT)
class NodeFile(TypedDict, total=False):
    """The whole of ``node.toml``."""

    node: NodeTable
    receive: ReceiveTable
    tls: TlsTable
    completion: CompletionTable
    worker: WorkerTable
    delivery: DeliveryTable
    retention: RetentionTable
    web: WebTable
    log: LogTable
    audit: AuditTable
    peers: dict[Name, PeerTable]
    routes: list[RouteTable]


NODE_FILE: TypeAdapter[NodeFile] = TypeAdapter(NodeFile)
