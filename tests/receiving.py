"""A receiver on loopback for tests: the real server over a real spool, in a thread."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from dicomnode.domain.node import NodeSettings, Peer, ReceiveSettings
from dicomnode.receive import scp
from dicomnode.spool import Spool
from dicomnode.tls import Contexts

PEERS: Mapping[str, Peer] = MappingProxyType({"scanner": Peer(name="scanner", ae_title="SCANNER")})


@dataclass
class Receiver:
    """A running receiver."""

    port: int
    spool: Spool
    tls_port: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None
    notified: threading.Event = field(default_factory=threading.Event)


    def finish(self) -> None:
        """Stop it and wait until it has."""
        self.stop.set()
        if self.thread is not None:
            self.thread.join(60)
            assert not self.thread.is_alive()


class _Watch:
    def __init__(self, told: Receiver) -> None:
        self._told = told

    def refused(self, *, address: str, calling: str, reason: str) -> None:
        self._told.refused.append({"address": address, "calling": calling, "reason": reason})


def free_port() -> int:
    """A TCP port of loopback that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def receiver(root: Path, *, peers: Mapping[str, Peer] = PEERS, min_free_bytes: int = 0,
             tls: Contexts | None = None, **settings: object) -> Iterator[Receiver]:
    """Serve on a free port until the block ends; ``settings`` are those of ``[receive]``."""
    spool = Spool(root, min_free_bytes=min_free_bytes)
    spool.prepare()
    made = Receiver(free_port(), spool, tls_port=free_port() if tls else 0)
    node = NodeSettings(bind="127.0.0.1", port=made.port, data_dir=root)
    ready = threading.Event()

    def serve() -> None:
        scp.serve(node, ReceiveSettings(**settings), peers, spool, stop=made.stop,
                  notify=made.notified.set, ready=ready.set, watch=_Watch(made), tls=tls, tls_port=made.tls_port)

    made.thread = threading.Thread(target=serve, name="receiver")
    made.thread.start()
    try:
        assert ready.wait(30)
        yield made
    finally:
        made.finish()
