"""``dicomnode demo``: the guided tour."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(short_help="Show a node at work on this machine: the guided tour.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("demo-out"),
    show_default=True,
    help="Folder for the results, the montage and the node's data.",
)
@click.option(
    "--study", type=click.Path(exists=True, path_type=Path), help="A folder of DICOM files in place of the phantom."
)
@click.option("--pacs", metavar="HOST:PORT:AET", help="Send the results to this PACS too.")
def demo(*, out: Path, study: Path | None, pacs: str | None) -> None:
    """Start a node and a PACS on this machine, send a chest CT, and show what comes back."""
    from dicomnode.demo.tour import run

    raise SystemExit(run(out=out, study=study, pacs=pacs))
