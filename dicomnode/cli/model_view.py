"""Models in words: what was added, what a model is."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicomnode.domain.condition import Condition, Wanted, wording

if TYPE_CHECKING:
    from dicomnode.adopt.add import Added
    from dicomnode.domain.dicom import Code
    from dicomnode.domain.model import InputRole, ModelFile

CARD_CHARS = 600
"""How much of a bundle's own description is shown."""
WIDTH = 100


def added_lines(added: Added) -> Iterator[str]:
    """Say what was added, whether it runs, and what is left to a person."""
    model = added.model
    yield f"added    {model.name} {model.version} ({model.task})"
    yield f"bundle   {added.bundle}, {model.digest}"
    yield f"file     {added.model_file}"
    if added.trouble:
        yield f"trouble  it does not load: {added.trouble}"
        yield "         mend it in the model file ([runtime] overrides, remove), then `dicomnode models verify --load`"
    elif added.loaded_in_s is not None:
        how = "by its pieces: nothing of its own runs" if model.trust == "pieces" else "with code of its own"
        yield f"runs     {how}; loaded in the sandbox in {added.loaded_in_s:.1f} s"
    yield from (f"doubt    {doubt}" for doubt in added.doubts)
    if not model.confirmed:
        yield from _to_confirm(model)


def _to_confirm(model: ModelFile) -> Iterator[str]:
    missing = model.unconfirmed()
    if missing:
        yield f"confirm  no code is known for {len(missing)} of its names: {', '.join(missing[:12])}"
    yield "confirm  its file was written from the bundle's metadata and no person has checked it: go through it, try it"
    yield f"         with `dicomnode process FOLDER --model {model.name} --out DIR`, then say confirmed = true in it."
    yield "         Until then no route may name it."


def describe(model: ModelFile, bundle: Path) -> dict[str, Any]:
    """Return everything about a model, for JSON."""
    return {
        "name": model.name, "version": model.version, "task": model.task, "intended_use": model.intended_use,
        "confirmed": model.confirmed, "research": model.research, "trust": model.trust, "bundle": str(bundle),
        "digest": model.digest, "inputs": [_input(role) for role in model.inputs],
        "labels": [{"value": one.value, "name": one.name, "category": _code(one.category), "type": _code(one.type),
                    "modifier": _code(one.modifier), "region": _code(one.region), "lesion": one.lesion,
                    "measure": list(one.measure)} for one in model.labels],
        "classes": [{"value": one.value, "name": one.name, "code": _code(one.code), "finding": one.finding}
                    for one in model.classes],
        "limits": {**{key: _asked(wanted) for key, wanted in model.limits.when.items()},
                   "age_years": str(model.limits.age_years)},
        "overlapping": model.overlapping, "runtime": asdict(model.runtime),
        "self_test": None if model.self_test is None else asdict(model.self_test),
        "detection": asdict(model.detection) if model.task == "detection" else None,
        "classification": asdict(model.classification) if model.task == "classification" else None,
        "card": card(bundle),
    }


def lines(model: ModelFile, bundle: Path) -> Iterator[str]:
    """Say everything about a model, for a person."""
    guessed = "" if model.confirmed else "   NOT CONFIRMED: inputs, names and codes are guesses; no route may name it"
    yield f"{model.name} {model.version} ({model.task}){guessed}"
    yield model.intended_use
    yield f"bundle {bundle}, {model.digest}, trust = {model.trust}"
    for role in model.inputs:
        yield f"input {role.role}: {', '.join(_wanted(role))}"
    for one in model.labels:
        kind = ", searched for as lesions" if one.lesion else ""
        yield f"label {one.value} {one.name}: {one.type}{_side(one.modifier)}{_said(one.type, model)}{kind}"
    for one_class in model.classes:
        kind = "" if one_class.finding else ", says that nothing is there"
        yield f"class {one_class.value} {one_class.name}: {one_class.code}{_said(one_class.code, model)}{kind}"
    yield from _thresholds(model)
    yield from _bounds(model)
    text = card(bundle)
    if text:
        yield ""
        yield from textwrap.wrap(text, WIDTH)


