"""``dicomnode evaluate``: what a model reaches on a data set, as numbers with intervals and as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json, print_rows

if TYPE_CHECKING:
    from dicomnode.train.evaluate.document import Evaluation
    from dicomnode.train.score.case_scores import CaseScores

SHOWN = ("model", "label", "group", "metric", "value", "low", "high", "cases")


@click.command(short_help="Score a model on a data set.")
@click.argument("model", metavar="MODEL")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="The data set.")
@click.option("--split", type=click.Choice(["training", "validation", "test"]), default="test", show_default=True,
              help="Which of its cases.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path),
              help="Folder for evaluation.json and index.html; default MODEL-evaluation.")
@click.option("--compare", metavar="MODEL", help="Another model, scored on the same cases.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the confidence intervals.")
@click.option("--cases", "most", type=click.IntRange(min=1), help="Only so many cases, the first by name.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Of the model; 0 is as many as there are.")
@as_json
@click.pass_obj
def evaluate(context: Context, *, model: str, data: Path, split: str, out: Path | None, compare: str | None, seed: int,
             most: int | None, device: str, threads: int, json_wanted: bool) -> None:
    """Score MODEL on the cases of a data set, run as the node runs it.

    MODEL is the name of a model, a model file, or a bundle with its model file beside it.
    """
    from dicomnode.train.evaluate.run import run_evaluation

    folder, evaluation = run_evaluation(
        [model, *([compare] if compare else [])], lambda: context.config, data, split=split, out=out, seed=seed,
        most=most, device=device, threads=threads, progress=_say)
    _print(evaluation, json_wanted=json_wanted)
    if not json_wanted:
        click.echo(f"\n{folder / 'index.html'}\n{folder / 'evaluation.json'}")


def _say(name: str, done: int, total: int, row: CaseScores) -> None:
    dice = [f"{label} Dice {scores.overlap['dice']:.3f}" for label, scores in row.labels.items() if scores.overlap]
    lesions = [f"{label} {scores.lesions.counts.true_positive:g} of {scores.lesions.reported.found.size} seen, "
               f"{scores.lesions.reported.false.size} false"
               for label, scores in row.labels.items() if scores.lesions is not None]
    classes = [f"{label} {probability:.3f}" for label, probability in row.probabilities.items()]
    what = f"FAILED: {row.failed}" if row.failed else "; ".join((*dice, *lesions, *classes))
    click.echo(f"{name} {done}/{total} {row.case.id} ({row.seconds:.1f} s): {what}", err=True)


def _print(evaluation: Evaluation, *, json_wanted: bool) -> None:
    from dicomnode.train.evaluate.document import difference_rows, score_rows

    rows = score_rows(evaluation)
    if json_wanted:
        print_rows(rows, json_wanted=True, columns=(), empty="")
        return
    overall = [{**row, **{key: _short(row[key]) for key in ("value", "low", "high")}}
               for row in rows if row["key"] == "all"]
    print_rows(overall, json_wanted=False, columns=SHOWN, empty="no score")
    differences = [{**row, **{key: _short(row[key]) for key in ("first", "second", "difference", "low", "high")}}
                   for row in difference_rows(evaluation)]
    if differences:
        click.echo()
        print_rows(differences, json_wanted=False, empty="",
                   columns=("label", "metric", "first", "second", "difference", "low", "high", "verdict"))


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
