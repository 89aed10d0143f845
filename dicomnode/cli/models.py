"""``dicomnode models``: what is there, what it needs, whether it is unchanged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.context import Context
from dicomnode.cli.models_validate import validate
from dicomnode.cli.table import as_json, print_rows
from dicomnode.errors import DicomNodeError

if TYPE_CHECKING:
    from dicomnode.domain.model import ModelFile
    from dicomnode.infer.pool import Pool


@click.group()
def models() -> None:
    """Look after model files and bundles."""


models.add_command(validate)


def _names(context: Context) -> list[str]:
    folders = (context.config.config_dir / "models", context.config.node.models_dir)
    return sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.toml")})


@models.command(name="list")
@as_json
@click.pass_obj
def list_models(context: Context, *, json_wanted: bool) -> None:
    """List the model files."""
    from dicomnode.config import load_model

    rows = []
    for name in _names(context):
        model = load_model(name, context.config)
        rows.append(
            {
                "name": name,
                "task": model.task,
                "version": model.version,
                "labels": [*(label.name for label in model.labels), *(one.name for one in model.classes)],
                "confirmed": model.confirmed,
                "intended_use": model.intended_use,
                "bundle": model.bundle,
                "digest": model.digest,
            }
        )
    print_rows(
        rows,
        json_wanted=json_wanted,
        columns=("name", "task", "version", "confirmed", "labels", "intended_use"),
        empty=f"no model file in {context.config.config_dir / 'models'}",
    )


@models.command()
@click.argument("source", type=click.Path(exists=True, path_type=Path), metavar="PATH")
@click.option("--name", default="", help="What to call the model; by default as the bundle is called.")
@click.option("--trust", type=click.Choice(["pieces", "code"]), default=None,
              help="'code' lets the bundle run code of its own, in the sandbox; by default such a bundle is refused.")
@click.option("--model-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A model file that goes with it; by default PATH.toml where there is one, else one is written.")
@click.option("--digest", "pinned", default="", help="The digest that the bundle must have.")
@click.option("--replace", is_flag=True, help="Put it in the place of the model of that name, keeping its model file.")
@click.option("--no-load", is_flag=True, help="Do not try whether it loads.")
@click.pass_obj
def add(context: Context, *, source: Path, name: str, trust: str | None, model_file: Path | None, pinned: str,
        replace: bool, no_load: bool) -> None:
    """Take in a bundle: a folder, or a zip."""
    from dicomnode.adopt.add import Wish
    from dicomnode.adopt.add import add as take_in
    from dicomnode.cli.model_view import added_lines

    wish = Wish(name=name, trust=trust or "", digest=pinned, model_file=model_file, replace=replace, load=not no_load)
    for line in added_lines(take_in(source, context.config, wish)):
        click.echo(line)


@models.command()
@click.argument("source")
@click.option("--name", default="", help="What to call the model; by default as the bundle is called.")
@click.option("--trust", type=click.Choice(["pieces", "code"]), default=None,
              help="'code' lets the bundle run code of its own, in the sandbox; by default such a bundle is refused.")
@click.option("--sha256", default="", help="The sha256 that the zip must have.")
@click.option("--digest", "pinned", default="", help="The digest that the bundle must have.")
@click.option("--mirror", default="", help="A URL below which the hub's own paths are, in place of the hub.")
@click.option("--token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="A file with the token that the hub wants.")
@click.option("--replace", is_flag=True, help="Put it in the place of the model of that name, keeping its model file.")
@click.option("--no-load", is_flag=True, help="Do not try whether it loads.")
@click.pass_obj
def pull(context: Context, *, source: str, name: str, trust: str | None, sha256: str, pinned: str, mirror: str,
         token_file: Path | None, replace: bool, no_load: bool) -> None:
    """Fetch a bundle from a hub, a mirror or a URL, and add it.

    SOURCE is monai:NAME[@VERSION], ngc:NAME[@VERSION], hf:ORGANISATION/REPOSITORY[@REVISION], or the URL of a zip.
    """
    from dicomnode.adopt.add import Wish
    from dicomnode.adopt.fetch import Fetcher
    from dicomnode.adopt.pull import Origin
    from dicomnode.adopt.pull import pull as fetch
    from dicomnode.cli.model_view import added_lines

    token = token_file.read_text(encoding="utf-8").strip() if token_file else ""
    origin = Origin(source=source, sha256=sha256, fetcher=Fetcher(mirror=mirror, token=token),
                    tell=lambda url: click.echo(f"fetch    {url}"))
    wish = Wish(name=name, trust=trust or "", digest=pinned, replace=replace, load=not no_load)
    for line in added_lines(fetch(origin, context.config, wish)):
        click.echo(line)


@models.command()
@click.argument("name")
@as_json
@click.pass_obj
def show(context: Context, *, name: str, json_wanted: bool) -> None:
    """Print one model: task, inputs, labels with codes, limits, runtime, self-test, and what its makers say."""
    from dicomnode.cli.model_view import describe, lines
    from dicomnode.config import load_model

    model = load_model(name, context.config)
    bundle = context.config.node.models_dir / model.bundle
    if json_wanted:
        print_rows([describe(model, bundle)], json_wanted=True, columns=(), empty="")
        return
    for line in lines(model, bundle):
        click.echo(line)


@models.command()
@click.argument("names", nargs=-1)
@click.option("--load", is_flag=True, help="Also load each in the sandbox, as the worker does.")
@click.option("--self-test", is_flag=True, help="Also run each on its phantom.")
@click.pass_obj
def verify(context: Context, *, names: tuple[str, ...], load: bool, self_test: bool) -> None:
    """Compare each bundle's bytes with the pinned digest."""
    from dicomnode.config import load_model
    from dicomnode.infer.pool import Pool

    config = context.config
    exit_code = 0
    with Pool(config.node.models_dir, device=config.worker.device, threads=config.worker.threads, warm=1) as pool:
        for name in names or _names(context):
            try:
                click.echo(f"ok    {name}{_verified(pool, load_model(name, config), load=load, self_test=self_test)}")
            except DicomNodeError as error:
                exit_code = exit_code or error.exit_code
                click.echo(f"FAIL  {name}: {error.reason}")
    if exit_code:
        raise SystemExit(exit_code)


def _verified(pool: Pool, model: ModelFile, *, load: bool, self_test: bool) -> str:
    from dicomnode.run.selftest import self_test as run_self_test

    pool.verify(model)
    said = "" if model.confirmed else "  not confirmed"
    if load or self_test:
        said += f"  loaded in {pool.prepare(model):.1f} s"
    if self_test:
        scores = run_self_test(model, pool)
        said += "  " + (", ".join(f"{key} {score:.3f}" for key, score in scores.items()) or "has no self-test")
    return said


@models.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
def digest(bundle: Path) -> None:
    """Print the digest of a bundle folder, as a model file pins it."""
    from dicomnode.infer.digest import bundle_digest

    click.echo(bundle_digest(bundle))
