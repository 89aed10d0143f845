"""How many associations may be open: of one peer, and of all; the limits hold across processes."""

from __future__ import annotations

from dicomnode.domain.node import Peer, ReceiveSettings
from dicomnode.errors import SpoolError
from dicomnode.receive.admit import LOCAL_LIMIT_EXCEEDED, RefusedAssociation
from dicomnode.receive.stores import ArrivalSpool, Place

ALL_PEERS = "*"


def take_places(spool: ArrivalSpool, receive: ReceiveSettings, peer: Peer | None, address: str) -> list[Place]:
    """A place among the peer's own and one among all associations; where those are gone, a known peer's first.

    A caller that the configuration does not name shares the places of its address: AE titles cost nothing.

    Raises
    ------
    RefusedAssociation
        There is none, or the spool cannot be written.
    """
    try:
        return _take(spool, receive, peer, address)
    except SpoolError as error:
        raise RefusedAssociation(error.reason, LOCAL_LIMIT_EXCEEDED) from error


def _take(spool: ArrivalSpool, receive: ReceiveSettings, peer: Peer | None, address: str) -> list[Place]:
    holder, limit, key = f"unknown at {address}", receive.max_associations_per_peer, "max_associations_per_peer"
    if peer is not None:
        holder = f"peer {peer.name}"
        if peer.max_associations is not None:
            limit, key = peer.max_associations, f"[peers.{peer.name}] max_associations"
    own = spool.take_slot(holder, limit)
    if own is None:
        raise RefusedAssociation(f"{key} = {limit} associations of {holder} are open", LOCAL_LIMIT_EXCEEDED)
    common = spool.take_slot(ALL_PEERS, receive.max_associations)
    if common is None and peer is not None:
        common = spool.take_slot(f"first of {peer.name}", 1)
    if common is None:
        own.release()
        raise RefusedAssociation(f"max_associations = {receive.max_associations} associations are open",
                                 LOCAL_LIMIT_EXCEEDED)
    return [own, common]


def give_back(places: list[Place]) -> None:
    """The association is over."""
    for place in places:
        place.release()
