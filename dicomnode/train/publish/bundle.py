"""Writes a trained bundle whole or not at all, and looks whether the node can run it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
import yaml

from dicomnode.infer.digest import bundle_digest
from dicomnode.train.fit.checkpoint import load_tensors, write_durably
from dicomnode.train.publish.card import LICENCE, model_card
from dicomnode.train.publish.config import inference_config, metadata, smallest_divisor
from dicomnode.train.publish.weights import save_weights

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Dataset
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.fit.tasks import Prepared, TrainingTask

SCRIPTS: Final = "scripts"


def write_bundle(
    out: Path, recipe: Recipe, dataset: Dataset, task: TrainingTask, *, validation: tuple[Prepared, ...],
    made: Mapping[str, Any], history: Mapping[str, Any],
) -> tuple[str, dict[str, float]]:
    """Write the bundle beside ``out``, score what was written, put it in place; return its digest and those scores.

    What was at ``out`` before is replaced.

    Notes
    -----
    The scores are those of the stored float16 weights, read back from the file, not of those in memory.
    """
    beside = out.with_name(f".{out.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    weights = beside / "models" / "model.pt"
    save_weights(task.network, weights)
    scores = _stored_scores(task, weights, validation)
    stated = tuple(int(step) for step in getattr(task.trainee, "size_divisible", ()))
    divisor = smallest_divisor(task.network, len(dataset.channels), stated)
    _write_json(beside / "configs" / "inference.json", inference_config(task.published(), dataset.channels))
    _write_json(beside / "configs" / "metadata.json", metadata(recipe, dataset, scores, divisor))
    recipe_text = yaml.safe_dump(dict(recipe.config), sort_keys=False, allow_unicode=True, width=120)
    (beside / "configs" / "train.yaml").write_text(recipe_text, encoding="utf-8")
    _write_json(beside / "docs" / "provenance.json", made)
    _write_json(beside / "docs" / "metrics.json", {"validation": scores, "history": history})
    (beside / "docs" / "README.md").write_text(model_card(recipe, dataset, scores, made), encoding="utf-8")
    (beside / "LICENSE").write_text(_licence(recipe), encoding="utf-8")
    if recipe.settings.scripts:
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(recipe.folder / recipe.settings.scripts, beside / SCRIPTS, ignore=ignored)
    shutil.rmtree(out, ignore_errors=True)
    beside.rename(out)
    return bundle_digest(out), scores


def _stored_scores(task: TrainingTask, weights: Path, validation: tuple[Prepared, ...]) -> dict[str, float]:
    task.network.load_state_dict(load_tensors(weights))
    task.trainee.eval()
    if not validation:
        return {}
    with torch.no_grad():
        return dict(task.validate(validation))


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_durably((json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode(), path)


def _licence(recipe: Recipe) -> str:
    named = recipe.folder / recipe.settings.licence if recipe.settings.licence else None
    if named is not None and named.is_file():
        return named.read_text(encoding="utf-8")
    return f"{recipe.settings.licence}\n" if recipe.settings.licence else LICENCE
