"""What one association may bring, and how fast: the limits of ``[receive]`` and of its peer."""

from __future__ import annotations

from collections.abc import Collection

from dicomnode.domain.node import Peer, ReceiveSettings
from dicomnode.errors import OutOfResources, SpoolError
from dicomnode.receive.stores import ArrivalSpool


class Limits:
    """The limits of one association; an unknown caller has those of ``[receive]`` alone."""

    def __init__(self, settings: ReceiveSettings, peer: Peer | None, spool: ArrivalSpool) -> None:
        self.sop_classes: Collection[str] = (peer.sends if peer else ()) or settings.sop_classes
        self._most = settings.max_objects_per_association
        self._peer = peer
        self._spool = spool
        self._count = 0

    def count_object(self) -> None:
        """One more object is announced.

        Raises
        ------
        OutOfResources
            The association has brought as many as it may; the sender may open another one.
        """
        self._count += 1
        if 0 < self._most < self._count:
            raise OutOfResources(f"max_objects_per_association = {self._most} reached")

    def turn_s(self) -> float:
        """Seconds to hold an answer back, so that the peer's associations together keep to ``max_objects_per_s``."""
        if self._peer is None or not self._peer.max_objects_per_s:
            return 0.0
        try:
            return self._spool.take_turn(f"peer {self._peer.name}", self._peer.max_objects_per_s)
        except SpoolError:  # the object is durable all the same: its answer is what counts
            return 0.0
