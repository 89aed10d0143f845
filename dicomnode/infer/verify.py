"""Before anything of a bundle is parsed: is it there, is it the pinned one, may it run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from dicomnode.domain.model import ModelFile
from dicomnode.errors import ModelChanged, ModelMissing, ModelRefused
from dicomnode.infer.digest import BundleCopy, copy_bundle
from dicomnode.infer.wire import MAX_FILES

RUNS: Final = frozenset((trust, task) for trust in ("pieces", "code")
                        for task in ("segmentation", "detection", "classification"))
"""(trust, task) that this version runs."""
CONFIG_SUFFIXES: Final = (".json", ".yaml", ".yml")
WEIGHT_SUFFIXES: Final = (".pt", ".pth", ".ckpt")
UNREAD_FOLDERS: Final = frozenset({"docs", "eval", "annotation", ".github"})
UNREAD_SUFFIXES: Final = (".ts", ".onnx", ".trt", ".engine", ".png", ".jpg", ".jpeg", ".gif", ".md", ".pdf")


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


def _for_pieces(path: str) -> bool:
    suffixes = {"configs": CONFIG_SUFFIXES, "models": WEIGHT_SUFFIXES}.get(path.split("/", maxsplit=1)[0], ())
    return path.endswith(suffixes)


def _for_own_code(path: str) -> bool:
    """All that a bundle's own code may read: not its pictures, texts and compiled forms of the same weights."""
    return path.split("/", maxsplit=1)[0] not in UNREAD_FOLDERS and not path.lower().endswith(UNREAD_SUFFIXES)


def checked_copy(model: ModelFile, folder: Path) -> BundleCopy:
    """Return the bundle's configs and weights in memory, once their digest is the pinned one.

    Raises
    ------
    ModelChanged, ModelMissing, ModelRefused
        Nothing was kept.
    """
    try:
        copy = copy_bundle(folder, _for_own_code if model.trust == "code" else _for_pieces)
    except OSError as error:
        raise unreadable(model, error) from error
    try:
        check_digest(model, folder, copy.digest)
        _check_count(model, copy)
    except (ModelChanged, ModelRefused):
        copy.close()
        raise
    return copy


def _check_count(model: ModelFile, copy: BundleCopy) -> None:
    if len(copy.memory) > MAX_FILES:
        msg = (f"model {model.name}: its bundle has {len(copy.memory)} files to load; allowed are {MAX_FILES}. Take "
               "out what it does not need, and pin the new digest")
        raise ModelRefused(msg)


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
