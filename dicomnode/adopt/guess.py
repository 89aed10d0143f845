"""What a bundle says about itself, as far as it can be trusted to mean something: its metadata are hints."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicomnode.adopt import anatomy
from dicomnode.adopt.ending import Ending, ending_of, line_of
from dicomnode.errors import ModelFailed, ModelRefused
from dicomnode.infer.configs import CONFIGS, parsed

METADATA_MAX_BYTES: Final = 4 << 20
BACKGROUND: Final = frozenset({"background", "bg", "other", "others", "none", "clear label"})
MODALITIES: Final[Mapping[str, str]] = {"ct": "CT", "mr": "MR", "mri": "MR", "pt": "PT", "pet": "PT"}
SEQUENCES: Final = re.compile(r"flair|t1|t2|dwi|adc|swi|pd", re.IGNORECASE)
"""MR channels that a SeriesDescription usually names."""
MOST_NAMED: Final = 1000
"""Channels that are read from metadata: no network has more, and a model file must stay readable."""
UNSTATED_USE: Final = "Not stated by the bundle: say here for whom and for what, and what it must not be used for."
Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessedInput:
    """One input of the network; ``contains`` is what its SeriesDescription probably says."""

    role: str
    modality: str
    contains: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuessedLabel:
    """One value of the label map, or one class, with the codes that its name suggests."""

    value: int
    name: str
    codes: anatomy.Guess


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What was found out about a bundle.

    Parameters
    ----------
    doubts:
        Sentences on what the metadata do not say or say strangely.
    """

    task: str
    version: str
    intended_use: str
    description: str
    volumetric: bool
    ending: Ending
    inputs: tuple[GuessedInput, ...]
    labels: tuple[GuessedLabel, ...]
    doubts: tuple[str, ...]


def about(folder: Path) -> About:
    """Read ``configs/metadata.json`` of a bundle; what is absent or strange is doubted, never refused."""
    metadata = _read(folder / "configs" / "metadata.json")
    formats = _table(metadata, "network_data_format")
    image, pred = _first(formats, "inputs"), _first(formats, "outputs")
    doubts: list[str] = [] if metadata else ["configs/metadata.json is absent or not readable: everything is a guess"]
    config = _config(folder)
    task, ending = _task(metadata, pred, config), ending_of(config)
    return About(
        task=task, version=_line(metadata.get("version")) or "0", description=_line(metadata.get("description")),
        intended_use=_line(metadata.get("intended_use")) or UNSTATED_USE, volumetric=_dimensions(image) != 2,  # noqa: PLR2004
        ending=ending, inputs=tuple(_inputs(image, doubts)),
        labels=tuple(_labels(metadata, pred, task, ending, doubts)),
        doubts=tuple(doubts))


def _read(path: Path) -> Json:
    try:
        with path.open("rb") as file:
            found = json.loads(file.read(METADATA_MAX_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _config(folder: Path) -> Json:
    for name in CONFIGS:
        with suppress(OSError, ModelFailed, ModelRefused), (folder / name).open("rb") as file:
            return parsed(name, file.read(METADATA_MAX_BYTES))
    return {}


def _task(metadata: Json, pred: Json, config: Json) -> str:
    said = " ".join(_line(metadata.get(key)) for key in ("task", "name", "description")).lower()
    form = _line(pred.get("format")).lower()
    if "detector" in config or "detection" in said or form in {"boxes", "points"}:
        return "detection"
    if form in {"classes", "classification", "probabilities"} or "classif" in said:
        return "classification"
    return "segmentation"


def _inputs(image: Json, doubts: list[str]) -> Iterator[GuessedInput]:
    said = _line(image.get("modality")).lower()
    modality = MODALITIES.get(said, "CT" if _line(image.get("format")).lower() == "hounsfield" else "")
    if not modality:
        modality = "CT"
        doubts.append(f"the metadata name no modality that the node receives (they say {said or 'nothing'!r}): "
                      "CT is written, correct it")
    channels = [name for _number, name in _channels(image)] or [""] * _count(image)
    used: set[str] = set()
    for number, name in enumerate(channels or [""]):
        described = bool(SEQUENCES.search(name)) and len(channels) > 1
        unnamed = name.lower() in {"", "image", "img"}
        plain = modality.lower() if unnamed else re.sub(r"[^a-z0-9_.-]+", "_", name.lower())
        role = plain.strip("_.-") or f"channel{number}"
        role = role if role not in used else f"{role}_{number}"
        used.add(role)
        yield GuessedInput(role=role, modality=modality, contains=name if described else "")


def _labels(metadata: Json, pred: Json, task: str, ending: Ending, doubts: list[str]) -> Iterator[GuessedLabel]:
    channels = _channels(pred)
    if task == "detection":
        yield from _boxed(metadata, channels)
        return
    if not channels:
        count = _count(pred) or 2
        channels = [(number, f"Structure {number}" if number else "background") for number in range(count)]
        doubts.append("the metadata name no output channels: what each value means must be said")
    has_background = channels[0][1].lower() in BACKGROUND
    if task == "segmentation" and not has_background and len(channels) > 1 and not ending.overlaps:
        doubts.append("no output channel is called background: either labels overlap (then say overlapping = true), "
                      "or the bundle turns channels into other values: compare with its documentation"
                      + (f", and with its expression {ending.expression}" if ending.expression else ""))
    first = 0 if task == "classification" or has_background else -1
    used: set[str] = set()
    for number, name in channels[:MOST_NAMED]:
        if task != "classification" and name.lower() in BACKGROUND and number == 0:
            continue
        shown = _shown(name, number, used)
        yield GuessedLabel(value=number - first, name=shown, codes=anatomy.guess(name))


def _boxed(metadata: Json, channels: list[tuple[int, str]]) -> Iterator[GuessedLabel]:
    said = " ".join(_line(metadata.get(key)) for key in ("task", "name", "description")).lower()
    known = [word for word in sorted(anatomy.FOCAL) if word in said]
    names = [name for _number, name in channels] or known[-1:] or ["Finding"]
    for value, name in enumerate(names[:MOST_NAMED], start=1):
        yield GuessedLabel(value=value, name=_shown(name, value, set()), codes=anatomy.guess(name))


def _shown(name: str, number: int, used: set[str]) -> str:
    shown = " ".join(name.replace("_", " ").split())[:64] or f"Structure {number}"
    shown = shown[0].upper() + shown[1:]
    shown = shown if shown not in used else f"{shown[:58]} {number}"
    used.add(shown)
    return shown


def _channels(image: Json) -> list[tuple[int, str]]:
    named = _table(image, "channel_def")
    pairs = [(int(key), _line(value)) for key, value in named.items() if str(key).isdecimal() and len(str(key)) < 6]  # noqa: PLR2004
    return sorted(pairs)


def _count(image: Json) -> int:
    number = image.get("num_channels")
    return number if isinstance(number, int) and 0 < number <= MOST_NAMED else 0


def _dimensions(image: Json) -> int:
    shape = image.get("spatial_shape")
    return len(shape) if isinstance(shape, list) else 0


def _first(formats: Json, key: str) -> Json:
    entries = [value for value in _table(formats, key).values() if isinstance(value, dict)]
    return entries[0] if entries else {}


def _table(value: Json, key: str) -> Json:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _line(value: object) -> str:
    """Return a text, or the texts of a list, as one printable line."""
    text = " ".join(map(str, value)) if isinstance(value, list) else str(value) if isinstance(value, str | int) else ""
    return line_of(text)
