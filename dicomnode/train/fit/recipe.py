"""Recipes: MONAI configs in YAML that say how a network is made and trained. A recipe is code: read it first."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from monai.bundle.config_parser import ConfigParser
from pydantic import ValidationError

from dicomnode.errors import ConfigError
from dicomnode.train.fit.settings import Settings
from dicomnode.train.fit.tasks import Stage

SHIPPED: Final = Path(__file__).parents[1] / "recipes"
COMPONENTS: Final = (
    "network_def", "preprocessing", "augmentation", "inferer", "postprocessing", "loss", "optimizer",
    "anchor_generator", "detector",
)
"""Keys that hold MONAI components, or lists of them."""
NEEDED: Final = ("network_def", "preprocessing", "inferer", "optimizer")
_REFERENCE: Final = re.compile(r"@(\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A recipe, checked.

    Parameters
    ----------
    name : the file's, without ``.yaml``.
    folder : where the file lies; ``scripts`` is relative to it.
    config : all keys as plain data, references not yet resolved.
    settings : the plain keys.
    """

    name: str
    folder: Path
    config: Mapping[str, Any]
    settings: Settings

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages in order; without ``stages``, one of ``steps``."""
        own = self.settings
        if not own.stages:
            return (self._stage({"steps": own.steps}),)
        return tuple(self._stage(stage.model_dump(exclude_none=True)) for stage in own.stages)

    def _stage(self, given: Mapping[str, Any]) -> Stage:
        own = self.settings
        known: dict[str, Any] = {
            "batch_size": own.batch_size, "patch_size": own.patch_size, "learning_rate": own.learning_rate, **given}
        x, y, z = known.pop("patch_size")
        return Stage(
            steps=known.pop("steps"), batch_size=known.pop("batch_size"), patch_size=(x, y, z),
            learning_rate=known.pop("learning_rate"), restart=bool(known.pop("restart", False)), more=known,
        )

    @property
    def digest(self) -> str:
        """Of everything that the recipe says: a training resumes only with the recipe it began with."""
        text = json.dumps(self.config, sort_keys=True, default=str)
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def build(self, key: str, **given: object) -> Any:  # noqa: ANN401 - a recipe may build anything
        """Build one component; ``given`` are ids that its references may name (``channels``, ``classes``).

        Raises
        ------
        ConfigError
            With MONAI's own sentence.
        """
        parser = ConfigParser(config={**self.config, **given})
        try:
            return parser.get_parsed_content(key)
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, ImportError, SyntaxError) as error:
            cause = error.__cause__ or error
            raise ConfigError(f"recipe {self.name}: {key} cannot be built: {error}: {cause}") from error

    def plain(self, key: str, **given: object) -> Any:  # noqa: ANN401 - JSON data
        """One key as plain data, references to anything but the bundle's own ids put in.

        Raises
        ------
        ConfigError
            If a reference names nothing.
        """
        return self._plain(self.config[key], {**self.config, **given})

    def pieces(self, keys: Sequence[str], **given: object) -> dict[str, Any]:
        """Those of the keys that the recipe has, as a bundle holds them: plain, lists of transforms as Compose."""
        found = {key: self.plain(key, **given) for key in keys if key in self.config}
        found = {key: {"_target_": "Compose", "transforms": value} if isinstance(value, list) else value
                 for key, value in found.items()}
        return {**self._named_in_expressions(found, given), **found}

    def _named_in_expressions(self, found: Mapping[str, Any], given: Mapping[str, object]) -> dict[str, Any]:
        """Ids of the recipe's own that ``$`` expressions refer to, and what those refer to in turn."""
        more: dict[str, Any] = {}
        names = names_in_expressions(found)
        while names:
            name = names.pop()
            if name in found or name in more or name not in {**self.config, **given}:
                continue
            more[name] = self._plain({**self.config, **given}[name], {**self.config, **given})
            names |= names_in_expressions(more[name])
        return more

    def _plain(self, value: object, ids: Mapping[str, Any]) -> object:
        if isinstance(value, Mapping):
            return {key: self._plain(item, ids) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self._plain(item, ids) for item in value]
        if isinstance(value, str) and value.startswith("@") and value[1:] not in COMPONENTS:
            if value[1:] not in ids:
                raise ConfigError(f"recipe {self.name}: {value} names nothing in the recipe")
            return self._plain(ids[value[1:]], ids)
        return value


