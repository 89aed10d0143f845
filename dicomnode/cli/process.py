"""``dicomnode process``: the same read, infer, encode on a folder, without network or database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.context import Context
from dicomnode.domain.node import TAKES

if TYPE_CHECKING:
    from dicomnode.domain.findings import ModelFindings


@click.command(short_help="Analyse a folder, without a node.")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--model", "names", required=True, multiple=True, help="Name of a model file; several make one result.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the result objects.")
@click.option("--device", help="auto, cpu, cuda or cuda:N; default as configured.")
@click.option("--also", multiple=True, type=click.Choice(TAKES), help="One more kind of object to write; repeatable.")
@click.option("--at", "moment", metavar="TIME", help="Content time of the results, such as 2026-03-01T08:30:00+08:00.")
@click.pass_obj
def process(
    context: Context, *, path: Path, names: tuple[str, ...], out: Path, device: str | None, also: tuple[str, ...],
    moment: str | None,
) -> None:
    """Analyse the DICOM files below PATH and write SEG and SR to --out; several models as one route would.

    A run with the same --at and options gives the same bytes under the same UIDs; any other run has UIDs of its own.
    """
    import sys

    from dicomnode import logs
    from dicomnode.config import load_model
    from dicomnode.run.offline import process_folder

    logs.configure(level="WARNING", human=True, stream=sys.stderr)
    config = context.config
    models = [load_model(name, config) for name in dict.fromkeys(names)]
    for model in (one for one in models if not one.confirmed):
        click.echo(f"note: {model.name} is not confirmed: its inputs, names and codes are guesses", err=True)
    analysis, written = process_folder(path, models, config, out, device=device, also=also, at=_time(moment))
    for line in _lines(analysis.findings):
        click.echo(line)
    for said in dict.fromkeys(said for findings in analysis.findings for said in findings.warnings):
        click.echo(f"warning: {said}")
    for kind, why in analysis.not_made.items():
        click.echo(f"warning: no {kind}: {why}", err=True)
    for said in analysis.notes:
        click.echo(f"note: {said}", err=True)
    for stage, seconds in analysis.seconds.items():
        click.echo(f"{stage}: {seconds:.2f} s")
    for file in written:
        click.echo(str(file))
    if not written:
        named = ", ".join(model.name for model in models)
        click.echo(f"note: nothing was written: [outputs] of {named} allows no object of what was found; set seg or sr "
                   "to true there, or ask for another kind with --also", err=True)


def _lines(findings: Sequence[ModelFindings]) -> Iterator[str]:
    from dicomnode.domain.findings import listed

    for one in findings:
        for organ in one.organs:
            values = ", ".join(f"{m.name.meaning} {m.value:.1f} {m.unit.value}" for m in organ.measurements)
            yield f"{organ.label.name}: {values}"
        for answer in one.classifications:
            yield f"{answer.of.name}: {answer.presence.value}, probability {answer.probability:.2f}"
    for _, found in listed(findings):
        volume = "" if found.volume_ml is None else f", {found.volume_ml:.2f} ml"
        chance = "" if found.probability is None else f", probability {found.probability:.2f}"
        yield f"{found.tracking_id}: {found.diameter_mm:.1f} mm{volume}{chance} {found.side}".rstrip()


def _time(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError as error:
        raise click.BadParameter(
            f"{text!r}: allowed is a time such as 2026-03-01T08:30:00+08:00", param_hint="--at") from error
