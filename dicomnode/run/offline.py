"""A folder in, result files out: the worker's analysis without network or database."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dicomnode import __version__, logs
from dicomnode.domain.findings import EncodedObject
from dicomnode.domain.job import UID_NAMESPACE, fingerprint
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import DEFAULT_TAKES, NodeConfig, Route
from dicomnode.domain.study import InstanceRecord, SeriesRecord, StudyRecord
from dicomnode.errors import CannotUnderstand, NoSuitableSeries
from dicomnode.infer.pool import Pool
from dicomnode.read import header
from dicomnode.route.match import match
from dicomnode.run.analyse import Analysis, Identity, Task, analyse
from dicomnode.run.loop import utc_now

log = logs.get("run")


def process_folder(
    folder: Path, models: Sequence[ModelFile], config: NodeConfig, out: Path, *, device: str | None = None,
    also: Sequence[str] = (), at: datetime | None = None,
) -> tuple[Analysis, list[Path]]:
    """Analyse the one study below ``folder`` with these models, as one route would, and write the objects to ``out``.

    The UIDs follow from all that the objects are made of, headers and the moment included: a run with the same
    ``at`` gives the same bytes under the same UIDs, and what differs in anything has other UIDs.

    Parameters
    ----------
    also:
        Kinds of objects (``domain.node.TAKES``) to make besides those that every peer takes and the model files want.
    at:
        The content time that the results state; now, where it is None.

    Raises
    ------
    UnusableInput
        If the study cannot be analysed, or the folder holds no study or several.
    """
    record, paths = study_of(folder)
    known = {model.name: model for model in models}
    (outcome,) = match(record, [Route(name="process", model=tuple(known))], known, {})
    if outcome.refusal is not None:
        raise outcome.refusal
    if not outcome.applies:
        raise NoSuitableSeries(outcome.because)
    tasks = [
        Task(model=known[b.model], paths={s.role: [paths[u] for u in s.sop_instance_uids] for s in b.series})
        for b in outcome.bindings
    ]
    used = {u for b in outcome.bindings for s in b.series for u in s.sop_instance_uids}
    inputs = [i for s in record.series for i in s.instances if i.sop_instance_uid in used]
    moment = (at or utc_now()).replace(microsecond=0)
    used_device = device or config.worker.device
    identity = identity_of(models, inputs, language=config.worker.language, moment=moment,
                           options=(*also, used_device, str(config.worker.threads)))
    pool = Pool(config.node.models_dir, device=used_device, threads=config.worker.threads, warm=1)
    try:
        analysis = analyse(tasks, pool, identity, clock=lambda: moment, audiences=((*DEFAULT_TAKES, *also),))
    finally:
        pool.close()
    return analysis, _write(_first_choices(analysis.objects), out)


def identity_of(
    models: Sequence[ModelFile], inputs: Sequence[InstanceRecord], *, language: str, moment: datetime,
    options: Sequence[str] = (),
) -> Identity:
    """Name what ``process`` computes by all that can change a byte of it.

    That is the content of the inputs, the models, the node's version, language and moment, and what was asked for:
    an archive that has an object of some UID keeps it, and answers success to another that claims the same one.
    """
    contents = fingerprint(instance.content_digest for instance in inputs)
    used = "|".join(f"{model.digest}|{model.file_digest}" for model in models)
    job_key = "|".join(("process", used, contents, __version__, language, moment.isoformat(), *options))
    return Identity(node_id=UID_NAMESPACE, job_key=job_key, language=language)


def study_of(folder: Path) -> tuple[StudyRecord, dict[str, Path]]:
    """Return the one study below ``folder``, and where each of its instances lies.

    Raises
    ------
    NoSuitableSeries
        If the folder holds no DICOM images, or images of more than one study.
    """
    records: list[InstanceRecord] = []
    paths: dict[str, Path] = {}
    skipped: Counter[str] = Counter()
    files = sorted(p for p in folder.rglob("*") if p.is_file()) if folder.is_dir() else [folder]
    for path in files:
        try:
            record = header.record(path)
        except CannotUnderstand as error:
            log.warning("file_skipped", file=path.name, reason=str(error))
            skipped[str(error).removeprefix(f"{path.name}: ")] += 1
            continue
        if record.sop_instance_uid not in paths:
            records.append(record)
            paths[record.sop_instance_uid] = path
    studies = {record.study_uid for record in records}
    if not studies and skipped:
        (why, count), = skipped.most_common(1)
        raise NoSuitableSeries(
            f"{folder}: none of {len(files)} files is an image to be analysed, because, for {count} of them: {why}")
    if len(studies) != 1:
        raise NoSuitableSeries(
            f"{folder}: images of {len(studies)} studies in {len(files)} files; name a folder with one"
        )
    return StudyRecord(study_uid=studies.pop(), series=_series(records)), paths


def _series(records: Sequence[InstanceRecord]) -> tuple[SeriesRecord, ...]:
    by_uid: dict[str, list[InstanceRecord]] = {}
    for record in records:
        by_uid.setdefault(record.series_uid, []).append(record)
    return tuple(SeriesRecord(series_uid=uid, instances=tuple(found)) for uid, found in by_uid.items())


def _first_choices(objects: Sequence[EncodedObject]) -> list[EncodedObject]:
    """Return the objects without the manifests for peers that refuse a form: a folder refuses none."""
    first = next((one for one in objects if one.kind == "KOS"), None)
    return [one for one in objects if one.kind != "KOS" or one is first]


def _write(objects: Sequence[EncodedObject], out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for one in objects:
        path = out / f"{one.kind}.{uuid.uuid5(UID_NAMESPACE, one.sop_instance_uid).hex[:8]}.dcm"
        path.write_bytes(one.payload)
        written.append(path)
    return written
