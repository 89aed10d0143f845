"""Studies go through a node whose processes die all the time, by a seed; then a verdict.

``python -m tests.crash.soak --minutes 30 --seed 7`` runs it by hand, ``make soak`` likewise; the exit status is 1 where
anything was lost, doubled, stuck or left over.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy import func, select

from dicomnode.ledger import tables
from tests.crash.house import ROLES, House, Life
from tests.crash.points import POINTS, Point
from tests.crash.scanner import Scanner
from tests.crash.verdict import Verdict, check, orphans, settle

TICK_S = 0.05
AT_RANDOM = "at a random moment"
WITH_ALL = "together with all others"
BY_CUT = "by a power cut"
MOST_WAITING = 12
"""So many unfinished studies, and the scanners wait: the end is to come soon after the last kill."""
STOPPED_S = 4.5
"""Longer than the leases of the house: who wakes up has lost its claim."""
LIVES_S = {"receive": 2.0, "keep": 3.0, "notify": 3.0, "deliver": 3.0, "work": 20.0}
"""How long a role lives on average when nothing else kills it; a model must be loaded before it is of use."""
CALLS = {"receive": 30, "keep": 2, "notify": 2, "deliver": 3, "work": 2}
"""A point's call is drawn from 1 to this."""


@dataclass
class Soak:
    """One run: who died, how, and how often."""

    house: House
    seed: int
    analysed_every: int = 8
    kills: Counter[tuple[str, str]] = field(default_factory=Counter)
    stops: int = 0
    cuts: int = 0
    lost_by_cuts: int = 0
    scanned: int = 0

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)  # noqa: S311  repeatable, no secret
        self._wakes: dict[str, float] = {}
        self._ends: dict[str, float] = {}
        self._counted = 0

    def run(self, *, kills: int, seconds: float) -> Verdict:
        """Kill until so many have died or the time is over, then let the node come to rest, and judge."""
        scanners = [Scanner(self.house.port, self.house.sent, calling=f"SCANNER{n}", seed=str(self.seed),
                            analysed_every=self.analysed_every) for n in (1, 2)]
        for scanner in scanners:
            scanner.start()
        over_s = time.monotonic() + seconds
        while self.kills.total() < kills and time.monotonic() < over_s:
            self._tick(scanners)
            time.sleep(TICK_S)
        return self._rest(scanners)

    def _tick(self, scanners: Sequence[Scanner]) -> None:
        self._count()
        now_s = time.monotonic()
        for role in self.house.roles:
            if role not in self.house.living:
                self._bear(role, now_s)
            elif now_s > self._wakes.get(role, now_s):
                self.house.signal(role, signal.SIGCONT)
                del self._wakes[role]
            elif now_s > self._ends[role] and role not in self._wakes:
                self._strike(role, now_s)
        pause = self._waiting() > MOST_WAITING
        for scanner in scanners:
            (scanner.go.clear if pause else scanner.go.set)()

    def _bear(self, role: str, now_s: float) -> None:
        point = self._point(role) if self._random.random() < 0.75 else None
        self._ends[role] = now_s + self._random.expovariate(1 / LIVES_S[role]) + (2 * LIVES_S[role] if point else 0)
        self.house.start(role, point)

    def _point(self, role: str) -> Point:
        own = "work" if role == "notify" else role
        point = self._random.choice([one for one in POINTS if one.role == own])
        return replace(point, nth=point.nth + self._random.randrange(CALLS[role]))

    def _strike(self, role: str, now_s: float) -> None:
        what = self._random.random()
        if what < 0.06:
            self.house.signal(role, signal.SIGSTOP)
            self._wakes[role] = now_s + STOPPED_S
            self.stops += 1
        elif what < 0.16:
            self._kill_all()
        else:
            self.house.signal(role, signal.SIGKILL)
            self._ends[role] = now_s + 60

    def _kill_all(self) -> None:
        cuts = self._random.random() < 0.5
        if cuts:
            self.cuts += 1
            self.lost_by_cuts += self.house.cut_power()
        else:
            self.house.kill(*self.house.living)
        self._wakes.clear()
        for death in self.house.deaths[self._counted:]:
            self.kills[death.life.role, _step(death.life, BY_CUT if cuts else WITH_ALL)] += 1
        self._counted = len(self.house.deaths)

    def _count(self) -> None:
        self.house.bury()
        for death in self.house.deaths[self._counted:]:
            role = death.life.role
            assert death.code == -signal.SIGKILL, f"{role} ended by itself: {self.house.log(role)}"
            self._wakes.pop(role, None)
            self.kills[role, _step(death.life)] += 1
        self._counted = len(self.house.deaths)

    def _waiting(self) -> int:
        """Count the studies that came and whose results are not yet at both PACSs."""
        with self.house.ledger.read() as connection:
            delivered = connection.execute(
                select(func.count()).select_from(tables.deliveries).where(tables.deliveries.c.state == "completed"),
            ).scalar_one()
        return len(self.house.sent.studies) - int(delivered) // 2

    def _rest(self, scanners: Sequence[Scanner]) -> Verdict:
        for role in self.house.roles:
            self.house.signal(role, signal.SIGCONT)
        self._count()
        self.house.kill(*self.house.living)
        self._counted = len(self.house.deaths)
        for scanner in scanners:
            scanner.stop.set()
            scanner.go.set()
        self.house.start_all()
        for scanner in scanners:
            scanner.join(120)
        self.scanned = sum(scanner.whole for scanner in scanners)
        settle(self.house)
        verdict = check(self.house)
        verdict.problems += [f"{one.name} could not send its study" for one in scanners if one.stuck or one.is_alive()]
        verdict.problems += [f"refused with 0x{status:04X}" for status in self.house.sent.refused]
        self.house.stop()
        verdict.problems += [f"process {pid} outlived its worker" for pid in orphans(self.house)]
        return verdict

    def lines(self) -> list[str]:
        """Say who died where, and how often."""
        return [f"seed {self.seed}: {self.kills.total()} kills, {self.stops} times stopped beyond the lease",
                f"power cuts: {self.cuts}; unacknowledged names and contents that they took: {self.lost_by_cuts}",
                *(f"  {count:5d}  {role}: {step}" for (role, step), count in sorted(self.kills.items()))]


def _step(life: Life, otherwise: str = AT_RANDOM) -> str:
    return life.point.step if life.point is not None and life.reached() else otherwise


def main(words: Sequence[str] | None = None) -> int:
    """Run, print the verdict, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--kills", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--database", default="", help="URL of an empty PostgreSQL database; without it, SQLite")
    parser.add_argument("--analysed-every", type=int, default=8, help="of so many studies one is analysed by a model")
    asked = parser.parse_args(words)
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(10**6)
    folder = Path(tempfile.mkdtemp(prefix="dicomnode-soak-"))
    _say(f"seed {seed}, folder {folder}")
    with House(folder, database_url=asked.database, roles=ROLES) as house:
        soak = Soak(house, seed, asked.analysed_every)
        verdict = soak.run(kills=asked.kills, seconds=asked.minutes * 60)
    _say(*soak.lines(), *verdict.lines(), "LOST OR WRONG" if verdict.problems else "nothing was lost")
    return 1 if verdict.problems else 0


def _say(*lines: str) -> None:
    sys.stdout.write("\n".join([*lines, ""]))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
