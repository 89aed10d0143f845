"""Model files: where they lie, and what they say."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from dicomnode.config.conditions import wanted_of
from dicomnode.config.model_rules import broken_rules
from dicomnode.config.model_schema import (
    MODEL_FILE,
    ClassTable,
    CodeTable,
    InputTable,
    LabelTable,
    LimitsTable,
    ModelTable,
    RuntimeTable,
)
from dicomnode.config.problems import shown
from dicomnode.config.retired import current_category
from dicomnode.config.toml import check, parse, read_text
from dicomnode.domain.dicom import Code
from dicomnode.domain.model import (
    InputRole,
    Label,
    Limits,
    ModelFile,
    Range,
    Runtime,
    SpacingLimits,
)
from dicomnode.domain.node import NodeConfig
from dicomnode.domain.settings import (
    ClassificationSettings,
    ClassLabel,
    DetectionSettings,
    Outputs,
    QualitySettings,
    SelfTest,
    Validated,
)
from dicomnode.errors import ConfigError, ModelMissing

PLAIN_KEYS = ("name", "task", "bundle", "digest", "intended_use", "version", "trust", "overlapping", "confirmed",
              "research")


def model_path(name: str, config: NodeConfig) -> Path:
    """Return where the model file lies: ``<config dir>/models/<name>.toml``, else ``<models_dir>/<name>.toml``.

    Raises
    ------
    ModelMissing
        If neither place has it.
    """
    return find_model(name, places(config.config_dir, config.node.models_dir))


def load_model(name: str, config: NodeConfig) -> ModelFile:
    """Return the model file of that name, checked.

    Raises
    ------
    ModelMissing
        If there is no such file.
    ConfigError
        With every mistake in it.
    """
    path = model_path(name, config)
    return named_model(name, path)


def model_from_text(text: str, *, source: str) -> ModelFile:
    """Return the model file that ``text`` is; ``file_digest`` is the sha256 of the text in UTF-8.

    Parameters
    ----------
    source:
        How problems name the text: a path, or the job whose snapshot it is.

    Raises
    ------
    ConfigError
        With every mistake in it.
    """
    raw = parse(text, source)
    tables, problems = check(MODEL_FILE, raw, source)
    problems += [f"{source}: {problem}" for problem in broken_rules(raw)]
    if problems:
        raise ConfigError(*problems)
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    return _model(tables[0], digest)


def places(config_dir: Path, models_dir: Path) -> tuple[Path, Path]:
    """Return the folders that are searched for model files, in order."""
    return config_dir / "models", models_dir


def find_model(name: str, folders: tuple[Path, ...]) -> Path:
    """Return the first ``<folder>/<name>.toml`` that is a file; a name never leads out of its folder.

    Raises
    ------
    ModelMissing
        If no folder has it.
    """
    candidates = [folder / f"{name}.toml" for folder in folders]
    for path in candidates:
        if Path(name).name == name and path.is_file():
            return path
    known = sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")})
    msg = (f"model {shown(name)}: no model file at {' or '.join(str(path) for path in candidates)}; "
           f"known are {', '.join(known) or 'none'}")
    raise ModelMissing(msg)


def named_model(name: str, path: Path) -> ModelFile:
    """Return the model file at ``path``, which must call itself ``name``.

    Raises
    ------
    ConfigError
        With every mistake in it.
    """
    model = model_from_text(read_text(path), source=str(path))
    if model.name != name:
        msg = f"{path}: name = {shown(model.name)}: allowed is {shown(name)}, as the file is called"
        raise ConfigError(msg)
    return model


def _model(table: ModelTable, file_digest: str) -> ModelFile:
    plain: dict[str, Any] = {key: value for key, value in table.items() if key in PLAIN_KEYS}
    test = table.get("self_test")
    return ModelFile(
        **plain,
        procedure=_code(table.get("procedure")),
        finding_site=_code(table.get("finding_site")),
        inputs=tuple(_input(item) for item in table["inputs"]),
        labels=tuple(_label(item) for item in table.get("labels", [])),
        classes=tuple(_class(item) for item in table.get("classes", [])),
        classification=ClassificationSettings(**table.get("classification", {})),
        detection=DetectionSettings(**table.get("detection", {})),
        limits=_limits(table.get("limits", {})),
        quality=QualitySettings(**table.get("quality", {})),
        runtime=_runtime(table.get("runtime", {})),
        outputs=Outputs(**table.get("outputs", {})),
        self_test=SelfTest(**test) if test else None,
        file_digest=file_digest,
    )


def _input(table: InputTable) -> InputRole:
    values: dict[str, Any] = dict(table)
    if "slices" in table:
        values["slices"] = Range(**table["slices"])
    if "spacing_mm" in table:
        values["spacing_mm"] = SpacingLimits(**table["spacing_mm"])
    values["when"] = wanted_of(table.get("when", {}))
    return InputRole(**values)


def _label(table: LabelTable) -> Label:
    values: dict[str, Any] = dict(table)
    for key in ("category", "type", "modifier", "region"):
        values[key] = _code(values.get(key))
    values["category"] = current_category(values["category"])
    values["colour_rgb"] = tuple(table["colour_rgb"])
    if "measure" in table:
        values["measure"] = tuple(table["measure"])
    return Label(**values)


def _class(table: ClassTable) -> ClassLabel:
    values: dict[str, Any] = dict(table)
    return ClassLabel(**{**values, "code": Code(**table["code"])})


def _limits(table: LimitsTable) -> Limits:
    return Limits(
        when=wanted_of(table.get("when", {})),
        age_years=Range(**table.get("age_years", {})),
    )


def _runtime(table: RuntimeTable) -> Runtime:
    values: dict[str, Any] = dict(table)
    values["remove"] = tuple(table.get("remove", ()))
    values["validated"] = {key: Validated(**seen) for key, seen in table.get("validated", {}).items()}
    return Runtime(**values)


def _code(table: CodeTable | None) -> Code | None:
    return Code(**table) if table else None
