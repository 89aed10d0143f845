"""The whole node: one process per role, restarted when it dies, stopped together.

The supervisor holds no work, no socket and no database connection: killing it loses nothing, and its
children end with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomnode import logs
from dicomnode.domain.node import NodeConfig

RESTART_FIRST_S: Final = 1.0
RESTART_MOST_S: Final = 30.0
STEADY_S: Final = 60.0
"""A role that lived this long starts again at the shortest pause."""
STOP_S: Final = 20.0
KEEPER_NICENESS: Final = 10
"""Reception goes before indexing: a scanner waits for its response, the index can catch up."""

log = logs.get("run")


@dataclass(slots=True)
class Role:
    """One process of the node: the command that starts it and how it has fared."""

    name: str
    command: tuple[str, ...]
    niceness: int = 0
    process: subprocess.Popen[bytes] | None = None
    started_at_s: float = 0.0
    pause_s: float = RESTART_FIRST_S
    start_again_at_s: float = field(default=0.0)


def roles(config: NodeConfig) -> list[Role]:
    """Return the processes that this configuration asks for."""
    wanted = [
        ("receive", config.receive.processes),
        ("keep", 1),
        ("work", config.worker.processes),
        ("deliver", config.delivery.processes),
        ("web", int(config.web.enabled)),
    ]
    return [
        Role(name=name, command=(name,), niceness=KEEPER_NICENESS if name == "keep" else 0)
        for name, count in wanted
        for _ in range(count)
    ]


def run(config: NodeConfig, stop: threading.Event) -> None:
    """Keep every role alive until ``stop`` is set, then end them."""
    wanted = roles(config)
    log.info(
        "node_started",
        pid=os.getpid(),
        roles=[role.name for role in wanted],
        ae_title=config.node.ae_title,
        port=config.node.port,
    )
    try:
        while not stop.is_set():
            for role in wanted:
                _tend(role, config.path)
            stop.wait(0.2)
    finally:
        _end(wanted)
        log.info("node_stopped")


def _tend(role: Role, config_path: Path) -> None:
    now_s = time.monotonic()
    if role.process is None:
        if now_s >= role.start_again_at_s:
            _start(role, config_path)
        return
    code = role.process.poll()
    if code is None:
        return
    steady = now_s - role.started_at_s > STEADY_S
    role.pause_s = RESTART_FIRST_S if steady else min(RESTART_MOST_S, role.pause_s * 2)
    role.start_again_at_s = now_s + role.pause_s
    role.process = None
    log.error("role_died", role=role.name, exit_code=code, restart_in_s=role.pause_s)


def _start(role: Role, config_path: Path) -> None:
    command = [sys.executable, "-m", "dicomnode", "--config", str(config_path), *role.command]
    environment = {**os.environ, "DICOMNODE_PARENT": str(os.getpid())}
    role.process = subprocess.Popen(command, env=environment, preexec_fn=lambda: os.nice(role.niceness))  # noqa: PLW1509, S603
    role.started_at_s = time.monotonic()


def _end(wanted: list[Role]) -> None:
    living = [role.process for role in wanted if role.process is not None and role.process.poll() is None]
    for process in living:
        process.terminate()
    deadline_s = time.monotonic() + STOP_S
    for process in living:
        try:
            process.wait(max(0.1, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("role_killed", pid=process.pid, because=f"did not stop within {STOP_S:g} s")
            process.kill()
            process.wait()
