"""The model file of a trained bundle: labels from the data set, the rest from the recipe's ``model_file``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from dicomnode.domain.model import UNCONFIRMED_SCHEME
from dicomnode.errors import ConfigError
from dicomnode.train.publish.toml import toml_text

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.domain.dicom import Code
    from dicomnode.train.dataset.reader import Dataset, DatasetLabel
    from dicomnode.train.fit.recipe import Recipe
    from dicomnode.train.publish.provenance import Reference

SPARE: Final = 1.05
"""Spacing limits allow this much more than the training data showed."""
HEAD: Final = """\
# Written by `dicomnode train` with the recipe {recipe}. `config/model.example.toml` explains every key.
# Copy it to models/{name}.toml beside node.toml, and the bundle below models_dir.
"""
_DIGEST_LINE: Final = re.compile(r'^digest = "[^"\n]*"', re.MULTILINE)


def model_file_text(recipe: Recipe, dataset: Dataset, reference: Reference, *, bundle: str, digest: str) -> str:
    """The text of the model file.

    Parameters
    ----------
    bundle : the folder's name.
    digest : of the folder, as the node computes it.

    Raises
    ------
    ConfigError
        If ``model_file`` of the recipe names a label or channel that the data set does not have.
    """
    given = dict(recipe.settings.model_file)
    inputs = _inputs(dataset, reference, given.pop("inputs", {}))
    labels = _labels(dataset, given.pop("labels", {}))
    codes = [label[key] for label in labels for key in ("category", "type")]
    confirmed = all(code["scheme"] != UNCONFIRMED_SCHEME for code in codes)
    name = given.pop("name", bundle)
    table: dict[str, Any] = {
        "name": name, "task": recipe.settings.task, "bundle": bundle, "digest": digest,
        "version": recipe.settings.version, "trust": trust_of(recipe), "confirmed": confirmed, "research": True,
        "intended_use": recipe.settings.intended_use,
    }
    table |= {key: value for key, value in given.items() if key not in {"outputs", "self_test", "limits", "runtime"}}
    table |= {key: given[key] for key in ("limits", "runtime") if key in given}
    table |= {"inputs": inputs, "labels": labels}
    table["outputs"] = given.get("outputs", {"seg": recipe.settings.task == "segmentation", "sr": True})
    table |= {"self_test": given["self_test"]} if "self_test" in given else {}
    return HEAD.format(recipe=recipe.name, name=name) + "\n" + toml_text(table)


def pin(model_file: Path, digest: str) -> None:
    """Put the bundle's digest into the model file, so that the node runs these bytes and no others.

    Raises
    ------
    ValueError
        where the model file has no ``digest`` line, or several.
    """
    text, count = _DIGEST_LINE.subn(f'digest = "{digest}"', model_file.read_text(encoding="utf-8"))
    if count != 1:
        raise ValueError(f"{model_file} has {count} lines that begin with 'digest =': exactly one is needed")
    model_file.write_text(text, encoding="utf-8")


def trust_of(recipe: Recipe) -> str:
    """What the model file says under ``trust``: a bundle with scripts of its own needs ``code``."""
    return "code" if recipe.settings.scripts else "pieces"


def _inputs(dataset: Dataset, reference: Reference, more: Mapping[str, Any]) -> list[dict[str, Any]]:
    _known(more, dataset.channels, "model_file inputs", "channels")
    between, in_plane = reference.coarsest_mm
    plain = {
        "required": True, "modality": dataset.modality, "orientation": "any", "slices": {"min": 8},
        "spacing_mm": {"max_between_slices": round(between * SPARE, 2), "max_in_plane": round(in_plane * SPARE, 2)},
    }
    return [{"role": channel, **plain, **more.get(channel, {})} for channel in dataset.channels]


def _labels(dataset: Dataset, more: Mapping[str, Any]) -> list[dict[str, Any]]:
    _known(more, tuple(label.name for label in dataset.labels), "model_file labels", "labels")
    return [_label(label, dataset.modality) | more.get(label.name, {}) for label in dataset.labels]


def _label(label: DatasetLabel, modality: str) -> dict[str, Any]:
    measure = ["volume_ml", *(["diameter_mm"] if label.lesion else []), *(["mean_hu"] if modality == "CT" else [])]
    return {
        "value": label.value, "name": label.name, "category": _code(label.category, label.name),
        "type": _code(label.type, label.name), "colour_rgb": list(label.colour_rgb), "measure": measure,
        "lesion": label.lesion,
    }


def _code(code: Code | None, name: str) -> dict[str, str]:
    if code is None:
        return {"value": "0", "scheme": UNCONFIRMED_SCHEME, "meaning": name[:64]}
    return {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def _known(given: Mapping[str, Any], names: tuple[str, ...], where: str, what: str) -> None:
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise ConfigError(f"{where} names {', '.join(unknown)}; the data set has the {what} {', '.join(names)}")
