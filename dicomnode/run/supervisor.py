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
from dicomnode.run.pulse import PIPE

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
    pulse: int | None = None
    silent_s: float = 0.0
    looked_at_s: float = 0.0


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
                _tend(role, config)
            stop.wait(0.2)
    finally:
        _end(wanted)
        log.info("node_stopped")


def _tend(role: Role, config: NodeConfig) -> None:
    now_s = time.monotonic()
    if role.process is None:
        if now_s >= role.start_again_at_s:
            _start(role, config.path)
        return
    code = role.process.poll()
    if code is None:
        _listen(role, now_s, config.node.hung_after_s)
        return
    steady = now_s - role.started_at_s > STEADY_S
    role.pause_s = RESTART_FIRST_S if steady else min(RESTART_MOST_S, role.pause_s * 2)
    role.start_again_at_s = now_s + role.pause_s
    role.process = None
    _close_pulse(role)
    log.error("role_died", role=role.name, exit_code=code, restart_in_s=role.pause_s)


def _listen(role: Role, now_s: float, hung_after_s: float) -> None:
    """Kill a role that has shown no life for too long; the next look finds it dead and starts it again.

    Notes
    -----
    Its silence is counted in looks of ours, each worth a second at most: where the whole machine stood still, nobody
    was silent.
    """
    if role.process is None or role.pulse is None:
        return
    heard = _heard(role.pulse)
    role.silent_s = 0.0 if heard else role.silent_s + min(1.0, now_s - role.looked_at_s)
    role.looked_at_s = now_s
    if role.silent_s > hung_after_s:
        role.silent_s = 0.0
        log.error("role_hung", role=role.name, pid=role.process.pid, silent_s=hung_after_s)
        role.process.kill()


def _heard(pulse: int) -> bool:
    try:
        return bool(os.read(pulse, 4096))
    except BlockingIOError:
        return False


def _start(role: Role, config_path: Path) -> None:
    command = [sys.executable, "-m", "dicomnode", "--config", str(config_path), *role.command]
    role.pulse, theirs = os.pipe()
    for end in (role.pulse, theirs):
        os.set_blocking(end, False)
    environment = {**os.environ, "DICOMNODE_PARENT": str(os.getpid()), PIPE: str(theirs)}
    try:
        role.process = subprocess.Popen(  # noqa: S603
            command,
            env=environment,
            pass_fds=[theirs],
            preexec_fn=lambda: os.nice(role.niceness),  # noqa: PLW1509
        )
    finally:
        os.close(theirs)
    role.started_at_s = role.looked_at_s = time.monotonic()
    role.silent_s = 0.0


def _close_pulse(role: Role) -> None:
    if role.pulse is not None:
        os.close(role.pulse)
        role.pulse = None


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
