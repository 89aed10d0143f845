"""``dicomnode models validate``: what the fast paths of a model change, on a data set."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json, print_rows

SHOWN = ("fast_path", "dice_between", "dice_lost", "cases")


@click.command()
@click.argument("name", metavar="MODEL")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="The data set.")
@click.option("--split", type=click.Choice(["training", "validation", "test"]), default="validation", show_default=True,
              help="Which of its cases.")
@click.option("--cases", "most", type=click.IntRange(min=1), help="Only so many cases, the first by name.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=0), default=0, help="Of the model; 0 is as many as there are.")
@click.option("--write", "model_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Write the result into this model file as [runtime.validated].")
@as_json
@click.pass_obj
def validate(context: Context, *, name: str, data: Path, split: str, most: int | None, device: str, threads: int,
             model_file: Path | None, json_wanted: bool) -> None:
    """Run MODEL on the cases of a data set with and without its fast paths, and say what they change.

    MODEL is the name of a model, a model file, or a bundle with its model file beside it.
    """
    from dicomnode.infer.pool import Pool
    from dicomnode.train.dataset.reader import read_dataset
    from dicomnode.train.evaluate.model import model_of
    from dicomnode.train.publish.fast_paths import WARM, validate_fast_paths, with_validated
    from dicomnode.train.score.case_image import read_case

    model, folder = model_of(name, lambda: context.config)
    dataset = read_dataset(data)
    cases = getattr(dataset, split)[:most]
    with Pool(folder, device=device, threads=threads, warm=WARM) as pool:
        seen = validate_fast_paths(model, (read_case(case, dataset, model) for case in cases), pool,
                                   tell=lambda case, path: click.echo(f"{case}: {path}", err=True))
    rows = [{"fast_path": path, **asdict(one)} for path, one in seen.items()]
    if not json_wanted:
        rows = [{**row, **{key: f"{row[key]:.4f}" for key in ("dice_between", "dice_lost")}} for row in rows]
    print_rows(rows, json_wanted=json_wanted, columns=SHOWN, empty=f"model {model.name} uses no fast path")
    if model_file is not None:
        text = model_file.read_text(encoding="utf-8")
        model_file.write_text(with_validated(text, seen), encoding="utf-8")
        click.echo(f"written into {model_file}", err=True)
