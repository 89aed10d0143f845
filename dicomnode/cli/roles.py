"""The node's processes: the whole node, or one role for systemd, Compose and Kubernetes."""

from __future__ import annotations

import os
from threading import Event
from typing import TYPE_CHECKING

import click

from dicomnode import logs
from dicomnode.cli.context import Context

if TYPE_CHECKING:
    from dicomnode.run.pulse import Pulse


def _begin(context: Context) -> Event:
    from dicomnode.run.loop import die_with_parent, stop_on_signals

    logs.configure(level=context.config.log.level)
    parent = os.environ.get("DICOMNODE_PARENT")
    if parent:
        die_with_parent(int(parent))
    return stop_on_signals()


def _pulse(role: str) -> Pulse:
    """Show that this process lives, before anything heavy is imported."""
    from dicomnode.run.pulse import Pulse

    return Pulse.of_this_process(role)


def _without_decoders() -> None:
    from dicomnode.run.undecoded import shut_out_decoders

    shut_out_decoders()


@click.command(short_help="Run the whole node, supervised.")
@click.pass_obj
def serve(context: Context) -> None:
    """Run the whole node: receivers, keeper, workers, senders and status page, supervised."""
    from dicomnode.run import supervisor
    from dicomnode.run.auditing import activity

    stop = _begin(context)
    if context.config.node.migrate:
        from dicomnode.ledger.engine import Ledger

        Ledger(context.config.database_url).upgrade()
    _ = context.ledger, context.models
    context.ledger.dispose()
    with activity(context.config, "serve"):
        supervisor.run(context.config, stop)


@click.command(short_help="Accept associations and put images on disk.")
@click.pass_obj
def receive(context: Context) -> None:
    """Accept associations and put images on disk; needs no database."""
    _pulse("receiver")
    _without_decoders()
    from dicomnode.run import receiver
    from dicomnode.run.auditing import activity

    stop = _begin(context)
    with activity(context.config, "receive"):
        receiver.run(context.config, stop)


@click.command(short_help="Index, match complete studies, rescue, clean up.")
@click.pass_obj
def keep(context: Context) -> None:
    """Index what arrived, match complete studies, rescue dropped work, clean up."""
    pulse = _pulse("keeper")
    _without_decoders()
    from dicomnode.run import keeper
    from dicomnode.run.auditing import activity

    stop = _begin(context)
    with activity(context.config, "keep"):
        keeper.run(context.config, context.ledger, context.models, stop, pulse)


@click.command()
@click.pass_obj
def work(context: Context) -> None:
    """Analyse studies: one job at a time, the models warm."""
    pulse = _pulse("worker")
    from dicomnode.run import worker
    from dicomnode.run.auditing import activity

    stop = _begin(context)
    with activity(context.config, "work"):
        worker.run(context.config, context.ledger, [model for model, _ in context.models.values()], stop, pulse)


@click.command()
@click.pass_obj
def deliver(context: Context) -> None:
    """Send results to their peers."""
    pulse = _pulse("sender")
    from dicomnode.run import sender
    from dicomnode.run.auditing import activity

    stop = _begin(context)
    with activity(context.config, "deliver"):
        sender.run(context.config, context.ledger, stop, pulse)


@click.command(short_help="Serve the status page and the metrics endpoint.")
@click.pass_obj
def web(context: Context) -> None:
    """Serve the status page and the metrics endpoint; reads the ledger, writes nothing."""
    _pulse("web")
    from dicomnode.ledger.engine import Ledger
    from dicomnode.run.auditing import activity
    from dicomnode.web import app

    stop = _begin(context)
    with activity(context.config, "web"):
        app.run(context.config, Ledger(context.config.database_url), stop)
