"""A complete study becomes jobs: close it, match the routes, create the work, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection

from dicomnode import logs
from dicomnode.domain.job import ANALYSIS, NOTICE, ModelSnapshot, Snapshot, job_key
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import NodeConfig
from dicomnode.domain.study import StudyRecord
from dicomnode.domain.work import State
from dicomnode.errors import ConfigError, NoSuitableSeries
from dicomnode.ledger import events, jobs, studies
from dicomnode.ledger.engine import Ledger
from dicomnode.route.match import RouteOutcome, match

log = logs.get("run")

NOTICE_PRIORITY_BONUS = 10
"""A report that nothing was analysed costs no inference: it goes before analyses of its route."""


class Matcher:
    """Knows the routes and the models, and turns studies into jobs.

    Parameters
    ----------
    models:
        Every model that a route names, with the text of its file for the jobs' snapshots.
    """

    def __init__(self, config: NodeConfig, ledger: Ledger, models: Mapping[str, tuple[ModelFile, str]]) -> None:
        self._config = config
        self._ledger = ledger
        self._models = models

    def close(self, study: studies.OpenStudy, *, because: str, now: datetime) -> bool:
        """Close ``study`` and create its jobs; False if it changed meanwhile."""
        with self._ledger.read() as connection:
            record = studies.study_record(connection, study.study_uid)
        outcomes = self.match(record)
        with self._ledger.write() as connection:
            if not studies.close(connection, study, now=now):
                return False
            events.record(connection, at=now, kind="study_complete", study_uid=study.study_uid, text=because)
            for outcome in outcomes:
                self._act(connection, record, outcome, now)
        log.info(
            "study_matched",
            study_uid=study.study_uid,
            because=because,
            routes=[o.route.name for o in outcomes if o.applies and o.refusal is None],
        )
        return True

    def match(self, record: StudyRecord) -> Sequence[RouteOutcome]:
        """Hold a study against every route."""
        models = {name: model for name, (model, _) in self._models.items()}
        return match(record, self._config.routes, models, self._config.peers)

    def again(self, job_id: int, *, now: datetime) -> int | None:
        """Analyse once more what a finished job analysed: today's route and models, a fresh snapshot, revision + 1.

        Raises
        ------
        UnusableInput
            If the study no longer fits the route, or its images are gone.
        ConfigError
            If the route is no longer configured.
        """
        with self._ledger.read() as connection:
            job = jobs.get(connection, job_id)
            record = studies.study_record(connection, job.study_uid)
        outcome = next((o for o in self.match(record) if o.route.name == job.route), None)
        if outcome is None:
            raise ConfigError(f"job {job_id}: route {job.route} is no longer in {self._config.path}")
        if outcome.refusal is not None:
            raise outcome.refusal
        if not outcome.applies:
            raise NoSuitableSeries(outcome.because)
        with self._ledger.write() as connection:
            if job.state is State.FAILED:
                jobs.requeue(connection, job_id, now=now)  # so that superseding it can end it
            return create_superseding(
                connection,
                study_uid=job.study_uid,
                kind=ANALYSIS,
                snapshot=self._analysis(record, outcome),
                priority=job.priority,
                now=now,
                revision=jobs.next_revision(connection, job.study_uid, job.route),
            )

    def _act(self, connection: Connection, record: StudyRecord, outcome: RouteOutcome, now: datetime) -> None:
        kind = (
            "route_not_applicable" if not outcome.applies else "route_refused" if outcome.refusal else "route_matched"
        )
        text = outcome.refusal.reason if outcome.refusal else outcome.because
        events.record(
            connection, at=now, kind=kind, study_uid=record.study_uid, text=text, data={"route": outcome.route.name}
        )
        if outcome.applies and outcome.refusal is None:
            self._create(connection, record, self._analysis(record, outcome), ANALYSIS, outcome.route.priority, now)
        elif outcome.refusal is None:
            return
        elif not outcome.route.report_not_analysed:
            jobs.supersede(connection, study_uid=record.study_uid, route=outcome.route.name, now=now)
        else:
            notice = _notice(record, outcome)
            self._create(connection, record, notice, NOTICE, outcome.route.priority - NOTICE_PRIORITY_BONUS, now)

    def _analysis(self, record: StudyRecord, outcome: RouteOutcome) -> Snapshot:
        files = [self._models[name] for name in outcome.route.model]
        return Snapshot(
            route=outcome.route.name,
            to=outcome.route.to,
            bindings=outcome.bindings,
            models=tuple(
                ModelSnapshot(name=m.name, digest=m.digest, file_digest=m.file_digest, toml=text) for m, text in files
            ),
            outputs=outcome.route.outputs,
            report_not_analysed=outcome.route.report_not_analysed,
            source_ae_titles=tuple(sorted(record.source_ae_titles)),
        )

    def _create(
        self, connection: Connection, record: StudyRecord, snapshot: Snapshot, kind: str, priority: int, now: datetime
    ) -> None:
        create_superseding(
            connection, study_uid=record.study_uid, kind=kind, snapshot=snapshot, priority=priority, now=now
        )


def create_superseding(
    connection: Connection,
    *,
    study_uid: str,
    kind: str,
    snapshot: Snapshot,
    priority: int,
    now: datetime,
    revision: int = 0,
) -> int | None:
    """Create a job unless the same work exists; what it replaces is canceled where unsent, and named where sent."""
    key = job_key(study_uid=study_uid, kind=kind, snapshot=snapshot, revision=revision)
    if jobs.exists(connection, key):
        return None
    predecessors = jobs.supersede(connection, study_uid=study_uid, route=snapshot.route, now=now)
    return jobs.create(
        connection,
        study_uid=study_uid,
        kind=kind,
        revision=revision,
        priority=priority,
        now=now,
        snapshot=snapshot.superseding(predecessors),
    )


def notice_after_failure(connection: Connection, job: jobs.JobRow, *, reason: str, text: str, now: datetime) -> None:
    """Where the route wants it, a failed analysis becomes a report that says why, in the same transaction."""
    if job.kind != ANALYSIS or not job.snapshot.report_not_analysed:
        return
    snapshot = Snapshot(
        route=job.snapshot.route,
        to=job.snapshot.to,
        bindings=job.snapshot.bindings,
        reason=reason,
        text=text,
        predecessors=job.snapshot.predecessors,
        source_ae_titles=job.snapshot.source_ae_titles,
    )
    jobs.create(
        connection,
        study_uid=job.study_uid,
        kind=NOTICE,
        revision=job.revision,
        priority=job.priority,
        now=now,
        snapshot=snapshot,
    )


def _notice(record: StudyRecord, outcome: RouteOutcome) -> Snapshot:
    reason = type(outcome.refusal).__name__
    return Snapshot(
        route=outcome.route.name,
        to=outcome.route.to,
        reason=reason,
        text=str(outcome.refusal),
        source_ae_titles=tuple(sorted(record.source_ae_titles)),
    )
