"""TLS to a peer: the handshake, and whether its certificate is the one that its table wants."""

from __future__ import annotations

import socket
import ssl

from dicomnode.domain.node import Peer
from dicomnode.errors import ConfigError, DeliveryError, PeerUnreachable, TlsFailed
from dicomnode.tls import Contexts, identity, why

CLOSED_AFTER_HANDSHAKE = "it closed the connection where TLS should begin; does it speak TLS on this port?"


def guarded(connection: socket.socket, peer: Peer, tls: Contexts | None, place: str) -> ssl.SSLSocket:
    """Return the connection under TLS; whatever fails closes it.

    Raises
    ------
    TlsFailed
        If our files cannot be used, the handshake fails, or the certificate carries none of ``tls_names``.
    PeerUnreachable
        If the peer is silent too long.
    """
    try:
        made = _shaken(connection, peer, tls, place)
    except DeliveryError:
        connection.close()
        raise
    shown = identity(made)
    if peer.tls_names and not any(map(shown.carries, peer.tls_names)):
        made.close()
        msg = (f"{place}: shows the certificate of {shown}, which carries none of [peers.{peer.name}] tls_names = "
               f"{list(peer.tls_names)}; nothing was sent")
        raise TlsFailed(msg)
    return made


def tls_error(place: str, error: OSError) -> DeliveryError:
    """Return what a failure of TLS means for a delivery."""
    return TlsFailed(f"{place}: no TLS: {why(error)}")


def _shaken(connection: socket.socket, peer: Peer, tls: Contexts | None, place: str) -> ssl.SSLSocket:
    if tls is None:
        msg = f"{place}: tls = true, and there is no [tls] table with our certificate"
        raise TlsFailed(msg)
    try:
        return tls.current().wrap_socket(connection, server_hostname=peer.host)
    except ConfigError as error:
        msg = f"{place}: our own side of TLS cannot be used: {error}"
        raise TlsFailed(msg) from error
    except TimeoutError as error:
        msg = f"{place}: silent in the TLS handshake; does it speak TLS on this port?"
        raise PeerUnreachable(msg) from error
    except (ssl.SSLEOFError, ConnectionError) as error:
        raise TlsFailed(f"{place}: no TLS: {CLOSED_AFTER_HANDSHAKE}") from error
    except OSError as error:
        raise tls_error(place, error) from error