def names_in_expressions(value: object) -> set[str]:
    """Ids that the ``$`` expressions inside a value refer to."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return {name for part in value for name in names_in_expressions(part)}
    return set(_REFERENCE.findall(value)) if isinstance(value, str) and value.startswith("$") else set()


def shipped_recipes() -> tuple[str, ...]:
    """Names of the recipes that come with the program."""
    return tuple(sorted(path.stem for path in SHIPPED.glob("*.yaml")))


def recipe_path(recipe: str) -> Path:
    """The file that a name or a path means.

    Raises
    ------
    ConfigError
        If there is none.
    """
    for path in (Path(recipe), SHIPPED / f"{recipe}.yaml"):
        if path.is_file():
            return path
    raise ConfigError(f"recipe {recipe!r}: no such file, and the shipped ones are {', '.join(shipped_recipes())}")


def read_recipe(recipe: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a shipped recipe or a file, change what ``--set`` says, check all of it.

    Parameters
    ----------
    changes : ``key=value``; a key is MONAI's (``stages#0#steps``), a value is YAML.

    Raises
    ------
    ConfigError
        Every problem at once.
    """
    path = recipe_path(recipe)
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    if not isinstance(config, dict):
        raise ConfigError(f"{path}: holds a {type(config).__name__}; expected is a table of keys")
    return recipe_of(_changed(config, changes), name=path.stem, folder=path.parent)


def recipe_of(config: Mapping[str, Any], *, name: str, folder: Path) -> Recipe:
    """Check a recipe that is plain data already.

    Raises
    ------
    ConfigError
        Every problem at once.
    """
    problems = [f"recipe {name}: {key} is missing" for key in NEEDED if key not in config]
    problems += [f"recipe {name}: {text}" for text in _unknown(config)]
    settings: Settings | None = None
    try:
        settings = Settings.model_validate({key: config[key] for key in config if key in Settings.model_fields})
    except ValidationError as error:
        problems += [f"recipe {name}: {_sentence(dict(found))}" for found in error.errors()]
    if settings and not settings.stages and settings.steps is None:
        problems.append(f"recipe {name}: steps is missing, and so is stages: one of them says how long to train")
    if problems or settings is None:
        raise ConfigError(*problems)
    return Recipe(name=name, folder=folder, config=dict(config), settings=settings)


def _changed(config: dict[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    parser = ConfigParser(config=config)
    problems: list[str] = []
    for change in changes:
        key, sign, value = change.partition("=")
        try:
            if not sign:
                raise ValueError("expected is key=value")  # noqa: TRY301 - one sentence for every such mistake
            parser[key] = yaml.safe_load(value)
        except (KeyError, IndexError, ValueError, TypeError, yaml.YAMLError) as error:
            problems.append(f"--set {change}: {error}")
    if problems:
        raise ConfigError(*problems)
    changed: dict[str, Any] = parser.get()
    return changed


def _unknown(config: Mapping[str, Any]) -> list[str]:
    known = {*Settings.model_fields, *COMPONENTS}
    used = set(_REFERENCE.findall(json.dumps(config, default=str)))
    found = []
    for key in config:
        if key in known or key in used:
            continue
        near = difflib.get_close_matches(str(key), known, n=1)
        found.append(f"{key} is not a key, and nothing refers to @{key}" + (f"; is {near[0]} meant?" if near else ""))
    return found


def _sentence(found: Mapping[str, Any]) -> str:
    where = "#".join(str(part) for part in found["loc"])
    met = "" if found["type"] == "missing" else f" = {found['input']!r}"
    return f"{where}{met}: {found['msg']}"
