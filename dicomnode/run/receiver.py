"""The receiver's conductor: associations in, durable arrivals out. It never touches the database."""

from __future__ import annotations

import threading

from dicomnode import logs
from dicomnode.domain.node import NodeConfig
from dicomnode.receive import scp
from dicomnode.run.auditing import Auditor
from dicomnode.run.bell import ring
from dicomnode.run.presence import Presence
from dicomnode.run.protection import for_callers
from dicomnode.spool import Spool

log = logs.get("run")


def run(config: NodeConfig, stop: threading.Event) -> None:
    """Serve until ``stop`` is set.

    Raises
    ------
    ConfigError
        If a port cannot be bound: something else listens there; or the files of ``[tls]`` cannot be used.
    """
    tls = for_callers(config.tls)
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    spool.prepare()
    folder = config.node.data_dir / "run"
    presence = Presence(folder, "receiver")
    auditor = Auditor(config)
    try:
        scp.serve(
            config.node,
            config.receive,
            config.peers,
            spool,
            stop=stop,
            notify=lambda: ring(folder, "keeper"),
            ready=lambda: log.info("role_started", role="receiver", **_ports(config)),
            watch=auditor,
            tls=tls,
            tls_port=config.tls.port,
        )
    finally:
        auditor.close()
        presence.close()


def _ports(config: NodeConfig) -> dict[str, int]:
    plain = {"port": config.node.port} if config.receive.plain else {}
    return plain | ({"tls_port": config.tls.port} if config.tls.port else {})
