"""How associations are protected, as this configuration has it."""

from __future__ import annotations

from dicomnode.conformance.audited import audit_trail
from dicomnode.conformance.document import Section, Table
from dicomnode.domain.node import NodeConfig
from dicomnode.receive.doors import HANDSHAKE_S
from dicomnode.tls import CIPHERS

PROFILE = "BCP 195 RFC 8996, 9325 TLS Secure Transport Connection Profile (PS3.15 B.12)"
NO_PROFILE = """
This configuration claims no secure transport connection profile: it has no [tls] table, and associations are neither
encrypted nor authenticated by certificates. Put the node and its peers in a network of their own, or configure TLS.
"""
TLS = """
{profile}: {where}. TLS {versions}; both sides show a certificate, and each must chain to an authority of the
configuration ([tls] ca). Session tickets and renegotiation are off, versions before 1.2 are not spoken. A
connection that fails in the handshake is closed after the alert, and recorded. Certificates are read anew when their
files change.
"""
ASSOCIATION = """
The receiver accepts only its own AE title as the called one. {unknown} A peer may be bound to network addresses
(`addresses`) and to its certificate (`tls_names`: subject common name, DNS or IP name, or SHA-256 fingerprint), and be
refused over plain TCP (`tls_only`); of several peers with one AE title, the first that address and certificate agree
with is meant. It may send the SOP Classes that its `sends` names. Whatever else is received is answered as the tables
of rejections and aborts say.
"""


def security(config: NodeConfig) -> Section:
    """Write the section on security."""
    unknown = ("Any calling AE title is accepted." if config.receive.unknown_peers == "accept"
               else "The calling one must be that of a peer of the configuration.")
    return Section(title="Security", sections=(
        _profiles(config),
        Section(title="Association level security", text=ASSOCIATION.format(unknown=unknown)),
        audit_trail(config)))


def _profiles(config: NodeConfig) -> Section:
    title = "Security profiles"
    if not config.tls.configured:
        return Section(title=title, text=NO_PROFILE)
    text = TLS.format(profile=PROFILE, where=_where(config), versions=" and ".join(config.tls.versions))
    return Section(title=title, text=text, tables=(_transport(config),))


def _where(config: NodeConfig) -> str:
    accepted = "accepted on a port of its own, beside the plain one" if config.receive.plain else "accepted alone"
    called = [peer.name for peer in config.peers.values() if peer.tls]
    return (f"{accepted if config.tls.port else 'not accepted'}; "
            + (f"used towards {', '.join(called)}" if called else "used towards no peer"))


def _transport(config: NodeConfig) -> Table:
    return Table(title="Secure transport", columns=("Property", "Value"), rows=(
        ("Port", str(config.tls.port) if config.tls.port else "none"),
        ("Plain port", str(config.node.port) if config.receive.plain else "none"),
        ("Versions", tuple(f"TLS {one}" for one in config.tls.versions)),
        ("Cipher suites of TLS 1.2", "ECDHE with AES-GCM; towards called peers also DHE with AES-GCM"),
        ("Cipher suites of TLS 1.3", "those of the system's OpenSSL: AES-GCM, ChaCha20-Poly1305"),
        ("OpenSSL's cipher string", CIPHERS),
        ("Time for the handshake", f"{HANDSHAKE_S:g} s"),
        ("Peers that call only with their own certificate",
         tuple(peer.name for peer in config.peers.values() if peer.tls_names) or "none"),
        ("Peers that must use TLS", tuple(peer.name for peer in config.peers.values() if peer.must_use_tls) or "none"),
    ))
