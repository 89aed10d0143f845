"""Runs a model over the cases of a data set as the node runs it, and scores each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from dicomnode import __version__
from dicomnode.domain.findings import ModelFindings, Provenance
from dicomnode.domain.job import UID_NAMESPACE, derived_uid
from dicomnode.domain.model import ModelFile
from dicomnode.errors import DicomNodeError, UnusableDataset
from dicomnode.infer.measure import model_findings
from dicomnode.infer.output import RawOutput
from dicomnode.infer.pool import Pool
from dicomnode.train.dataset.cases import Case, Dataset
from dicomnode.train.score.case_image import CaseImage, channel_problems, read_case
from dicomnode.train.score.case_scores import CaseScores, score_case
from dicomnode.train.score.froc import MOST_MARKS
from dicomnode.train.score.label_match import Pair, matched

Progress = Callable[[int, int, CaseScores], None]
"""Called after each case: how many are done, of how many, what it came to."""
Watch = Callable[[CaseImage, ModelFindings, CaseScores], None]
"""Called with everything of a scored case, before its images are let go."""
FAULTS: Final = (ArithmeticError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
"""What NumPy, SciPy, nibabel and Pillow raise over one case; anything else ends the run."""
REASONS_SHOWN: Final = 3
"""Of a run in which every case failed."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelScores:
    """One model over all cases.

    Parameters
    ----------
    pairs : what was scored.
    notes : which labels were not, and why.
    """

    model: ModelFile
    pairs: tuple[Pair, ...]
    notes: tuple[str, ...]
    cases: tuple[CaseScores, ...]
    device: str = ""


def evaluate(model: ModelFile, pool: Pool, dataset: Dataset, cases: Sequence[Case], *,
             progress: Progress | None = None, watch: Watch | None = None) -> ModelScores:
    """Run and score every case; one that fails is a row with its reason.

    Raises
    ------
    UnusableDataset
        If the model cannot be scored on this data set at all, or no case could be scored.
    ModelMissing, ModelChanged, ModelRefused
        If the model cannot be run at all.
    """
    pairs, notes = fit_to_score(model, dataset)
    pool.verify(model)
    rows, devices = [], set()
    for number, case in enumerate(cases, start=1):
        row, device = _row(model, pool, dataset, case, pairs, watch)
        rows.append(row)
        devices |= {device} - {""}
        if progress:
            progress(number, len(cases), row)
    if all(row.failed for row in rows):
        raise UnusableDataset(
            f"none of {len(rows)} cases of {dataset.name} could be scored with {model.name}",
            *dict.fromkeys(f"case {row.case.id}: {row.failed}" for row in rows[:REASONS_SHOWN]))
    return ModelScores(model=model, pairs=pairs, notes=notes, cases=tuple(rows), device=", ".join(sorted(devices)))


def fit_to_score(model: ModelFile, dataset: Dataset) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Return what can be scored and what cannot.

    Raises
    ------
    UnusableDataset
        If nothing can: no label in common, other channels, another kind of truth.
    """
    problems = channel_problems(dataset, model)
    pairs, notes = matched(model, dataset)
    if not pairs:
        problems += [f"model {model.name} and data set {dataset.name} have no label in common", *notes]
    if (model.task == "classification") != (dataset.task == "classification"):
        problems.append(f"model {model.name} is for {model.task}, data set {dataset.name} for {dataset.task}")
    if problems:
        raise UnusableDataset(*problems)
    return pairs, notes


def _row(model: ModelFile, pool: Pool, dataset: Dataset, case: Case, pairs: Sequence[Pair],
         watch: Watch | None) -> tuple[CaseScores, str]:
    try:
        image = read_case(case, dataset, model)
        output = pool.run(model, image.volumes)
        findings = _findings(model, image, output)
        every = _findings(_unthresholded(model), image, output) if output.boxes is not None else findings
        row = score_case(image, dataset, model, pairs, output, findings, every)
        if watch:
            watch(image, findings, row)
    except DicomNodeError as error:
        return _failed(case, error.reason)
    except FAULTS as error:
        return _failed(case, f"{type(error).__name__}: {error}")
    return row, output.device


def _failed(case: Case, why: str) -> tuple[CaseScores, str]:
    return CaseScores(case=case, group=_plain_group(case), failed=why), ""


def _findings(model: ModelFile, image: CaseImage, output: RawOutput) -> ModelFindings:
    return model_findings(model, image.volume, output, provenance=_provenance(model),
                          tracking_uid=lambda name: derived_uid(UID_NAMESPACE, image.case.id, name))


def _unthresholded(model: ModelFile) -> ModelFile:
    """Return the model as it would be with the mildest threshold: what a FROC is drawn from."""
    return replace(model, detection=replace(model.detection, score_at_least=0.0, most=MOST_MARKS))


def _plain_group(case: Case) -> dict[str, str | float]:
    return {key: value if isinstance(value, str) else float(value) for key, value in case.group.items()}


def _provenance(model: ModelFile) -> Provenance:
    return Provenance(
        model_name=model.name, model_version=model.version, model_digest=model.digest,
        intended_use=model.intended_use, device_uid=derived_uid(UID_NAMESPACE, model.digest, "device"),
        node_version=__version__, content_time=datetime.fromtimestamp(0, UTC), research=model.research)
