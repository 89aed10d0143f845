"""A hospital day in simulated time: how long studies wait for one, two and three workers.

    python benchmarks/hospital_day.py                            # 30 CT an hour at the peak, of 250 studies
    python benchmarks/hospital_day.py --analysed 250 --job-seconds 4.1,20,60
    python benchmarks/hospital_day.py --hours --job-seconds 120 --workers 1,2

Jobs are made, claimed and completed by the node's own ledger, in an SQLite file, at simulated times; nothing is
computed. What a job takes is an argument. The default 4.1 s is what benchmarks/turnaround.py measured of ``demo_chest``
on two quiet cores for 300 slices of 512² (read 0.23, transfer 0.30, preprocess 0.13, inference 1.65, postprocess 0.44,
measure 0.42, encode 0.91, store 0.06); the longer ones stand for larger networks, whose seconds ``dicomnode study UID``
tells. A study has more or fewer slices, and takes longer or shorter in proportion. One in twenty is urgent (a lower
``priority``).
"""

from __future__ import annotations

import argparse
import heapq
import random
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import mean, median, quantiles

from dicomnode.domain.dicom import CT_IMAGE_STORAGE
from dicomnode.domain.job import BoundSeries, ModelBinding, ModelSnapshot, Snapshot
from dicomnode.domain.study import InstanceRecord
from dicomnode.ledger import jobs, studies
from dicomnode.ledger.engine import Ledger

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
PEAK_SHARE = (.10, .08, .08, .08, .10, .15, .25, .50, .90, 1, 1, .95, .75, .85, .95, .90, .70, .50, .40, .35, .30, .25,
              .20, .15)
"""Studies of each hour, as a share of the busiest: a hospital with an emergency department."""
USUAL_SLICES = 300
FEWEST_SLICES, MOST_SLICES = 60, 900
URGENT_SHARE, URGENT, ROUTINE = 0.05, 10, 100
HEAD = "| seconds a job | workers | busy at the peak | longest queue | waits, median | 95 % | longest | urgent, 95 % |"
DIGEST = "sha256:" + "0" * 64
LEASE_S = 1e6
MEMORY = Path("/dev/shm")  # noqa: S108  a file there costs no disk's sync


@dataclass(frozen=True)
class Study:
    """One that a route takes: when it is complete, what it costs, and whether it is urgent."""

    number: int
    at_s: float
    slices: int
    urgent: bool


@dataclass
class Day:
    """What one day came to."""

    waits_s: dict[int, list[float]] = field(default_factory=lambda: {hour: [] for hour in range(24)})
    urgent_s: list[float] = field(default_factory=list)
    queue: dict[int, int] = field(default_factory=lambda: dict.fromkeys(range(24), 0))
    busy_s: float = 0.0
    done_at_s: float = 0.0


def main() -> None:
    """Simulate, and print one row for each kind of job and number of workers."""
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--analysed", type=float, default=30.0, help="studies an hour at the peak that a route takes")
    asked.add_argument("--job-seconds", default="4.1,60,120,240", help="what a job of 300 slices takes, several kinds")
    asked.add_argument("--workers", default="1,2,3")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--hours", action="store_true", help="every hour of each day")
    wish = asked.parse_args()
    day = studies_of(wish.analysed, random.Random(wish.seed))  # noqa: S311  the same seed, the same day
    print(f"{len(day)} studies analysed in the day, {wish.analysed:g} in the busiest hour\n")
    print(HEAD, "|---|---|---|---|---|---|---|---|", sep="\n")
    usual = mean(one.slices for one in day) / USUAL_SLICES
    for seconds in map(float, wish.job_seconds.split(",")):
        for workers in map(int, wish.workers.split(",")):
            done = simulate(day, workers=workers, seconds=seconds)
            print(row(done, seconds=seconds, workers=workers, load=wish.analysed * usual * seconds / 3600 / workers))
            if wish.hours:
                print_hours(done)