def card(bundle: Path) -> str:
    """Return the beginning of what the bundle's makers say of it: the first paragraph of its README."""
    try:
        with (bundle / "docs" / "README.md").open(encoding="utf-8", errors="replace") as file:
            text = file.read(20_000)
    except OSError:
        return ""
    parts = (part.strip() for part in text.split("\n\n"))
    paragraphs = [part for part in parts if part and not part.startswith(("#", "|", "```"))]
    plain = " ".join("".join(c if c.isprintable() else " " for c in " ".join(paragraphs)).split())
    return plain if len(plain) <= CARD_CHARS else f"{plain[:CARD_CHARS]} …"


def _thresholds(model: ModelFile) -> Iterator[str]:
    if model.overlapping:
        yield "labels may share voxels"
    if model.task == "detection":
        yield f"reports boxes from a score of {model.detection.score_at_least:g} on, at most {model.detection.most}"
    if model.task == "classification":
        how = "one class holds" if model.classification.exclusive else "each class stands for itself"
        yield f"reports a class from a probability of {model.classification.report_at_least:g} on; {how}"


def _bounds(model: ModelFile) -> Iterator[str]:
    for keyword, allowed in model.limits.when.items():
        yield f"only {keyword} {wording(allowed)}"
    if str(model.limits.age_years) != "any":
        yield f"only patients of {model.limits.age_years} years"
    runtime = model.runtime
    fast = [name for name in ("fast_resample", "clamp_roi", "crop_to_body") if getattr(runtime, name)]
    yield (f"runs on {runtime.backend} in {runtime.precision}, at most {runtime.time_limit_s:g} s and "
           f"{runtime.memory_limit_mb} MB{''.join(f', {name}' for name in fast)}")
    for name, seen in runtime.validated.items():
        yield f"validated {name}: Dice lost {seen.dice_lost:.4f} on {seen.cases} cases"
    for key, value in runtime.overrides.items():
        yield f"override {key} = {value}"
    for key in runtime.remove:
        yield f"removed {key}"
    if model.self_test:
        floors = [f"Dice {dict(model.self_test.dice_at_least)}"] if model.self_test.dice_at_least else []
        floors += [f"found {dict(model.self_test.found_at_least)}"] if model.self_test.found_at_least else []
        yield f"self-test: {model.self_test.phantom} phantom, {', '.join(floors)}"


def _wanted(role: InputRole) -> Iterator[str]:
    yield role.modality
    if not role.required:
        yield "may be absent"
    if role.orientation != "any":
        yield role.orientation
    yield f"slices {role.slices}"
    if role.spacing_mm.max_between_slices is not None:
        yield f"slices up to {role.spacing_mm.max_between_slices:g} mm apart"
    if role.contrast != "any":
        yield f"{role.contrast} contrast agent"
    if role.split_by:
        yield f"of several stacks by {role.split_by} the {role.split_take}"
    if role.resample:
        yield "interpolated onto the grid of the first input"
    for keyword, values in role.when.items():
        yield f"only {keyword} {wording(values)}"
    for keyword, wish in role.prefer.items():
        yield f"rather {keyword} {' before '.join(wish) if isinstance(wish, tuple) else wish}"


def _input(role: InputRole) -> dict[str, Any]:
    return {"role": role.role, "required": role.required, "modality": role.modality, "orientation": role.orientation,
            "slices": str(role.slices), "max_between_slices_mm": role.spacing_mm.max_between_slices,
            "when": {key: _asked(wanted) for key, wanted in role.when.items()}, "prefer": dict(role.prefer),
            "contrast": role.contrast, "resample": role.resample, "any_frame": role.any_frame,
            "split_by": role.split_by, "split_take": role.split_take}


def _asked(wanted: Wanted) -> list[str] | str:
    return str(wanted) if isinstance(wanted, Condition) else list(wanted)


def _code(code: Code | None) -> dict[str, str] | None:
    return None if code is None else {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}


def _side(code: Code | None) -> str:
    return f", {code.meaning.lower()}" if code else ""


def _said(code: Code, model: ModelFile) -> str:
    from dicomnode.domain.model import UNCONFIRMED_SCHEME

    if code.scheme == UNCONFIRMED_SCHEME:
        return " NO CODE GIVEN YET"
    return "" if model.confirmed else " (guessed)"
