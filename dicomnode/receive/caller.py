"""Which peer calls: by its AE title, and by the address and certificate that its table wants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network

from dicomnode.domain.node import Peer
from dicomnode.tls import Identity


@dataclass(frozen=True, slots=True)
class Caller:
    """The other end of a connection; ``certificate`` is None over plain TCP."""

    address: str
    certificate: Identity | None = None


def peers_called(calling: str, peers: Mapping[str, Peer]) -> list[Peer]:
    """Return the peers of that AE title, those that are described most closely first."""
    return sorted((peer for peer in peers.values() if peer.ae_title == calling),
                  key=lambda peer: (not peer.tls_names, not peer.addresses))


def why_not(peer: Peer, caller: Caller) -> str:
    """Say what tells this caller from the peer; empty where nothing does."""
    table = f"[peers.{peer.name}]"
    if not _may_call_from(peer, caller.address):
        return f"calls from {caller.address}, which {table} addresses does not hold"
    if caller.certificate is None:
        key = "tls_only" if peer.tls_only else "tls_names"
        return f"calls over plain TCP, which {table} {key} forbids" if peer.must_use_tls else ""
    if peer.tls_names and not any(map(caller.certificate.carries, peer.tls_names)):
        return f"shows the certificate of {caller.certificate}, which carries none of {table} tls_names"
    return ""


def _may_call_from(peer: Peer, address: str) -> bool:
    if not peer.addresses:
        return True
    caller = ip_address(address.partition("%")[0])
    if isinstance(caller, IPv6Address) and caller.ipv4_mapped:
        caller = caller.ipv4_mapped
    return any(caller in ip_network(block, strict=False) for block in peer.addresses)
