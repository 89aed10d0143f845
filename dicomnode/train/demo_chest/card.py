"""Writes the scores of the chest demonstration into its bundle: the metadata and the model card."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.train.demo_chest.held_out import Scores

SCORES_BEGIN: Final = "<!-- scores: written by the training script -->"
SCORES_END: Final = "<!-- end of scores -->"


def write_scores(bundle: Path, scores: Scores, *, command: str) -> None:
    """Put the scores into ``configs/metadata.json`` and between the marks of ``docs/README.md``.

    Raises
    ------
    ValueError
        where the model card lacks the two marks.
    """
    metadata_path = bundle / "configs" / "metadata.json"
    metadata = json.loads(metadata_path.read_text(encoding="utf-8"))
    metadata["eval_metrics"] = {f"{name.lower()}_dice": value for name, value in scores.dice.items()}
    metadata_path.write_text(json.dumps(metadata, indent=4, ensure_ascii=False) + "\n", encoding="utf-8")
    card_path = bundle / "docs" / "README.md"
    before, begin, rest = card_path.read_text(encoding="utf-8").partition(SCORES_BEGIN)
    _, end, after = rest.partition(SCORES_END)
    if not begin or not end:
        raise ValueError(f"{card_path} lacks the marks {SCORES_BEGIN!r} and {SCORES_END!r}: put them back")
    card_path.write_text(before + begin + _table(scores, command) + end + after, encoding="utf-8")


def _table(scores: Scores, command: str) -> str:
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in scores.dice.items())
    return (
        f"\n\n| structure | Dice, {scores.phantoms} held-out phantoms |\n|---|---|\n{rows}\n\n"
        f"Lowest Dice of the lungs in one phantom: {scores.lowest_lung_dice:.3f}. "
        f"Nodules found: {scores.found} of {scores.nodules}.\n\nMeasured by `{command}`.\n\n"
    )
