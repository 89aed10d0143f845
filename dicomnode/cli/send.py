"""``dicomnode send``: C-STORE a folder to a configured peer."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.context import Context


@click.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--to", "peer", required=True, help="Name of a peer in the configuration.")
@click.pass_obj
def send(context: Context, *, path: Path, peer: str) -> None:
    """Send every DICOM file below PATH to a peer.

    What is no DICOM instance is skipped, and said with its reason on stderr.
    """
    from dicomnode.deliver.scu import send_files
    from dicomnode.errors import UnusableInput
    from dicomnode.run.protection import for_calls

    config = context.config
    if peer not in config.peers:
        raise click.UsageError(f"--to {peer}: known peers are {', '.join(config.peers) or 'none'}")
    paths = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
    skipped: list[Path] = []

    def skip(file: Path, reason: str) -> None:
        skipped.append(file)
        click.echo(f"skipped {reason}", err=True)

    sent = send_files(
        node_ae_title=config.node.ae_title,
        peer=config.peers[peer],
        paths=paths,
        timeout_s=config.delivery.timeout_s,
        progress=None,
        skipped=skip,
        tls=for_calls(config.tls),
    )
    if not sent:
        raise UnusableInput(f"{path}: holds no DICOM instance; nothing was sent to {peer}")
    click.echo(f"sent {sent} of {len(paths)} files to {peer}" + (f", skipped {len(skipped)}" if skipped else ""))
