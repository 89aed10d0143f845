"""What an evaluation measured stands in the bundle's card and metrics, once, and the bundle is pinned anew."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from dicomnode.errors import UnusableDataset
from dicomnode.infer.digest import bundle_digest
from dicomnode.train.scored_card import main, sensitivity_to_large, write_held_out

if TYPE_CHECKING:
    from pathlib import Path

CARD = "# A model\n\nText.\n\n## Limitations\n\nMany.\n"


def evaluation(bundle: str = "small", dice: float = 0.9) -> dict[str, Any]:
    row = {"model": "m", "label": "Nodule", "cases": 2, "low": 0.8, "high": 0.95}
    return {
        "dataset": {"name": "set", "digest": "sha256:ab", "task": "detection", "split": "test", "cases": 2},
        "bootstrap": {"draws": 10, "seed": 0, "level": 0.95},
        "models": [{"name": "m", "bundle": bundle, "labels": ["Nodule"]}],
        "scores": [{**row, "key": "all", "group": "all", "metric": "dice", "value": dice},
                   {**row, "key": "all", "group": "all", "metric": "specificity", "value": 1.0},
                   {**row, "key": "slice_mm", "group": "up to 1.5 mm", "metric": "dice", "value": None}],
        "froc": [{"label": "Nodule", "curve": {"false_per_scan": [0.0, 0.5, 1.0, 1.5], "sensitivity": [0, 0.2, 0.5, 1],
                                               "score": [None, 0.9, 0.6, 0.3]}}],
        "cases": [{"lesions": {"Nodule": {"true": [
            {"diameter_mm": 5.0, "best_score": None}, {"diameter_mm": 6.0, "best_score": 0.6},
            {"diameter_mm": 9.0, "best_score": 0.4}, {"diameter_mm": 12.0, "best_score": 0.99}]}}}],
    }


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    (folder / "docs").mkdir(parents=True)
    (folder / "docs" / "README.md").write_text(CARD, encoding="utf-8")
    (folder / "docs" / "metrics.json").write_text('{"validation": {"cpm": 0.5}}', encoding="utf-8")
    return folder


def card_of(bundle: Path) -> str:
    return (bundle / "docs" / "README.md").read_text(encoding="utf-8")


def test_the_scores_stand_before_the_limitations(bundle: Path) -> None:
    write_held_out(bundle, evaluation(), "On a real scan: nothing.")

    card = card_of(bundle)
    assert card.index("| Nodule | all | dice | 0.900 (0.800 to 0.950) |") < card.index("## Limitations")
    assert "| Nodule | up to 1.5 mm | dice | – |" in card
    assert "specificity" not in card
    assert "On a real scan: nothing." in card


def test_a_second_evaluation_replaces_the_first(bundle: Path) -> None:
    write_held_out(bundle, evaluation(dice=0.4))
    write_held_out(bundle, evaluation(dice=0.7))

    assert "0.400" not in card_of(bundle)
    assert card_of(bundle).count("## On held-out cases") == 1
    assert card_of(bundle).endswith("## Limitations\n\nMany.\n")


def test_the_metrics_keep_the_validation_and_gain_the_test(bundle: Path) -> None:
    write_held_out(bundle, evaluation())

    metrics = json.loads((bundle / "docs" / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation"] == {"cpm": 0.5}
    assert metrics["test"]["dataset"]["digest"] == "sha256:ab"


def test_large_findings_are_counted_at_one_false_mark_per_scan() -> None:
    assert sensitivity_to_large(evaluation(), "Nodule") == pytest.approx(2 / 3)
    assert sensitivity_to_large(evaluation(), "Nodule", least_mm=11.0) == 1.0
    assert sensitivity_to_large(evaluation(), "Other") is None


def test_an_evaluation_of_another_bundle_is_refused(bundle: Path) -> None:
    with pytest.raises(UnusableDataset, match="of the bundle other, not of small"):
        write_held_out(bundle, evaluation("other"))


def test_the_model_file_gets_the_new_digest(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(evaluation()), encoding="utf-8")
    model_file = tmp_path / "small.toml"
    model_file.write_text('name = "small"\ndigest = "sha256:0"\n', encoding="utf-8")

    done = CliRunner().invoke(main, [str(bundle), "--evaluation", str(tmp_path / "evaluation"),
                                     "--model-file", str(model_file)])

    assert done.exit_code == 0, done.output
    assert f'digest = "{bundle_digest(bundle)}"' in model_file.read_text(encoding="utf-8")
