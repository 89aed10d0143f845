"""Application entities, associations, time limits, and what the administrator can set."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address
from typing import Any, Final

from dicomnode import __version__
from dicomnode.conformance import prose
from dicomnode.conformance.document import Cell, Section, Table
from dicomnode.conformance.facts import Facts
from dicomnode.conformance.services import refusals_met, rejections
from dicomnode.deliver import pdu
from dicomnode.domain.dicom import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicomnode.domain.node import NodeConfig, Peer
from dicomnode.receive.negotiate import APPLICATION_CONTEXT
from dicomnode.receive.progress import SLOWEST_BYTES_PER_S
from dicomnode.receive.wire import ARTIM_S

PARAMETERS: Final = "Configuration parameters"
PEERS: Final = "Peers"
AE: Final = "Application entity"
TABLES: Final = ("node", "receive", "tls", "completion", "worker", "delivery", "retention")
"""The tables of node.toml that have to do with DICOM."""
UNSAID: Final = frozenset({"database_url", "data_dir", "models_dir", "certificate", "ca"})
"""Where data lie and how to reach the database: nothing that a peer needs, and perhaps a secret."""
SECRET_WORDS: Final = ("password", "secret", "token", "key", "_file")


def communication(facts: Facts) -> Section:
    """Write the section on network communication."""
    config = facts.config
    return Section(title="Network and Media Communication Details", sections=(
        Section(title="Application entities", text=prose.ENTITIES, tables=(_entity(config),)),
        Section(title="Association acceptance", text=prose.ACCEPTANCE.format(context=APPLICATION_CONTEXT),
                tables=(_acceptance(config), *rejections())),
        Section(title="Association initiation", text=prose.INITIATION, tables=(_initiation(config), *refusals_met())),
        Section(title="Peers of this configuration", tables=(_peers(config),)),
        Section(title="Physical network interface", text=prose.INTERFACE.format(family=_family(config))),
        Section(title="Media", text=prose.MEDIA),
        Section(title="Configuration", text=prose.CONFIGURATION, tables=(parameters(config),)),
    ))


def _entity(config: NodeConfig) -> Table:
    rows: tuple[tuple[Cell, ...], ...] = (
        ("AE title", config.node.ae_title), ("Host", config.node.bind),
        ("Port", str(config.node.port) if config.receive.plain else "none"),
        ("Port of TLS", str(config.tls.port) if config.tls.port else "none"),
        ("Implementation Class UID", IMPLEMENTATION_CLASS_UID),
        ("Implementation Version Name", IMPLEMENTATION_VERSION_NAME), ("Software version", __version__))
    return Table(title=AE, columns=("Property", "Value"), rows=rows)


def _acceptance(config: NodeConfig) -> Table:
    receive = config.receive
    return Table(title="Association acceptor", columns=("Property", "Value"), rows=(
        ("Maximum PDU length that is announced", f"{receive.max_pdu_bytes} bytes"),
        ("Maximum number of associations", str(receive.max_associations)),
        ("Maximum number of associations from one peer",
         f"{receive.max_associations_per_peer}, or its max_associations; each peer gets one, however many are open"),
        ("Maximum number of objects in one association", str(receive.max_objects_per_association or "no limit")),
        ("Receiver processes", str(receive.processes)),
        ("Time for the A-ASSOCIATE-RQ (ARTIM)", f"{ARTIM_S:g} s"),
        ("Time of silence after which an association is aborted", f"{receive.idle_timeout_s:g} s"),
        ("Slowest message", f"{SLOWEST_BYTES_PER_S} bytes a second, as the mean over that time; else it is aborted"),
        ("Largest instance", f"{receive.max_instance_mb:g} MB"),
        ("Called AE title", "must be the node's"),
        ("Calling AE title", "any" if receive.unknown_peers == "accept" else "must be that of a peer"),
    ))


def _initiation(config: NodeConfig) -> Table:
    delivery = config.delivery
    return Table(title="Association initiator", columns=("Property", "Value"), rows=(
        ("Maximum PDU length that is announced", f"{pdu.OUR_MAX_PDU_BYTES} bytes"),
        ("Longest PDU that is sent", f"{pdu.LARGEST_SENT_PDU_BYTES} bytes, or what the peer announces if that is less"),
        ("Maximum number of associations", f"{delivery.processes}, one per sender process"),
        ("Presentation contexts in one association", f"at most {pdu.MOST_CONTEXTS}"),
        ("Time for connection, and of silence", f"{delivery.timeout_s:g} s"),
        ("Wait between tries", f"{delivery.backoff_s:g} s at first, at most {delivery.backoff_max_s:g} s"),
        ("Time after which a delivery has failed", f"{delivery.max_age_h:g} h"),
    ))


def _peers(config: NodeConfig) -> Table:
    shown = [field.name for field in fields(Peer) if not is_secret(field.name)]
    return Table(title=PEERS, columns=tuple(shown), rows=tuple(
        tuple(_cell(getattr(peer, name)) for name in shown) for peer in config.peers.values()))


def parameters(config: NodeConfig) -> Table:
    """Return each key of the configuration with its value and its default; no secrets, no paths."""
    rows: list[tuple[Cell, ...]] = []
    for name in TABLES:
        table = getattr(config, name)
        rows += [(f"[{name}] {field.name}", _cell(getattr(table, field.name)), _cell(field.default))
                 for field in fields(table) if field.name not in UNSAID and not is_secret(field.name)]
    return Table(title=PARAMETERS, columns=("Key", "Value", "Default"), rows=tuple(rows))


def is_secret(name: str) -> bool:
    """Whether a key may hold a secret, or where one lies."""
    return any(word in name for word in SECRET_WORDS)


def _cell(value: Any) -> Cell:  # noqa: ANN401 - settings are texts, numbers, switches and lists of texts
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list | frozenset):
        return tuple(str(one) for one in value)
    return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def _family(config: NodeConfig) -> str:
    try:
        version = ip_address(config.node.bind).version
    except ValueError:
        return "IPv4 or IPv6, as the bind address resolves."
    return f"The receiver listens on IPv{version}; the sender uses IPv4 and IPv6."
