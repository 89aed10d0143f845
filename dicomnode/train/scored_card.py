"""Writes what ``dicomnode evaluate`` measured into a bundle and its model card, and pins the bundle anew.

``python -m dicomnode.train.scored_card BUNDLE --evaluation FOLDER --model-file FILE``
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import click

from dicomnode.errors import UnusableDataset
from dicomnode.infer.digest import bundle_digest
from dicomnode.train.publish.model_file import pin

BEGIN: Final = "<!-- held-out cases: written by dicomnode.train.scored_card -->"
END: Final = "<!-- end of held-out cases -->"
BEFORE: Final = "## Limitations"
SHOWN: Final = (
    "dice", "dice_pooled", "hd95_mm", "volume_error_percent", "lesion_recall", "lesion_precision", "false_per_scan",
    "cpm", "sensitivity_at_1", "map_10_50",
)
"""Metrics that the card shows; the others stand in docs/metrics.json."""
BY_SPACING: Final = ("dice", "dice_pooled", "sensitivity_at_1")
BY_SIZE: Final = ("lesion_recall", "sensitivity_at_1")
LARGE_MM: Final = 6.0


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--evaluation", type=click.Path(exists=True, file_okay=False, path_type=Path), required=True,
              help="The folder that `dicomnode evaluate` wrote.")
@click.option("--model-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=True,
              help="Gets the bundle's new digest.")
@click.option("--remarks", type=click.Path(dir_okay=False, path_type=Path), help="Markdown to add, if the file exists.")
def main(bundle: Path, evaluation: Path, model_file: Path, remarks: Path | None) -> None:
    """Put the scores of an evaluation into BUNDLE, and its new digest into the model file."""
    found = json.loads((evaluation / "evaluation.json").read_text(encoding="utf-8"))
    text = remarks.read_text(encoding="utf-8") if remarks is not None and remarks.is_file() else ""
    write_held_out(bundle, found, text)
    digest = bundle_digest(bundle)
    pin(model_file, digest)
    click.echo(f"{bundle}: {digest}")


def write_held_out(bundle: Path, evaluation: Mapping[str, Any], remarks: str = "") -> None:
    """Put the overall scores into ``docs/metrics.json`` and a table of them into ``docs/README.md``.

    Parameters
    ----------
    evaluation : ``evaluation.json`` of one model.
    remarks : Markdown that follows the table.

    Raises
    ------
    UnusableDataset
        If other bytes than this bundle's weights were evaluated: the bundle's name is not the evaluation's.
    """
    model = evaluation["models"][0]
    if model["bundle"] != bundle.name:
        raise UnusableDataset(f"the evaluation is of the bundle {model['bundle']}, not of {bundle.name}")
    metrics_path, card_path = bundle / "docs" / "metrics.json", bundle / "docs" / "README.md"
    metrics = json.loads(metrics_path.read_text(encoding="utf-8"))
    metrics["test"] = {"dataset": evaluation["dataset"], "bootstrap": evaluation["bootstrap"],
                       "scores": evaluation["scores"]}
    metrics_path.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    card = card_path.read_text(encoding="utf-8")
    card_path.write_text(_inserted(card, held_out_section(evaluation, remarks)), encoding="utf-8")


def held_out_section(evaluation: Mapping[str, Any], remarks: str = "") -> str:
    """Markdown: the scores over all held-out cases, by the distance of slices, and by the size of lesions."""
    data = evaluation["dataset"]
    overall = [row for row in evaluation["scores"] if row["key"] == "all" and row["metric"] in SHOWN]
    spacing = [row for row in evaluation["scores"] if row["key"] == "slice_mm" and row["metric"] in BY_SPACING]
    sizes = [row for row in evaluation["scores"] if row["key"] == "diameter" and row["metric"] in BY_SIZE]
    opening = (
        f"{data['cases']} {data['split']} cases of `{data['name']}` (digest `{data['digest']}`), run as the node runs "
        "them, on the grid of the source; in brackets the 95 % interval by bootstrap over cases. All scores stand in "
        "`docs/metrics.json`.")
    parts = ["## On held-out cases", opening, _table(overall, group="all"), *_extra(evaluation),
             _table(spacing, group="slices"), _table(sizes, group="size"), remarks.strip()]
    return "\n\n".join(part for part in parts if part)


def sensitivity_to_large(evaluation: Mapping[str, Any], label: str, *, least_mm: float = LARGE_MM) -> float | None:
    """Share of the findings of at least ``least_mm`` that are seen at one false mark per scan; None without any."""
    curve = next((one for one in evaluation["froc"] if one["label"] == label), None)
    sizes = [(true["diameter_mm"], true["best_score"]) for case in evaluation["cases"]
             for true in case["lesions"].get(label, {}).get("true", ()) if true["diameter_mm"] >= least_mm]
    if curve is None or not sizes:
        return None
    points = zip(curve["curve"]["false_per_scan"], curve["curve"]["score"], strict=True)
    floor = min((score for false, score in points if false <= 1.0 and score is not None), default=1.0)
    return float(sum(score is not None and score >= floor for _, score in sizes) / len(sizes))


def _extra(evaluation: Mapping[str, Any]) -> Iterable[str]:
    for label in evaluation["models"][0]["labels"]:
        large = sensitivity_to_large(evaluation, label)
        if large is not None:
            yield f"{label}: {large:.3f} of those of {LARGE_MM:g} mm or more are seen at one false mark per scan."


def _table(rows: Iterable[Mapping[str, Any]], *, group: str) -> str:
    lines = [f"| {row['label']} | {row['group']} | {row['metric']} | {_number(row)} |" for row in rows]
    return "\n".join([f"| label | {group} | metric | value |", "|---|---|---|---|", *lines]) if lines else ""


def _number(row: Mapping[str, Any]) -> str:
    if row["value"] is None:
        return "–"
    if row["low"] is None or row["high"] is None:
        return f"{row['value']:.3f}"
    return f"{row['value']:.3f} ({row['low']:.3f} to {row['high']:.3f})"


def _inserted(card: str, section: str) -> str:
    """The card with the section before its limitations, in place of an earlier one."""
    before, begin, rest = card.partition(BEGIN)
    if begin:
        card = before + rest.partition(END)[2].lstrip("\n")
    block = f"{BEGIN}\n\n{section}\n\n{END}\n\n"
    head, limits, tail = card.partition(BEFORE)
    return head + block + limits + tail


if __name__ == "__main__":
    main()
