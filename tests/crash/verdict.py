"""After any crashes and a restart: is all there, once, and nothing left over? One checker for every kill test."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_dataset
from sqlalchemy import Table, select

from dicomnode.domain.job import ANALYSIS, Snapshot
from dicomnode.ledger import health, tables, work
from dicomnode.ledger.work import Found
from dicomnode.run import chores
from dicomnode.run.loop import utc_now
from dicomnode.spool import Spool
from tests.crash.house import House
from tests.crash.pacs import RememberingPacs
from tests.live import until

SETTLED = {"completed", "canceled"}
LONG_AGO_S = 7200.0
NO_RESULTS, NOT_THERE = "has no results of study", "is not at"
TWICE, TWO_SETS = "times from one analysis", "has two sets of results of the same images of study"
META_LENGTH_AT, META_AT = 140, 144
"""Of a PS3.10 file: where the value of (0002,0000) lies, and where the elements begin that it counts."""


@dataclass
class Verdict:
    """What was looked for and found; ``problems`` is empty where every promise was kept."""

    studies: int = 0
    acknowledged: int = 0
    found: int = 0
    results: int = 0
    sent_again: int = 0
    superseded: int = 0
    problems: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        lost = self.acknowledged - self.found
        missing = sum(NOT_THERE in one or NO_RESULTS in one for one in self.problems)
        doubled = sum(TWICE in one or TWO_SETS in one for one in self.problems)
        return [
            f"studies: {self.studies}",
            f"objects acknowledged: {self.acknowledged}, found: {self.found}, lost: {lost}",
            f"results at the PACSs: {self.results}, missing: {missing}, doubled: {doubled}",
            f"results sent more than once, the same bytes: {self.sent_again}",
            f"sets of results superseded because images came late: {self.superseded}",
            *(f"PROBLEM: {one}" for one in self.problems),
        ]


def settle(house: House, patience_s: float = 240.0) -> None:
    """Wait, with every role alive, until nothing is under way any more."""
    until(lambda: not _under_way(house), "everything that was acknowledged comes to its end", patience_s)


def _under_way(house: House) -> list[str]:
    house.start_all()
    if any((house.spool / "arrivals").rglob("*.dcm")) or any((house.spool / "events").iterdir()):
        return ["arrivals"]
    open_studies = [row.study_uid for row in _rows(house, tables.studies) if row.state != "closed"]
    missing = set(house.sent.studies) - {row.study_uid for row in _rows(house, tables.jobs)}
    work = [row.reason for table in (tables.jobs, tables.deliveries) for row in _rows(house, table)
            if row.state in {"scheduled", "in_progress"}]
    return [*open_studies, *missing, *work]


def check(house: House) -> Verdict:
    """Judge a node on which nothing is under way; its own sweep goes first."""
    verdict = Verdict(studies=len(house.sent.studies), acknowledged=house.sent.objects)
    _sweep(house)
    stored = {_digest(path) for path in (house.spool / "store").rglob("*.dcm")}
    for uid, digests in house.sent.acknowledged.items():
        verdict.found += len(digests & stored)
        verdict.problems += [f"{uid} was acknowledged and is not in the store"] * bool(digests - stored)
    verdict.problems += [*_stuck(house), *_left_over(house)]
    for pacs in (house.pacs, house.archive):
        verdict.problems += _sets(house, pacs, verdict)
    return verdict


def _stuck(house: House) -> Iterator[str]:
    """Name what waits, and what failed and a hand must mend: a failure that late images made good needs none."""
    for table, queue in ((tables.jobs, work.JOBS), (tables.deliveries, work.DELIVERIES)):
        with house.ledger.read() as connection:
            to_mend = set(connection.execute(select(table.c.id).where(health.to_mend(queue))).scalars())
        for row in _rows(house, table):
            if row.state not in SETTLED and not (row.state == "failed" and row.id not in to_mend):
                yield f"{table.name} {row.id} is {row.state}: {row.reason}"


def _sets(house: House, pacs: RememberingPacs, verdict: Verdict) -> Iterator[str]:
    """Say what is wrong with the results that one PACS has."""
    results = {row.sop_instance_uid: row for row in _rows(house, tables.results)}
    here: dict[int, list[str]] = defaultdict(list)
    for uid, digests in pacs.sent.items():
        if uid not in results:
            yield f"{pacs.ae_title} has {uid}, which no job made"
            continue
        here[results[uid].job_id].append(uid)
        verdict.results += 1
        verdict.sent_again += len(digests) > 1
        if set(digests) != {_digest(house.spool / "results" / results[uid].path)}:
            yield f"{pacs.ae_title} has {uid} with other bytes than the node"
    objects = pacs.objects()
    jobs = _rows(house, tables.jobs)
    for study_uid, uids in house.sent.studies.items():
        done = [row for row in jobs if row.study_uid == study_uid and row.state == "completed" and here[row.id]]
        if not done:
            yield f"{pacs.ae_title} {NO_RESULTS} {study_uid}"
            continue
        verdict.superseded += len(done) - 1
        yield from _succession(done, uids, pacs.ae_title)
        for job in done:
            yield from _doubles({uid: objects[uid] for uid in here[job.id]}, pacs.ae_title)
    yield from _undelivered(house, pacs)


def _succession(done: list[Found], uids: set[str], where: str) -> Iterator[str]:
    """Only late images justify a second set of results, and the last set is of all images."""
    snapshots = [Snapshot.from_json(row.snapshot) for row in done]
    inputs = [(one.reason, *one.input_uids) for one in snapshots]
    if len(set(inputs)) < len(inputs):
        yield f"{where} {TWO_SETS} {done[0].study_uid}"
    for row, snapshot in zip(done[1:], snapshots[1:], strict=True):
        if not snapshot.predecessors:
            yield f"job {row.id} does not name the results that it supersedes at {where}"
    if done[-1].kind == ANALYSIS and set(snapshots[-1].input_uids) != uids:
        yield f"the last results of study {done[0].study_uid} at {where} are not of all its {len(uids)} images"


def _doubles(objects: dict[str, bytes], where: str) -> Iterator[str]:
    kinds: Counter[tuple[str, str]] = Counter()
    for data in objects.values():
        found = read_dataset(DicomBytesIO(data), is_implicit_VR=False, is_little_endian=True)
        kinds[str(found.Modality), str(found.SeriesDescription)] += 1
    for kind, count in kinds.items():
        if count > 1:
            yield f"{where} has {kind} {count} {TWICE}"


def _undelivered(house: House, pacs: RememberingPacs) -> Iterator[str]:
    """Of each completed delivery every item was sent, and the PACS has it."""
    uids = {row.id: row.sop_instance_uid for row in _rows(house, tables.results)}
    complete = {row.id for row in _rows(house, tables.deliveries)
                if row.peer.upper() == pacs.ae_title and row.state == "completed"}
    for item in _rows(house, tables.delivery_items):
        if item.delivery_id in complete and uids.get(item.sent_result_id) not in pacs.sent:
            yield f"item {item.id} of delivery {item.delivery_id} {NOT_THERE} {pacs.ae_title}"


def _sweep(house: House) -> None:
    """Let the node's own sweep see everything as old, as an hour later."""
    for path in [*(house.spool / "results").glob("*/*"), *(house.spool / "results").iterdir(),
                 *(house.spool / "tmp").iterdir()]:
        os.utime(path, (time.time() - LONG_AGO_S,) * 2)
    spool = Spool(house.spool, min_free_bytes=0)
    for _ in range(2):
        chores.sweep(house.ledger, spool, utc_now())


