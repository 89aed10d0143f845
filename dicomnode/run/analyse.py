"""Read, infer, encode: one model after the other, one set of results. The worker and ``process`` share it."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from dicomnode import __version__
from dicomnode.domain.findings import EncodedObject, ModelFindings, Provenance
from dicomnode.domain.job import derived_uid
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import DEFAULT_TAKES
from dicomnode.encode.series import Stamp
from dicomnode.infer.measure import model_findings
from dicomnode.infer.merge import merged
from dicomnode.infer.output import RawOutput
from dicomnode.infer.pool import Pool
from dicomnode.read.series import LoadedSeries, load
from dicomnode.run.encoding import Material, encode_all
from dicomnode.run.reading import Once, Reader, beside, looked_at

Progress = Callable[[str, float], None]
"""Called with a stage name and the fraction of it that is done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One model and the files that fill its roles."""

    model: ModelFile
    paths: Mapping[str, Sequence[Path]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the results' UIDs and texts are made from."""

    node_id: uuid.UUID
    job_key: str
    language: str = "en"
    predecessors: tuple[str, ...] = ()
    charset_fallback: str = ""
    order: int = 0  # higher for each later job


@dataclass(slots=True, kw_only=True)
class Analysis:
    """Everything that came of one job."""

    objects: tuple[EncodedObject, ...]
    findings: tuple[ModelFindings, ...]
    loaded: Mapping[str, LoadedSeries]  # by SeriesInstanceUID
    models: tuple[ModelFile, ...] = ()  # one per findings
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mb: float = 0.0
    device: str = ""
    notes: tuple[str, ...] = ()
    not_made: dict[str, str] = field(default_factory=dict)  # kind of object that nobody needs → why it is not there

    def figures(self) -> dict[str, object]:
        """Return what the log and the timeline say of it: times, memory, notes, warnings."""
        return {
            "seconds": {stage: round(seconds, 3) for stage, seconds in self.seconds.items()},
            "peak_mb": round(self.peak_mb),
            "device": self.device,
            "notes": list(self.notes),
            "warnings": list(dict.fromkeys(said for findings in self.findings for said in findings.warnings)),
        }


def analyse(
    tasks: Sequence[Task],
    pool: Pool,
    identity: Identity,
    *,
    clock: Callable[[], datetime],
    audiences: tuple[tuple[str, ...], ...] = (DEFAULT_TAKES,),
    progress: Progress | None = None,
    cancelled: threading.Event | None = None,
    reader: Reader = load,
) -> Analysis:
    """Run every model of a route and encode their findings as one set of results.

    Parameters
    ----------
    audiences:
        The kinds of objects that each peer gets, in its order; what a model file asks for is made besides.

    Raises
    ------
    UnusableInput
        The images cannot be analysed; the message says why.
    InferenceError
        A model gave no result.
    EncodingError
        The findings could not be written: our fault.
    """
    tell = progress or (lambda _stage, _fraction: None)
    result = Analysis(objects=(), findings=(), loaded={})
    once = Once(reader)
    for number, task in enumerate(tasks):
        _run_model(task, pool, identity, result, clock=clock, tell=_share(tell, number, len(tasks)),
                   cancelled=cancelled, reader=once,
                   with_map=task.model.outputs.parametric or any("PM" in kinds for kinds in audiences))
    with _timed(result.seconds, "measure"):
        volumes = {uid: one.volume for uid, one in result.loaded.items()}
        result.findings = merged(result.findings, volumes)
    with _timed(result.seconds, "encode"):
        result.objects = _encode(result, identity, audiences, tell)
    return result


def _run_model(
    task: Task,
    pool: Pool,
    identity: Identity,
    result: Analysis,
    *,
    clock: Callable[[], datetime],
    tell: Progress,
    cancelled: threading.Event | None,
    reader: Reader,
    with_map: bool,
) -> None:
    tell("read", 0.0)
    with _timed(result.seconds, "read"):
        loaded = {
            role.role: reader(task.paths[role.role], role, charset_fallback=identity.charset_fallback)
            for role in task.model.inputs
            if role.role in task.paths
        }
        volumes, warnings = looked_at(loaded, task.model)
    tell("inference", 0.0)
    output = pool.run(
        task.model,
        volumes,
        progress=lambda fraction: tell("inference", fraction),
        cancelled=cancelled,
        with_map=with_map,
    )
    reference = loaded[task.model.inputs[0].role]
    with _timed(result.seconds, "measure"):
        findings = model_findings(
            task.model,
            reference.volume,
            output,
            provenance=_provenance(task.model, identity, clock()),
            tracking_uid=lambda name: derived_uid(
                identity.node_id, identity.job_key, f"tracking|{task.model.name}|{name}"
            ),
        )
    findings = replace(
        findings,
        warnings=(*warnings, *output.warnings, *findings.warnings),
        procedure=task.model.procedure,
        finding_site=task.model.finding_site,
        contoured=task.model.outputs.mark == "contour",
    )
    result.findings, result.models = (*result.findings, findings), (*result.models, task.model)
    result.loaded = beside(result.loaded, reference)
    _account(result, output, [said for one in loaded.values() for said in one.notes])


def _share(tell: Progress, number: int, models: int) -> Progress:
    """Return a progress that grows once over all models, not once for each."""
    return lambda stage, fraction: tell(stage, (number + fraction) / models)


def _account(result: Analysis, output: RawOutput, read: Sequence[str]) -> None:
    for stage, seconds in output.seconds.items():
        result.seconds[stage] = result.seconds.get(stage, 0.0) + seconds
    result.peak_mb = max(result.peak_mb, output.peak_mb)
    result.device = output.device
    result.notes = tuple(dict.fromkeys((*result.notes, *read, *output.notes)))


def _encode(
    result: Analysis, identity: Identity, audiences: tuple[tuple[str, ...], ...], tell: Progress
) -> tuple[EncodedObject, ...]:
    tell("encode", 0.0)
    provenance = tuple(findings.provenance for findings in result.findings)
    stamp = stamp_of(identity, provenance, provenance[-1].content_time)
    objects = encode_all(
        Material(
            findings=result.findings,
            models=result.models,
            volumes={uid: one.volume for uid, one in result.loaded.items()},
            sources={uid: one.sources for uid, one in result.loaded.items()},
            stamp=stamp,
            audiences=audiences,
        ),
        left_out=lambda kind, error: result.not_made.update({kind: error.reason}),
    )
    tell("encode", 1.0)
    return objects


def stamp_of(identity: Identity, provenance: tuple[Provenance, ...], now: datetime) -> Stamp:
    """Return what identifies one set of results."""
    return Stamp(
        node_id=identity.node_id,
        job_key=identity.job_key,
        provenance=provenance,
        language=identity.language,
        predecessors=identity.predecessors,
        content_time=now,
        order=identity.order,
    )


def _provenance(model: ModelFile, identity: Identity, now: datetime) -> Provenance:
    return Provenance(
        model_name=model.name,
        model_version=model.version,
        model_digest=model.digest,
        intended_use=model.intended_use,
        device_uid=derived_uid(identity.node_id, model.digest, "device"),
        node_version=__version__,
        content_time=now.replace(microsecond=0),
        research=model.research,
    )


class _timed:  # noqa: N801
    """Add the seconds of a block to a table, also when it raises."""

    def __init__(self, table: dict[str, float], stage: str) -> None:
        self._table, self._stage = table, stage

    def __enter__(self) -> None:
        self._began = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self._table[self._stage] = self._table.get(self._stage, 0.0) + time.perf_counter() - self._began
