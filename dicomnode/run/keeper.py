"""The keeper's conductor: index, complete, match; rescue what was dropped; apply commitments; clean up.

One keeper works at a time: the others wait and take over when it dies (``run.election``).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from apscheduler.schedulers.background import BackgroundScheduler

from dicomnode import logs
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import DicomNodeError, InferenceError, UnforeseenFailure
from dicomnode.ledger import events, studies
from dicomnode.ledger.engine import Ledger
from dicomnode.route.complete import judge
from dicomnode.run import auditing, chores, retaining
from dicomnode.run.bell import Bell, ring
from dicomnode.run.election import Term, stand
from dicomnode.run.indexing import Indexer
from dicomnode.run.loop import AnyOf, typed
from dicomnode.run.loop import run as loop
from dicomnode.run.matching import Matcher
from dicomnode.run.presence import Presence
from dicomnode.run.pulse import Pulse
from dicomnode.spool import Spool

RESCUE_EVERY_S: Final = 5
SWEEP_EVERY_S: Final = 60
RETENTION_EVERY_S: Final = 600
RELIEVE_EVERY_S: Final = 30
AUDIT_EVERY_S: Final = 2
PUZZLE_AGAIN: Final = timedelta(seconds=60)
"""When a study whose matching failed unforeseen is tried again."""

log = logs.get("run")


class Keeper:
    """One step: index what arrived, close what is complete, do the chores whose bell rang."""

    def __init__(
        self, config: NodeConfig, ledger: Ledger, spool: Spool, models: Mapping[str, tuple[ModelFile, str]]
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._indexer = Indexer(config, spool, ledger)
        self.matcher = Matcher(config, ledger, models)
        self._puzzling: dict[tuple[str, int], datetime] = {}

    def step(self, now: datetime) -> bool:
        """Index one batch, then judge the open studies; return whether anything was done."""
        indexed = self._indexer.step(now)
        applied = chores.apply_commitments(self._config, self._ledger, self._spool, now)
        if indexed:
            return True
        return self._close_complete(now) or applied > 0

    def _close_complete(self, now: datetime) -> bool:
        with self._ledger.read() as connection:
            waiting = studies.open_studies(connection)
        if not waiting:
            return False
        fed = self._spool.fed_studies()
        closed = [study for study in waiting if self._close(study, fed, now)]
        if closed:
            ring(self._config.node.data_dir / "run", "worker")
        return bool(closed)

    def _close(self, study: studies.OpenStudy, fed: frozenset[str], now: datetime) -> bool:
        """Close one study if it is complete; one that cannot be matched keeps no other from being closed."""
        if self._puzzling.get((study.study_uid, study.revision), now) > now:
            return False
        verdict = judge(
            study,
            quiet_s=self._config.quiet_s(study.source_ae_titles),
            now=now,
            max_wait_s=self._config.completion.max_wait_s,
            feeding_open=study.study_uid in fed,
            backlog_older=False,
        )
        if not verdict.complete:
            return False
        try:
            return typed(lambda: self.matcher.close(study, because=verdict.because, now=now), study_uid=study.study_uid)
        except (UnforeseenFailure, InferenceError) as error:
            self._puzzle(study, error, now)
            return False

    def _puzzle(self, study: studies.OpenStudy, error: DicomNodeError, now: datetime) -> None:
        key = (study.study_uid, study.revision)
        if key not in self._puzzling:
            with self._ledger.write() as connection:
                events.record(
                    connection, at=now, kind="study_not_matched", study_uid=study.study_uid, text=error.reason
                )
        self._puzzling[key] = now + PUZZLE_AGAIN


def run(
    config: NodeConfig,
    ledger: Ledger,
    models: Mapping[str, tuple[ModelFile, str]],
    stop: threading.Event,
    pulse: Pulse | None = None,
) -> None:
    """Keep until ``stop`` is set, whenever this process is the elected one."""
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    spool.prepare()
    while (term := stand(config, ledger, stop)) is not None:
        try:
            _serve(config, ledger, spool, models, term, AnyOf(stop, term.lost), pulse)
        finally:
            term.close()


def _serve(
    config: NodeConfig,
    ledger: Ledger,
    spool: Spool,
    models: Mapping[str, tuple[ModelFile, str]],
    term: Term,
    stop: threading.Event,
    pulse: Pulse | None,
) -> None:
    folder = config.node.data_dir / "run"
    presence = Presence(folder, "keeper")
    keeper = Keeper(config, ledger, spool, models)
    due: queue.SimpleQueue[Callable[[datetime], object]] = queue.SimpleQueue()
    bells = _bells(config, ledger, spool, auditing.Auditor(config), due)

    def step(now: datetime) -> bool:
        return term.holds(now) and (_ring_due(due, now) or keeper.step(now))

    try:
        with auditing.forwarder(config), Bell(folder, "keeper") as bell:
            loop(step, stop=stop, bell=bell, role="keeper", pulse=pulse)
    finally:
        bells.shutdown(wait=False)
        presence.close()


def _ring_due(due: queue.SimpleQueue[Callable[[datetime], object]], now: datetime) -> bool:
    try:
        chore = due.get_nowait()
    except queue.Empty:
        return False
    return bool(chore(now))


def _bells(
    config: NodeConfig,
    ledger: Ledger,
    spool: Spool,
    auditor: auditing.Auditor,
    due: queue.SimpleQueue[Callable[[datetime], object]],
) -> BackgroundScheduler:
    """Ring each chore on its timer; the chore itself runs in the keeper's own thread."""
    scheduler = BackgroundScheduler(timezone="UTC")
    timetable: tuple[tuple[Callable[[datetime], object], int], ...] = (
        (lambda now: chores.rescue(config, ledger, now), RESCUE_EVERY_S),
        (lambda now: chores.sweep(ledger, spool, now), SWEEP_EVERY_S),
        (lambda now: retaining.retain(config, ledger, spool, auditor, now), RETENTION_EVERY_S),
        (lambda now: retaining.relieve(config, ledger, spool, auditor, now), RELIEVE_EVERY_S),
        (lambda _now: auditor.tell_received(spool), AUDIT_EVERY_S),
    )
    for chore, every_s in timetable:
        due.put(chore)
        scheduler.add_job(due.put, "interval", args=(chore,), seconds=every_s, coalesce=True, misfire_grace_time=None)
    scheduler.start()
    return scheduler
