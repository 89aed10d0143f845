"""A model file for a bundle that has none: what can be guessed is written, and marked for a person to confirm."""

from __future__ import annotations

import colorsys
import json
import re
from collections.abc import Iterator
from typing import Final

from dicomnode.adopt.guess import About, GuessedInput, GuessedLabel
from dicomnode.adopt.sequences import telling_lines
from dicomnode.domain.dicom import Code
from dicomnode.domain.model import MOST_OVERLAPPING

HEAD: Final = """\
# Written by `dicomnode models add` from what the bundle says about itself. No person has checked it:
# go through every line marked CONFIRM, try the model with `dicomnode process`, then say confirmed = true.
# Until then no route may name it. `model.example.toml` explains every key.
"""
GOLDEN_ANGLE: Final = 0.618034
"""Part of the colour circle between the colours of two labels: neighbours never look alike."""
NOTHING: Final = re.compile(r"(normal|negative|healthy|background|none|no[ _-].*)$", re.IGNORECASE)
"""Names of classes that say that nothing is there."""
TABLE: Final = re.compile(r"^\[", re.MULTILINE)


def skeleton(found: About, *, name: str, bundle: str, digest: str, trust: str) -> str:
    """Return the text of a model file with ``confirmed = false``."""
    lines = [HEAD, *_top(found, name, bundle, digest, trust)]
    for number, one in enumerate(found.inputs):
        lines += _input(one, volumetric=found.volumetric, first=number == 0)
    for label in found.labels:
        lines += _class(label) if found.task == "classification" else _label(label, found.task)
    if found.task == "classification":
        lines += _classification(found)
    lines += ["", "[runtime]", "time_limit_s = 600", "memory_limit_mb = 8000"]
    return "\n".join(lines) + "\n"


def with_keys(text: str, **values: str) -> str:
    """Return a model file's text with top-level keys set; everything else, comments too, stays as it is."""
    first = TABLE.search(text)
    head, rest = (text[:first.start()], text[first.start():]) if first else (text, "")
    for key, value in values.items():
        line = f"{key} = {_text(value)}"
        head, count = re.subn(rf"^{key}[ \t]*=.*$", line.replace("\\", r"\\"), head, count=1, flags=re.MULTILINE)
        if not count:
            head = f"{head.rstrip()}\n{line}\n\n"
    return head + rest


def _top(found: About, name: str, bundle: str, digest: str, trust: str) -> Iterator[str]:
    yield from (f"# CONFIRM: {doubt}" for doubt in found.doubts)
    yield f"name = {_text(name)}"
    yield f"task = {_text(found.task)}"
    yield f"bundle = {_text(bundle)}"
    yield f"digest = {_text(digest)}"
    yield f"version = {_text(found.version)}"
    yield f"trust = {_text(trust)}"
    if found.task == "segmentation" and found.ending.overlaps and 1 < len(found.labels) <= MOST_OVERLAPPING:
        yield "overlapping = true   # CONFIRM: the bundle gives one channel per label, and labels may share voxels"
    yield "confirmed = false"
    yield "research = true"
    yield f"intended_use = {_text(found.intended_use)}   # CONFIRM: reports quote it"


def _input(one: GuessedInput, *, volumetric: bool, first: bool) -> Iterator[str]:
    yield "\n[[inputs]]"
    yield f"role = {_text(one.role)}"
    yield f"modality = {_text(one.modality)}   # CONFIRM"
    yield f"slices = {{ min = {10 if volumetric else 1} }}   # CONFIRM, with orientation, spacing_mm and prefer"
    for line in telling_lines(one.contains):
        yield f"{line}   # CONFIRM: as your scanners set it"
    if one.contains:
        yield f"prefer = {{ SeriesDescription = {_text(one.contains)} }}   # CONFIRM: how your scanners name it"
    if not first:
        yield "# resample = true   # CONFIRM: may it be interpolated onto the grid of the first input?"


def _label(label: GuessedLabel, task: str) -> Iterator[str]:
    lesion = label.codes.lesion or task == "detection"
    yield "\n[[labels]]"
    yield f"value = {label.value}"
    yield f"name = {_text(label.name)}"
    yield f"category = {_code(label.codes.category)}   # CONFIRM"
    yield f"type = {_code(label.codes.type)}   # {_advice(label)}"
    if label.codes.modifier is not None:
        yield f"modifier = {_code(label.codes.modifier)}   # CONFIRM"
    if label.codes.region is not None:
        yield f"region = {_code(label.codes.region)}   # CONFIRM: where such lesions lie"
    yield f"colour_rgb = {_colour(label.value)}"
    if lesion:
        yield "lesion = true   # CONFIRM: each piece is a finding of its own; min_diameter_mm and min_ml belong here"
        yield 'measure = ["volume_ml", "diameter_mm"]'


def _class(label: GuessedLabel) -> Iterator[str]:
    yield "\n[[classes]]"
    yield f"value = {label.value}"
    yield f"name = {_text(label.name)}"
    yield f"code = {_code(label.codes.type)}   # {_advice(label)}"
    nothing = bool(NOTHING.match(label.name))
    yield f"finding = {str(not nothing).lower()}   # CONFIRM: false where the class says that nothing is there"


def _classification(found: About) -> Iterator[str]:
    yield "\n[classification]"
    yield "report_at_least = 0.5   # CONFIRM"
    if found.ending.sigmoid:
        yield "exclusive = false   # CONFIRM: each class stands for itself"
    elif not found.ending.softmax:
        yield 'activation = "softmax"   # CONFIRM: the bundle gives scores; sigmoid where several classes may hold'


def _advice(label: GuessedLabel) -> str:
    known = label.codes.found
    return f"CONFIRM: {'guessed from the name' if known else 'no code is known for this name, give one'}"


def _code(code: Code) -> str:
    return f"{{ value = {_text(code.value)}, scheme = {_text(code.scheme)}, meaning = {_text(code.meaning)} }}"


def _colour(value: int) -> list[int]:
    red, green, blue = colorsys.hsv_to_rgb((value * GOLDEN_ANGLE) % 1.0, 0.55, 0.92)
    return [round(part * 255) for part in (red, green, blue)]


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", " ")
