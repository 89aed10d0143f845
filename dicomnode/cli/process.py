"""``dicomnode process``: the same read, infer, encode on a folder, without network or database."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.context import Context
from dicomnode.domain.node import TAKES


@click.command(short_help="Analyse a folder, without a node.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--model", "names", required=True, multiple=True, help="Name of a model file; several make one result.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the result objects.")
@click.option("--device", help="auto, cpu, cuda or cuda:N; default as configured.")
@click.option("--also", multiple=True, type=click.Choice(TAKES), help="One more kind of object to write; repeatable.")
@click.pass_obj
def process(
    context: Context, *, path: Path, names: tuple[str, ...], out: Path, device: str | None, also: tuple[str, ...]
) -> None:
    """Analyse the DICOM files below PATH and write SEG and SR to --out; several models as one route would."""
    import sys

    from dicomnode import logs
    from dicomnode.config import load_model
    from dicomnode.domain.findings import listed
    from dicomnode.run.offline import process_folder

    logs.configure(level="WARNING", human=True, stream=sys.stderr)
    config = context.config
    models = [load_model(name, config) for name in dict.fromkeys(names)]
    for model in (one for one in models if not one.confirmed):
        click.echo(f"note: {model.name} is not confirmed: its inputs, names and codes are guesses", err=True)
    analysis, written = process_folder(path, models, config, out, device=device, also=also)
    for findings in analysis.findings:
        for organ in findings.organs:
            values = ", ".join(f"{m.name.meaning} {m.value:.1f} {m.unit.value}" for m in organ.measurements)
            click.echo(f"{organ.label.name}: {values}")
        for one in findings.classifications:
            click.echo(f"{one.of.name}: {one.presence.value}, probability {one.probability:.2f}")
    for _, found in listed(analysis.findings):
        volume = "" if found.volume_ml is None else f", {found.volume_ml:.2f} ml"
        chance = "" if found.probability is None else f", probability {found.probability:.2f}"
        click.echo(f"{found.tracking_id}: {found.diameter_mm:.1f} mm{volume}{chance} {found.side}".rstrip())
    for said in dict.fromkeys(said for findings in analysis.findings for said in findings.warnings):
        click.echo(f"warning: {said}")
    for said in analysis.notes:
        click.echo(f"note: {said}", err=True)
    for stage, seconds in analysis.seconds.items():
        click.echo(f"{stage}: {seconds:.2f} s")
    for file in written:
        click.echo(str(file))
