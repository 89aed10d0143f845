"""One evaluation from arguments to files: the data set, the models one after the other, the document, the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from dicomnode.domain.node import NodeConfig
from dicomnode.errors import ConfigError, UnusableDataset
from dicomnode.infer.pool import Pool
from dicomnode.train.dataset.cases import Case, Dataset
from dicomnode.train.dataset.reader import read_dataset
from dicomnode.train.evaluate.document import Evaluation, evaluation_of, to_json
from dicomnode.train.evaluate.gallery import Gallery
from dicomnode.train.evaluate.model import model_of
from dicomnode.train.evaluate.page import page
from dicomnode.train.evaluate.runner import ModelScores, evaluate, fit_to_score
from dicomnode.train.score.case_scores import CaseScores

Progress = Callable[[str, int, int, CaseScores], None]
"""Called after each case: the model's name, how many are done, of how many, what it came to."""


def run_evaluation(
    arguments: Sequence[str], config: Callable[[], NodeConfig], data: Path, *, split: str, out: Path | None,
    seed: int, most: int | None, device: str, threads: int, progress: Progress,
) -> tuple[Path, Evaluation]:
    """Score the models that the arguments name and write ``evaluation.json`` and ``index.html``.

    Returns
    -------
    The folder with the two files, and what they say.

    Raises
    ------
    UnusableDataset
        If the data set cannot be used or no case could be scored.
    ModelMissing, ModelChanged, ModelRefused, ConfigError
        If a model cannot be run.
    """
    found = [model_of(argument, config) for argument in arguments]
    _refuse_one_name([model.name for model, _ in found])
    dataset = read_dataset(data)
    cases = _cases(dataset, split, most)
    for model, _ in found:
        fit_to_score(model, dataset)
    folder = _folder(out or Path(f"{found[0][0].name}-evaluation"))
    gallery = Gallery(dataset)
    scores: list[ModelScores] = []
    for model, models_dir in found:
        with Pool(models_dir, device=device, threads=threads, warm=1) as pool:
            scores.append(evaluate(
                model, pool, dataset, cases, watch=gallery.watch(model),
                progress=lambda done, total, row, name=model.name: progress(name, done, total, row)))  # type: ignore[misc]  # bound now
    evaluation = evaluation_of(dataset, split, scores, seed=seed, now=datetime.now(UTC))
    (folder / "evaluation.json").write_text(to_json(evaluation), encoding="utf-8")
    (folder / "index.html").write_text(page(evaluation, gallery), encoding="utf-8")
    return folder, evaluation


def _refuse_one_name(names: Sequence[str]) -> None:
    """Refuse two models of one name: nobody could tell whose a score is."""
    if len(set(names)) < len(names):
        raise ConfigError(f"both models are called {names[0]}: give one of them another `name` in its model file "
                          "(the digest is of the bundle and stays)")


def _folder(folder: Path) -> Path:
    """Make the folder before the models run: hours later is late to learn that nothing can be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out {folder}: cannot be made: {error.strerror}; name a folder that can") from error
    return folder


def _cases(dataset: Dataset, split: str, most: int | None) -> tuple[Case, ...]:
    cases = sorted(dataset.split(split), key=lambda case: case.id)
    if not cases:
        counts = ", ".join(f"{name} {len(dataset.split(name))}" for name in ("training", "validation", "test"))
        raise UnusableDataset(f"{dataset.name}: no case in {split} ({counts}): name another --split")
    return tuple(cases[:most])
