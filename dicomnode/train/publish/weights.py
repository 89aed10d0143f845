"""Writes what a training made into a bundle: the weights, the scores in the metadata and in the model card."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final

import torch

if TYPE_CHECKING:
    from pathlib import Path

    from dicomnode.train.demo_chest.held_out import Scores

SCORES_BEGIN: Final = "<!-- scores: written by the training script -->"
_DIGEST_LINE: Final = re.compile(r'^digest = "[^"\n]*"', re.MULTILINE)
SCORES_END: Final = "<!-- end of scores -->"


def save_weights(network: torch.nn.Module, path: Path) -> int:
    """Store the weights as ``stored_weights`` gives them; return the file's size in bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(stored_weights(network), path)
    return path.stat().st_size


def stored_weights(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Every weight as float16 on the CPU, each tensor once.

    Notes
    -----
    DynUNet names each tensor twice in its state dict. Names that share a tensor keep sharing it here, so the file
    holds it once; ``load_state_dict`` widens to float32 as it copies. Integer counters stay as they are, and so does
    a tensor with a value that float16 cannot hold.
    """
    stored: dict[tuple[int, torch.Size], torch.Tensor] = {}
    state: dict[str, torch.Tensor] = {}
    for name, tensor in network.state_dict().items():
        key = (tensor.data_ptr(), tensor.shape)
        if key not in stored:
            stored[key] = _halved(tensor)
        state[name] = stored[key]
    return state


def _halved(tensor: torch.Tensor) -> torch.Tensor:
    half = tensor.detach().cpu().half() if tensor.is_floating_point() else tensor.detach().cpu().clone()
    fits = not tensor.is_floating_point() or bool(torch.isfinite(half).all())
    return half.contiguous() if fits else tensor.detach().cpu().clone()


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


def _table(scores: Scores, command: str) -> str:
    rows = "\n".join(f"| {name} | {value:.3f} |" for name, value in scores.dice.items())
    return (
        f"\n\n| structure | Dice, {scores.phantoms} held-out phantoms |\n|---|---|\n{rows}\n\n"
        f"Lowest Dice of the lungs in one phantom: {scores.lowest_lung_dice:.3f}. "
        f"Nodules found: {scores.found} of {scores.nodules}.\n\nMeasured by `{command}`.\n\n"
    )
