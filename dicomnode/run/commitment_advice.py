"""What an administrator should know before senders delete what this node has committed to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dicomnode.domain.node import NodeConfig

SHORT_DAYS: Final = 7.0
"""Kept for fewer days than this, images are gone before anybody misses them at the archive."""


def advice(config: NodeConfig) -> Iterator[str]:
    """Yield one sentence per thing to know, nothing where the node offers no commitment."""
    if not config.receive.storage_commitment:
        return
    if config.retention.keep_days < SHORT_DAYS:
        yield (f"[receive] storage_commitment is on and [retention] keep_days = {config.retention.keep_days:g}: a "
               f"sender that deletes what is committed has no copy after that; keep {SHORT_DAYS:g} days or more")
    mute = [name for name, peer in config.peers.items() if not peer.can_receive]
    if mute:
        yield (f"peers without host and port cannot be told and are refused (0x0124): {', '.join(mute)}; "
               "add host and port to those that ask for commitment")
    if not mute and config.retention.keep_days >= SHORT_DAYS:
        yield "offered to senders; this node is no archive: what it commits to stays until [retention] lets it go"
