"""Before anything of a bundle is parsed: is it there, is it the pinned one, may it run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dicomnode.domain.model import ModelFile
from dicomnode.errors import ModelChanged, ModelMissing, ModelRefused
from dicomnode.infer.digest import BundleCopy, copy_bundle

RUNS: Final = frozenset({("pieces", "segmentation"), ("pieces", "detection"), ("pieces", "classification")})
"""(trust, task) that this version runs."""
CONFIG_SUFFIXES: Final = (".json", ".yaml", ".yml")
WEIGHT_SUFFIXES: Final = (".pt", ".pth", ".ckpt")


def check_supported(model: ModelFile) -> None:
    """Refuse a model that this version cannot run.

    Raises
    ------
    ModelRefused
        No module runs its task with its trust.
    """
    if (model.trust, model.task) not in RUNS:
        known = ", ".join(f"{task} with trust = '{trust}'" for trust, task in sorted(RUNS))
        msg = (f"model {model.name}: task = {model.task!r} with trust = {model.trust!r}: this version runs {known}")
        raise ModelRefused(msg)


def _wanted(path: str) -> bool:
    suffixes = {"configs": CONFIG_SUFFIXES, "models": WEIGHT_SUFFIXES}.get(path.split("/", maxsplit=1)[0], ())
    return path.endswith(suffixes)


def checked_copy(model: ModelFile, folder: Path) -> BundleCopy:
    """Return the bundle's configs and weights in memory, once their digest is the pinned one.

    Raises
    ------
    ModelChanged, ModelMissing
        Nothing was kept.
    """
    try:
        copy = copy_bundle(folder, _wanted)
    except OSError as error:
        raise unreadable(model, error) from error
    try:
        check_digest(model, folder, copy.digest)
    except ModelChanged:
        copy.close()
        raise
    return copy


def unreadable(model: ModelFile, error: OSError) -> ModelMissing:
    """Return the error for a bundle whose files cannot be read."""
    return ModelMissing(f"model {model.name}: its bundle cannot be read: {error}")


def check_digest(model: ModelFile, folder: Path, found: str) -> None:
    """Raise ModelChanged unless ``found`` is the digest that the model file pins."""
    if found != model.digest:
        msg = (
            f"model {model.name}: bundle {folder} has digest {found}, its model file pins {model.digest}; "
            "nothing of it was loaded. Restore the bundle, or pin the new digest after validating it"
        )
        raise ModelChanged(msg)