def _left_over(house: House) -> Iterator[str]:
    for folder in ("arrivals", "tmp", "events", "quarantine"):
        for path in (house.spool / folder).rglob("*"):
            yield f"left over: {path.relative_to(house.spool)}"
    named = {row.path for row in _rows(house, tables.instances)}
    for path in (house.spool / "store").rglob("*.dcm"):
        if str(path.relative_to(house.spool / "store")) not in named:
            yield f"no row names {path.relative_to(house.spool)}"
    tokens = {f"{row.id}/{row.results_token}" for row in _rows(house, tables.jobs) if row.results_token}
    for path in (house.spool / "results").glob("*/*"):
        if str(path.relative_to(house.spool / "results")) not in tokens:
            yield f"no job names {path.relative_to(house.spool)}"


def orphans(house: House) -> list[int]:
    """Return the living inference processes whose worker is dead."""
    dead = {death.life.pid for death in house.deaths}
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            words = _command(entry)
            if "dicomnode.infer.child" in words and any(str(pid) in words for pid in dead):
                found.append(int(entry.name))
    return found


def _command(process: Path) -> list[str]:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def _rows(house: House, table: Table) -> list[Found]:
    with house.ledger.read() as connection:
        return list(connection.execute(select(table).order_by(table.c.id)).all())


def _digest(path: Path) -> str:
    """Return sha256 of the data set alone."""
    data = path.read_bytes()
    start = META_AT + int.from_bytes(data[META_LENGTH_AT:META_AT], "little")
    return hashlib.sha256(data[start:]).hexdigest()
