"""``dicomnode train``: from a data set and a recipe to a bundle that the node runs."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Train a network from a data set, and write a bundle.")
@click.argument("recipe", required=False)
@click.option("--data", type=click.Path(path_type=Path), help="A data set, as `dicomnode dataset build` makes it.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the bundle; OUT.run beside it keeps the rest.")
@click.option("--model-file", type=click.Path(path_type=Path), help="Where the model file goes. [default: OUT.toml]")
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change the recipe: --set steps=20.")
@click.option("--resume", is_flag=True, help="Go on with the training in OUT.run.")
@click.option("--replace", is_flag=True, help="Drop the training in OUT.run, and the bundle at OUT.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=1), help="For computing, in each process. [default: all cores]")
@click.option("--workers", type=click.IntRange(min=0), default=1, show_default=True,
              help="Processes that draw samples ahead; they change no result.")
@click.option("--list", "list_wanted", is_flag=True, help="List the shipped recipes.")
def train(
    recipe: str | None, *, data: Path | None, out: Path | None, model_file: Path | None, changes: tuple[str, ...],
    resume: bool, replace: bool, device: str, threads: int | None, workers: int, list_wanted: bool,
) -> None:
    """Train as RECIPE says, and end with a bundle and its model file.

    RECIPE is the name of a shipped recipe or the path of a YAML file. On several GPUs:
    torchrun --nproc-per-node N -m dicomnode train ...
    """
    from dicomnode.train.fit.recipe import read_recipe

    if list_wanted:
        _list_recipes()
        return
    if recipe is None or data is None or out is None:
        raise click.UsageError("RECIPE, --data and --out are needed (or --list)")
    from dicomnode.train.fit.order import Order
    from dicomnode.train.fit.training import train

    order = Order(data=data, out=out, model_file=model_file or out.with_name(f"{out.name}.toml"), resume=resume,
                  replace=replace, device=device, threads=threads, workers=workers)
    trained = train(read_recipe(recipe, changes), order)
    if trained.digest:
        for name, value in trained.scores.items():
            click.echo(f"{name}: {value:.4f}")
        click.echo(f"{out}: {trained.digest}")
        click.echo(f"{order.model_file}: the model file; {order.folder}: curves, pictures, checkpoints")


def _list_recipes() -> None:
    from dicomnode.train.fit.recipe import read_recipe, shipped_recipes

    for name in shipped_recipes():
        settings = read_recipe(name).settings
        click.echo(f"{name}: {settings.task}. {settings.description}")
