"""A node whose roles are started and killed one by one, and the PACSs that it sends to."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from dicomnode.config import load
from dicomnode.ledger.engine import Ledger
from tests.crash.nursery import BORNE, Nursery
from tests.crash.pacs import RememberingPacs
from tests.crash.points import Point
from tests.crash.power import cut
from tests.crash.scanner import Sent
from tests.live import LiveNode, free_port, until
from tests.threshold_bundles import threshold_model

MODEL = "levels"
SETTINGS = """
[worker]
lease_s = 3.0
backoff_s = 0.2
backoff_max_s = 1.0
attempts = 1000
threads = 1
device = "cpu"
[delivery]
lease_s = 3.0
backoff_s = 0.2
backoff_max_s = 1.0
commit_ask_again_s = 3.0
commit_listen_s = 0.0
[log]
level = "INFO"
"""
ROUTES = f"""
[[routes]]
name = "crash"
model = ["{MODEL}"]
to = ["pacs", "archive"]
when = {{ Modality = "CT" }}
report_not_analysed = true
"""
ROLES = ("receive", "keep", "work", "notify", "deliver")
"""``notify`` is a worker that knows no model: it starts at once and writes the reports that say why not."""


@dataclass
class Life:
    """One process of one role."""

    role: str
    pid: int
    point: Point | None
    told: Path

    def reached(self) -> bool:
        return self.told.exists()


@dataclass
class Death:
    """How a process ended."""

    life: Life
    code: int


@dataclass
class House:
    """The node's folder, its roles, its peers and what they have been sent."""

    folder: Path
    database_url: str = ""
    quiet_s: float = 1.0
    roles: tuple[str, ...] = ROLES
    sent: Sent = field(default_factory=Sent)
    living: dict[str, Life] = field(default_factory=dict)
    deaths: list[Death] = field(default_factory=list)
    _lives: int = 0

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        port = free_port()
        self.pacs = self._stack.enter_context(RememberingPacs(self.folder / "pacs", ae_title="PACS"))
        self.archive = self._stack.enter_context(
            RememberingPacs(self.folder / "archive", ae_title="ARCHIVE", node_port=port))
        self._write(port)
        self.config = load(self.node.config_path, environ=self._environment)
        self.ledger = Ledger(self.config.database_url)
        self.ledger.upgrade()
        self._stack.callback(self.ledger.dispose)
        self._nurseries = {roles: Nursery(roles, self._environment) for roles in BORNE}
        for nursery in self._nurseries.values():
            self._stack.callback(nursery.close)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def port(self) -> int:
        return self.node.port

    @property
    def spool(self) -> Path:
        return self.node.spool

    @property
    def _environment(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
                **({"DICOMNODE_DATABASE_URL": self.database_url} if self.database_url else {})}

    def _write(self, port: int) -> None:
        models = self.folder / "models"
        path = threshold_model(models, MODEL, lung_hu=200, nodule_hu=600)
        limits = '[limits]\nBodyPartExamined = ["CHEST"]\n'
        path.write_text(path.read_text(encoding="utf-8") + limits, encoding="utf-8")
        peers = "".join(f'[peers.ct{n}]\nae_title = "SCANNER{n}"\n' for n in (1, 2)) + "".join(
            f'[peers.{name}]\nae_title = "{name.upper()}"\nhost = "127.0.0.1"\nport = {to.port}\n{more}'
            for name, to, more in (("pacs", self.pacs, ""), ("archive", self.archive, "storage_commitment = true\n")))
        options: dict[str, Any] = {"peers": peers, "extra": SETTINGS, "quiet_s": self.quiet_s, "port": port}
        self.node = LiveNode(self.folder / "node", routes=ROUTES, models_dir=models, **options)
        text = self.node.config_path.read_text(encoding="utf-8")
        self._journal = self.folder / "journal"
        self._without_models = self.folder / "node" / "without_models.toml"
        self._without_models.write_text(text.replace(ROUTES, ""), encoding="utf-8")

    def start(self, role: str, point: Point | None = None) -> Life:
        """Start a role; with ``point``, it will die there."""
        self._lives += 1
        told = self.folder / f"{self._lives}.reached"
        notifies = role.startswith("notify")
        config = self._without_models if notifies else self.node.config_path
        words = ["--config", str(config), "work" if notifies else role]
        nursery = self._nurseries["storing" if role in {"receive", "keep"} else "working"]
        pid = nursery.bear(words, self.folder / "node" / f"{role}.log", point=point, told=told, spool=self.spool,
                           journal=self._journal)
        self.living[role] = Life(role, pid, point, told)
        return self.living[role]

    def start_all(self) -> None:
        """Start what should live and does not."""
        self.bury()
        for role in self.roles:
            if role not in self.living:
                self.start(role)

    def bury(self) -> list[Death]:
        """Return who died since the last look."""
        codes = {pid: code for nursery in self._nurseries.values() for pid, code in nursery.ended().items()}
        dead = [Death(life, codes[life.pid]) for life in self.living.values() if life.pid in codes]
        for death in dead:
            del self.living[death.life.role]
        self.deaths += dead
        return dead

    def signal(self, role: str, number: int) -> None:
        if role in self.living:
            with suppress(ProcessLookupError):
                os.kill(self.living[role].pid, number)

    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self, *roles: str) -> None:
        """SIGKILL these roles, all at once, and wait until they are gone."""
        for role in roles:
            self.signal(role, signal.SIGKILL)
        until(lambda: self.bury() is not None and not set(roles) & set(self.living), f"{roles} are dead")

    def cut_power(self) -> int:
        """Kill everything and lose what was not durable; return how many names and contents that were."""
        self.kill(*self.living)
        return cut(self.spool, self._journal)

    def died_there(self, life: Life) -> Death:
        """Wait until a process has died at its point."""
        assert life.point is not None
        until(lambda: self.bury() is not None and self.living.get(life.role) is not life,
              f"{life.role} reaches: {life.point.step}")
        death = next(death for death in self.deaths if death.life is life)
        assert death.code == -life.point.signal, self.log(life.role)
        assert life.reached()
        return death

    def stop(self) -> None:
        """End every role as an administrator does."""
        for role in list(self.living):
            self.signal(role, signal.SIGCONT)
            self.signal(role, signal.SIGTERM)
        until(lambda: self.bury() is not None and not self.living, "every role ends when it is told to")

    def log(self, role: str) -> str:
        path = self.folder / "node" / f"{role}.log"
        return path.read_text(encoding="utf-8")[-4000:] if path.exists() else ""
