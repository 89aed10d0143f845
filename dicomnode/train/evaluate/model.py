"""Finds the model that ``evaluate`` is asked for: a name, a model file, or a bundle with its model file beside it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from dicomnode.config import load_model, model_from_text
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import ModelMissing

SUFFIX: Final = ".toml"


def model_of(argument: str, config: Callable[[], NodeConfig]) -> tuple[ModelFile, Path]:
    """Return the model and the folder that its bundle lies in.

    Parameters
    ----------
    config : read only where the argument is a name, or the bundle does not lie beside its model file.

    Raises
    ------
    ModelMissing
        If there is no model file, or no bundle.
    ConfigError
        With every mistake in the model file.
    """
    path = Path(argument)
    if path.is_dir():
        return _beside(path)
    if path.suffix == SUFFIX and path.is_file():
        model = model_from_text(path.read_text(encoding="utf-8"), source=str(path))
        beside = (path.parent / model.bundle).is_dir()
        return model, path.resolve().parent if beside else config().node.models_dir
    return load_model(argument, config()), config().node.models_dir


def _beside(bundle: Path) -> tuple[ModelFile, Path]:
    folder = bundle.resolve()
    file = folder.with_name(folder.name + SUFFIX)
    if not file.is_file():
        raise ModelMissing(
            f"{bundle}: no model file {file.name} beside the bundle; `dicomnode train` writes one, "
            "`dicomnode models add` writes a skeleton: name the model file, or the model")
    return model_from_text(file.read_text(encoding="utf-8"), source=str(file)), folder.parent
