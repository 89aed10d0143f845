"""``dicomnode models``: what is there, what it needs, whether it is unchanged."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json, print_rows
from dicomnode.errors import EXIT_CONFIG, DicomNodeError


@click.group()
def models() -> None:
    """Look after model files and bundles."""


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
                "labels": [x.name for x in model.labels],
                "intended_use": model.intended_use,
                "bundle": model.bundle,
                "digest": model.digest,
            }
        )
    print_rows(
        rows,
        json_wanted=json_wanted,
        columns=("name", "task", "version", "labels", "intended_use"),
        empty=f"no model file in {context.config.config_dir / 'models'}",
    )


@models.command()
@click.argument("name")
@click.pass_obj
def show(context: Context, *, name: str) -> None:
    """Print one model: task, inputs, labels, limits, self-test."""
    from dicomnode.config import load_model

    model = load_model(name, context.config)
    click.echo(
        f"{model.name} {model.version} ({model.task})\n{model.intended_use}\nbundle {model.bundle}, {model.digest}"
    )
    for role in model.inputs:
        click.echo(f"input {role.role}: {role.modality}, {role.orientation}, slices {role.slices}")
    for label in model.labels:
        click.echo(
            f"label {label.value} {label.name}: {label.type}{', searched for as lesions' if label.lesion else ''}"
        )
    for keyword, allowed in model.limits.when.items():
        click.echo(f"only {keyword} {' or '.join(allowed)}")
    click.echo(f"only patients of {model.limits.age_years} years")
    if model.self_test:
        click.echo(f"self-test: {model.self_test.phantom} phantom, Dice {dict(model.self_test.dice_at_least)}")


@models.command()
@click.argument("names", nargs=-1)
@click.pass_obj
def verify(context: Context, *, names: tuple[str, ...]) -> None:
    """Compare each bundle's bytes with the pinned digest."""
    from dicomnode.config import load_model
    from dicomnode.infer.pool import Pool

    config = context.config
    pool = Pool(config.node.models_dir, device="cpu", threads=1, warm=1)
    failed = False
    for name in names or _names(context):
        try:
            pool.verify(load_model(name, config))
            click.echo(f"ok    {name}")
        except DicomNodeError as error:
            failed = True
            click.echo(f"FAIL  {name}: {error.reason}")
    pool.close()
    if failed:
        raise SystemExit(EXIT_CONFIG)


@models.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
def digest(bundle: Path) -> None:
    """Print the digest of a bundle folder, as a model file pins it."""
    from dicomnode.infer.digest import bundle_digest

    click.echo(bundle_digest(bundle))