def studies_of(peak: float, dice: random.Random) -> list[Study]:
    """Arrivals at random, as many in each hour as its share of the peak says."""
    found, at_s = [], 0.0
    while True:
        at_s += dice.expovariate(peak / 3600)  # at the peak's rate; those of quieter hours are thinned out
        if at_s >= len(PEAK_SHARE) * 3600:
            return found
        slices = min(MOST_SLICES, max(FEWEST_SLICES, round(dice.lognormvariate(0, 0.5) * USUAL_SLICES)))
        urgent, kept = dice.random() < URGENT_SHARE, dice.random() < PEAK_SHARE[int(at_s // 3600)]
        if kept:
            found.append(Study(len(found), at_s, slices, urgent))


def simulate(day: Sequence[Study], *, workers: int, seconds: float) -> Day:
    """Let the ledger hand out the day's jobs; each free worker claims as soon as there is one."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        ledger = Ledger(f"sqlite:///{folder}/ledger.sqlite")
        ledger.upgrade()
        try:
            return _simulate(ledger, day, workers=workers, seconds=seconds)
        finally:
            ledger.dispose()


def _simulate(ledger: Ledger, day: Sequence[Study], *, workers: int, seconds: float) -> Day:
    done, by_uid = Day(), {uid(one): one for one in day}
    coming = list(reversed(day))
    running: list[tuple[float, int, jobs.ClaimedJob]] = []
    waiting, free, order = 0, workers, 0
    while coming or running:
        if running and (not coming or running[0][0] <= coming[-1].at_s):
            now_s, _, job = heapq.heappop(running)
            finish(ledger, job, now_s)
            free += 1
        else:
            study = coming.pop()
            now_s = study.at_s
            order_job(ledger, study)
            waiting += 1
        while waiting and free:
            job = claim(ledger, now_s)
            study = by_uid[job.study_uid]
            waiting, free, order = waiting - 1, free - 1, order + 1
            took_s = seconds * study.slices / USUAL_SLICES
            heapq.heappush(running, (now_s + took_s, order, job))
            note(done, study, now_s, took_s)
        hour = min(23, int(now_s // 3600))
        done.queue[hour] = max(done.queue[hour], waiting)
        done.done_at_s = now_s
    return done


def note(done: Day, study: Study, now_s: float, took_s: float) -> None:
    """Remember what a study waited, in the hour in which it came."""
    done.waits_s[int(study.at_s // 3600)].append(now_s - study.at_s)
    done.busy_s += took_s
    if study.urgent:
        done.urgent_s.append(now_s - study.at_s)


def uid(study: Study) -> str:
    """Its Study Instance UID."""
    return f"2.25.1.{study.number + 1}"


def order_job(ledger: Ledger, study: Study) -> None:
    """What the keeper does when a study is complete."""
    now, one = at(study.at_s), f"{uid(study)}.1.1"
    record = InstanceRecord(
        study_uid=uid(study), series_uid=f"{uid(study)}.1", sop_instance_uid=one, sop_class_uid=CT_IMAGE_STORAGE,
        transfer_syntax_uid="1.2.840.10008.1.2.1", attributes={"Modality": ("CT",)}, content_digest=one,
        geometry_digest=one, pixel_digest=one, size_bytes=530_000, path=one, source_ae_title="CT", arrived_at=now)
    bound = BoundSeries(role="ct", series_uid=f"{uid(study)}.1", sop_instance_uids=(one,))
    snapshot = Snapshot(
        route="chest", to=("pacs",), models=(ModelSnapshot(name="m", digest=DIGEST, file_digest="0" * 64, toml=""),),
        bindings=(ModelBinding(model="m", series=(bound,)),), source_ae_titles=("CT",))
    with ledger.write() as connection:
        studies.record_instances(connection, [record], now=now)
        jobs.create(connection, study_uid=uid(study), kind="analysis", revision=1, snapshot=snapshot, now=now,
                    priority=URGENT if study.urgent else ROUTINE)


def claim(ledger: Ledger, now_s: float) -> jobs.ClaimedJob:
    """What a free worker does."""
    with ledger.write() as connection:
        job = jobs.claim(connection, now=at(now_s), lease_s=LEASE_S, owner="worker", digests=frozenset({DIGEST}))
    if job is None:
        raise RuntimeError("a job waits and the ledger gives none")
    return job


def finish(ledger: Ledger, job: jobs.ClaimedJob, now_s: float) -> None:
    """What the worker does when the job is done."""
    with ledger.write() as connection:
        jobs.complete(connection, job, results=[], deliveries=[], now=at(now_s), data={})


def at(seconds: float) -> datetime:
    """A moment of the day."""
    return MIDNIGHT + timedelta(seconds=seconds)


def row(done: Day, *, seconds: float, workers: int, load: float) -> str:
    """The day in one row; ``load`` is the share of the workers' time that the busiest hour asks for."""
    waits = [wait for hour in done.waits_s.values() for wait in hour]
    cells = (f"{seconds:g}", f"{workers}", f"{load:.0%}", f"{max(done.queue.values())}", spoken(median(waits)),
             spoken(_most(waits)), spoken(max(waits)), spoken(_most(done.urgent_s)))
    return f"| {' | '.join(cells)} |"


def print_hours(done: Day) -> None:
    """Each hour by itself."""
    print("\n| hour | studies | longest queue | waits, median | 95 % | longest |\n|---|---|---|---|---|---|")
    for hour, waits in done.waits_s.items():
        if waits:
            said = (spoken(wait) for wait in (median(waits), _most(waits), max(waits)))
            print(f"| {hour:02d} | {len(waits)} | {done.queue[hour]} | {' | '.join(said)} |")
    print()


def _most(waits: Sequence[float]) -> float:
    return quantiles(waits, n=20, method="inclusive")[-1] if len(waits) > 1 else max(waits, default=0.0)


def spoken(seconds: float) -> str:
    """Seconds as people say them."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    main()
