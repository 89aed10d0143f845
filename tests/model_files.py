"""Model files as TOML text, for tests that run the node on bundles of their own."""

from __future__ import annotations

import json
from pathlib import Path

from dicomnode.domain.dicom import Code
from dicomnode.domain.model import InputRole, Label, ModelFile


def write_model_file(model: ModelFile, folder: Path) -> Path:
    """Write ``<folder>/<name>.toml``; what the tests' models use is written, the rest is at its default."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{model.name}.toml"
    path.write_text(model_toml(model), encoding="utf-8")
    return path


def model_toml(model: ModelFile) -> str:
    """Return the model file's text."""
    runtime = model.runtime
    lines = [
        *(f"{key} = {_text(getattr(model, key))}" for key in (
            "name", "task", "bundle", "digest", "intended_use", "version", "trust")),
        f"research = {_text(model.research)}",
        *(line for role in model.inputs for line in _input(role)),
        *(line for label in model.labels for line in _label(label)),
        "[runtime]",
        *(f"{key} = {_text(getattr(runtime, key))}" for key in (
            "precision", "fast_resample", "clamp_roi", "time_limit_s", "memory_limit_mb")),
    ]
    return "\n".join(lines) + "\n"


def _input(role: InputRole) -> list[str]:
    return ["[[inputs]]", f"role = {_text(role.role)}", f"modality = {_text(role.modality)}",
            f"orientation = {_text(role.orientation)}"]


def _label(label: Label) -> list[str]:
    return ["[[labels]]", f"value = {label.value}", f"name = {_text(label.name)}",
            f"category = {_code(label.category)}",
            f"type = {_code(label.type)}", f"colour_rgb = {list(label.colour_rgb)}",
            f"measure = {_text(list(label.measure))}", f"lesion = {_text(label.lesion)}",
            *([f"region = {_code(label.region)}"] if label.region else [])]


def _code(code: Code) -> str:
    return f"{{ value = {_text(code.value)}, scheme = {_text(code.scheme)}, meaning = {_text(code.meaning)} }}"


def _text(value: object) -> str:
    return json.dumps(value)
