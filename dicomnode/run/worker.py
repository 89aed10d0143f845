"""The worker's conductor: claim a job, analyse, commit results and deliveries in one transaction."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dicomnode import logs
from dicomnode.domain.findings import EncodedObject, NotAnalysed
from dicomnode.domain.job import NOTICE, StoredResult
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import NodeConfig
from dicomnode.domain.work import Backoff
from dicomnode.errors import ClaimLost, DicomNodeError, Verdict
from dicomnode.infer.pool import Pool
from dicomnode.ledger import events, jobs, studies
from dicomnode.ledger.engine import Ledger
from dicomnode.run.analyse import Analysis, Identity, analyse
from dicomnode.run.auditing import Auditor
from dicomnode.run.bell import Bell, ring
from dicomnode.run.inputs import Inputs
from dicomnode.run.lease import Lease
from dicomnode.run.loop import AnyOf, typed, utc_now
from dicomnode.run.loop import run as loop
from dicomnode.run.matching import notice_after_failure
from dicomnode.run.notices import notice, take_back
from dicomnode.run.outbox import audiences, deliveries_for, remarks, with_notes
from dicomnode.run.patience import persist
from dicomnode.run.prefetch import ReadAhead
from dicomnode.run.presence import Presence
from dicomnode.run.pulse import Pulse
from dicomnode.run.ready import ReadyModels
from dicomnode.run.storing import put
from dicomnode.spool import Spool

log = logs.get("run")


class Worker:
    """One step: one job, from claim to commit."""

    def __init__(
        self,
        config: NodeConfig,
        ledger: Ledger,
        spool: Spool,
        pool: Pool,
        models: ReadyModels,
        stop: threading.Event,
        pulse: Pulse | None = None,
    ) -> None:
        self._pulse = pulse
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._pool = pool
        self._stop = stop
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._node_id = ledger.node_id()
        self._models = models
        self._inputs = Inputs(ledger, spool, config.peers)
        self._ahead = ReadAhead(
            ledger, self._inputs, models.digests, most_bytes=config.worker.read_ahead_mb << 20,
            most_decoded_bytes=config.worker.max_decoded_mb * 10**6,
        )
        self._backoff = Backoff(first_s=config.worker.backoff_s, most_s=config.worker.backoff_max_s)

    def close(self) -> None:
        """Forget what was read ahead."""
        self._ahead.close()

    def step(self, now: datetime) -> bool:
        """Claim and do one job; False if none waits."""
        with self._ledger.write() as connection:
            job = jobs.claim(
                connection,
                now=now,
                lease_s=self._config.worker.lease_s,
                owner=self._owner,
                digests=self._models.digests(now),
            )
        if job is None:
            self._ahead.forget()
            return False
        self._ahead.claimed(job.job_id)
        log.info("job_claimed", job=job.job_id, study_uid=job.study_uid, kind=job.kind, attempt=job.claim.attempt)
        with Lease(lambda at: self._renew(job, at), lease_s=self._config.worker.lease_s) as lease:
            try:
                typed(lambda: self._do(job, AnyOf(lease.lost, self._stop)), job=job.job_id, study_uid=job.study_uid)
            except ClaimLost:
                if lease.lost.is_set() or not self._stop.is_set():
                    raise
                self._release(job)
            except DicomNodeError as error:
                why = error
                persist(lambda: self._settle(job, why), until=self._stop, pulse=self._pulse, job=job.job_id)
        return True

    def _release(self, job: jobs.ClaimedJob) -> None:
        """Give a job back at a graceful stop: no attempt is spent."""
        with self._ledger.write() as connection:
            jobs.release(connection, job, now=utc_now())
        log.info("job_released", job=job.job_id, study_uid=job.study_uid)

    def _renew(self, job: jobs.ClaimedJob, at: datetime) -> None:
        with self._ledger.write() as connection:
            jobs.renew(connection, job.claim, now=at, lease_s=self._config.worker.lease_s)

    def _do(self, job: jobs.ClaimedJob, cancelled: threading.Event) -> None:
        if job.kind == NOTICE:
            objects, data, not_made = self._notice(job), {}, {}
        else:
            analysis = self._analyse(job, cancelled)
            Auditor(self._config).accessed(self._ledger, job.study_uid)
            objects, data, not_made = analysis.objects, analysis.figures(), analysis.not_made
        notes = self._take_back(job)
        stored = self._store(job, (*objects, *notes.values()))
        now = utc_now()
        deliveries = deliveries_for(job.snapshot.to, self._config.peers, objects, job.snapshot.outputs)
        to_send = with_notes(deliveries, notes)

        def commit() -> None:
            with self._ledger.write() as connection:
                jobs.complete(connection, job, results=stored, now=now, data=data, deliveries=to_send)
                for kind, text in remarks(job.snapshot.to, deliveries, objects, notes, not_made):
                    events.record(connection, at=now, kind=kind, study_uid=job.study_uid, job_id=job.job_id, text=text)

        persist(commit, until=cancelled, pulse=self._pulse, job=job.job_id)
        ring(self._config.node.data_dir / "run", "sender")
        for kind, why in not_made.items():
            log.error("object_not_made", job=job.job_id, study_uid=job.study_uid, kind=kind, reason=why)
        log.info("job_completed", job=job.job_id, study_uid=job.study_uid, objects=len(objects), **data)

    def _analyse(self, job: jobs.ClaimedJob, cancelled: threading.Event) -> Analysis:
        tasks = self._inputs.tasks(job.job_id, job.study_uid, job.snapshot)
        if self._pulse is not None:
            models_s = sum(task.model.runtime.time_limit_s for task in tasks)
            self._pulse.allow(models_s + self._config.worker.beside_models_s)
        return analyse(
            tasks,
            self._pool,
            self._identity(job),
            clock=utc_now,
            audiences=audiences(job.snapshot.to, self._config.peers, job.snapshot.outputs),
            cancelled=cancelled,
            progress=lambda stage, fraction: self._tell(job, stage, fraction),
            reader=self._ahead.load,
        )

    def _notice(self, job: jobs.ClaimedJob) -> tuple[EncodedObject, ...]:
        reason = NotAnalysed(reason=job.snapshot.reason, text=job.snapshot.text, study_uid=job.study_uid)
        return notice(reason, self._an_image(job), self._identity(job), clock=utc_now)

    def _take_back(self, job: jobs.ClaimedJob) -> dict[str, EncodedObject]:
        """Return, by peer, the note that rejects what this job supersedes, where the peer wants to be told."""
        told = [name for name, peer in self._config.peers.items() if peer.rejection_notes and peer.can_receive]
        if not told or not job.snapshot.predecessors:
            return {}
        with self._ledger.read() as connection:
            left = {
                peer: jobs.left_at(
                    connection, study_uid=job.study_uid, route=job.snapshot.route, before=job.job_id, peer=peer
                )
                for peer in told
            }
        return take_back(left, self._an_image(job), self._identity(job), clock=utc_now)

    def _an_image(self, job: jobs.ClaimedJob) -> list[Path]:
        with self._ledger.read() as connection:
            record = studies.study_record(connection, job.study_uid)
        everything = [i.sop_instance_uid for series in record.series for i in series.instances]
        return self._inputs.paths(job.study_uid, job.snapshot.input_uids[:1] or everything[:1])

    def _identity(self, job: jobs.ClaimedJob) -> Identity:
        return Identity(
            node_id=self._node_id,
            job_key=job.key,
            language=self._config.worker.language,
            predecessors=job.snapshot.predecessors,
            charset_fallback=self._inputs.charset_fallback(job.snapshot),
            order=job.job_id,
        )

    def _tell(self, job: jobs.ClaimedJob, stage: str, fraction: float) -> None:
        if stage == "inference" and not self._stop.is_set():
            self._ahead.look(utc_now(), attempt=job.claim.attempt)
        log.info("job_progress", job=job.job_id, study_uid=job.study_uid, stage=stage, fraction=round(fraction, 3))

    def _store(self, job: jobs.ClaimedJob, objects: Sequence[EncodedObject]) -> list[StoredResult]:
        folder = self._spool.result_folder(job.job_id, job.claim.token)
        return [put(self._spool, folder, one) for one in objects]

    def _settle(self, job: jobs.ClaimedJob, error: DicomNodeError) -> None:
        """Write down what became of a job that did not complete."""
        now = utc_now()
        log.warning("job_not_completed", job=job.job_id, study_uid=job.study_uid, reason=error.reason)
        with self._ledger.write() as connection:
            if error.verdict is Verdict.RETRY and (not error.spends_budget or self._attempts_left(job)):
                jobs.retry(
                    connection,
                    job,
                    now=now,
                    run_after=self._backoff.after(job.claim.attempt, now),
                    reason=error.reason,
                    spend=error.spends_budget,
                )
            else:
                jobs.fail(connection, job, now=now, reason=error.reason)
                notice_after_failure(
                    connection, jobs.get(connection, job.job_id), reason=type(error).__name__, text=str(error), now=now
                )

    def _attempts_left(self, job: jobs.ClaimedJob) -> bool:
        return job.claim.attempt < self._config.worker.attempts


def run(
    config: NodeConfig, ledger: Ledger, models: Sequence[ModelFile], stop: threading.Event, pulse: Pulse | None = None
) -> None:
    """Work until ``stop`` is set."""
    spool = Spool(config.spool_dir, min_free_bytes=config.receive.min_free_bytes)
    spool.prepare()
    folder = config.node.data_dir / "run"
    presence = Presence(folder, "worker")
    pool = Pool(
        config.node.models_dir,
        device=config.worker.device,
        threads=config.worker.threads,
        warm=config.worker.warm_models,
    )
    try:
        ready = ReadyModels(pool, models)
        ready.warm_up(config.worker.warm_models, utc_now())
        worker = Worker(config, ledger, spool, pool, ready, stop, pulse)
        try:
            with Bell(folder, "worker") as bell:
                loop(worker.step, stop=stop, bell=bell, role="worker", pulse=pulse)
        finally:
            worker.close()
    finally:
        pool.close()
        presence.close()
