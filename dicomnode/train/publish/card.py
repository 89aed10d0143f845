"""The model card: what a bundle is for, what it learned from, what it reached, how to make it again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dicomnode.train.dataset.reader import Dataset
    from dicomnode.train.fit.recipe import Recipe

WARNING: Final = "Not a medical device. Not for clinical use."
LICENCE: Final = """\
The weights and configs of this bundle were made by `dicomnode train`.
The one who trained them states their licence here; nothing is granted until then.
"""


def model_card(recipe: Recipe, dataset: Dataset, scores: Mapping[str, float], made: Mapping[str, Any]) -> str:
    """``docs/README.md`` of the bundle."""
    own, data, training = recipe.settings, made["data"], made["training"]
    parts = [
        f"# {own.name or recipe.name}", own.description, f"**{own.intended_use}** {WARNING}",
        "## What it gives", _labels(dataset),
        "## What it learned from",
        (f"Data set `{data['name']}` ({dataset.modality}, channels {', '.join(dataset.channels)}; digest "
        f"`{data['digest']}`): {data['cases']['training']} training cases; {data['cases']['validation']} for "
        f"validation, at which choices were made; {data['cases']['test']} for the test, not looked at in training."),
        _reference(made["reference"]),
        "## What it reached", _scores(scores),
        ("Measured on the validation cases, on the network's own grid, with the weights as they are stored here "
        "(float16). These cases chose the weights: scores on the test cases come from `dicomnode evaluate`."),
        "## Limitations", own.limitations or "It knows what its training data showed, and nothing else.",
        "## How it was made",
        (f"`dicomnode train {recipe.name} --data {data['name']} --out ...`: {training['steps']} steps in "
        f"{training['seconds'] / 60:.1f} minutes on {training['device']} ({training['precision']}, "
        f"{training['processes']} process, {training['threads']} threads), seed {own.seed}; the weights of step "
        f"{training['kept_step']} were kept. The recipe stands in `configs/train.yaml`, everything else in "
        "`docs/provenance.json`."),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _labels(dataset: Dataset) -> str:
    rows = "\n".join(f"| {label.value} | {label.name} | {label.type or 'no code yet'} |" for label in dataset.labels)
    return f"| value | label | code |\n|---|---|---|\n{rows}"


def _scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return "There were no validation cases: nothing is known of it."
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in scores.items())
    return f"| validation | |\n|---|---|\n{rows}"


def _reference(reference: Mapping[str, Any]) -> str:
    axes = ", ".join(f"{least:g} to {greatest:g}" for least, _, greatest in reference["spacing_mm"])
    lines = [f"Voxels: {axes} mm (right-left, back-front, feet-head)."]
    for channel, quantiles in reference["intensity_quantiles"].items():
        lines.append(f"Values of {channel}: half of all lie between {quantiles['0.25']:g} and {quantiles['0.75']:g}, "
                     f"99 % between {quantiles['0.005']:g} and {quantiles['0.995']:g}.")
    lines += [f"{name}: {least:g} to {greatest:g} ml, half of them below {middle:g} ml."
              for name, (least, middle, greatest) in reference["label_ml"].items()]
    return " ".join(lines)
