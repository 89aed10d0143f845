"""The commands. Each imports what it needs when it runs; none decides anything."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from dicomnode import __version__
from dicomnode.cli.context import CONFIG_DEFAULT, Context
from dicomnode.errors import DicomNodeError

COMMANDS = {
    "serve": "roles",
    "receive": "roles",
    "keep": "roles",
    "work": "roles",
    "deliver": "roles",
    "web": "roles",
    "check": "check",
    "process": "process",
    "send": "send",
    "status": "look",
    "studies": "look",
    "study": "look",
    "jobs": "look",
    "deliveries": "look",
    "explain": "explain",
    "requeue": "act",
    "prioritise": "act",
    "cancel": "act",
    "db": "act",
    "models": "models",
    "dataset": "dataset",
    "train": "train",
    "evaluate": "evaluate",
    "conformance": "conformance",
    "demo": "tour",
}
"""Command → module of this package that holds it: only the module of the called command is imported."""


WITHOUT_CONFIG = frozenset({"demo", "train"})
"""Commands that bring a configuration of their own."""


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return every command, in the order of the table."""
        _ = ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        _ = ctx
        if cmd_name not in COMMANDS:
            return None
        module = __import__(f"dicomnode.cli.{COMMANDS[cmd_name]}", fromlist=[cmd_name])
        command: click.Command = getattr(module, cmd_name)
        if cmd_name not in WITHOUT_CONFIG:
            _take_config(command)
        return command


def _take_config(command: click.Command) -> None:
    """Let ``--config`` stand behind the command too, where most people write it; once, however often it is got."""
    if not any(option.name == "own_config" for option in command.params):
        command.params.append(click.Option(
            ["--config", "own_config"], type=click.Path(path_type=Path), expose_value=False, callback=_use,
            help="The node's configuration file, as before the command."))
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        _take_config(below)


def _use(ctx: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
    if value is not None:
        ctx.obj = Context(value)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    envvar="DICOMNODE_CONFIG",
    default=CONFIG_DEFAULT,
    show_default=True,
    help="The node's configuration file.",
)
@click.version_option(__version__, prog_name="dicomnode")
@click.pass_context
def cli(ctx: click.Context, config_path: Path) -> None:
    """Run a PACS-integrated AI node: CT and MR in by C-STORE, DICOM SEG and SR back.

    It segments, measures and points; it never diagnoses.
    """
    ctx.obj = Context(config_path)


def main() -> None:
    """Run a command; an error of ours ends as one message and its exit code."""
    try:
        cli.main(prog_name="dicomnode", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except DicomNodeError as error:
        click.echo(f"dicomnode: {error.reason}", err=True)
        sys.exit(error.exit_code)
