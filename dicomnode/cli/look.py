"""Look, change nothing: what is, what is stuck, for how long, and why."""

from __future__ import annotations

import json
import sys

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json, plain, print_rows
from dicomnode.domain.work import State

limit = click.option("--limit", default=50, show_default=True, help="Rows at most, newest first.")
state = click.option("--state", type=click.Choice([s.value for s in State]), help="Only work in this state.")


@click.command(short_help="Say whether the node lives, what is stuck, what to do.")
@click.option("--probe", is_flag=True, help="Print one word and exit 0 (healthy), 1 (degraded) or 3 (down).")
@as_json
@click.pass_obj
def status(context: Context, *, probe: bool, json_wanted: bool) -> None:
    """Say in one screen whether the node lives, what waits, what is stuck, why, and what to do."""
    from dicomnode.cli.state import state_of_node

    found = state_of_node(context)
    if probe:
        click.echo(found.health)
        sys.exit(found.exit_code)
    if json_wanted:
        click.echo(json.dumps([found.row], default=plain, ensure_ascii=False, indent=2))
    else:
        click.echo(found.text)


@click.command()
@limit
@as_json
@click.pass_obj
def studies(context: Context, *, limit: int, json_wanted: bool) -> None:
    """List studies, newest first, with their outcome."""
    from dicomnode.ledger import census

    with context.ledger.read() as connection:
        rows = census.studies(connection, limit=limit)
    print_rows(
        rows,
        json_wanted=json_wanted,
        empty="no study has arrived yet",
        columns=("study_uid", "instances", "last_arrival_at", "outcome"),
    )


@click.command(short_help="Print one study's timeline.")
@click.argument("uid")
@as_json
@click.pass_obj
def study(context: Context, *, uid: str, json_wanted: bool) -> None:
    """Print one study's timeline: everything that happened to it, in order."""
    from dicomnode.ledger import census

    with context.ledger.read() as connection:
        about = census.study(connection, uid)
        rows = census.story(connection, uid)
    if not about:
        raise click.ClickException(f"study {uid} is not known here; `dicomnode studies` lists those that are")
    if not json_wanted:
        click.echo(f"study {uid}\n{about['instances']} instances, {about['outcome']}\n")
    print_rows(rows, json_wanted=json_wanted, columns=("at", "kind", "text"), empty="nothing happened yet")


@click.command()
@state
@limit
@as_json
@click.pass_obj
def jobs(context: Context, *, state: str | None, limit: int, json_wanted: bool) -> None:
    """List jobs, newest first."""
    from dicomnode.ledger import census

    with context.ledger.read() as connection:
        rows = census.jobs(connection, state=state, limit=limit)
    print_rows(
        rows,
        json_wanted=json_wanted,
        empty="no jobs",
        columns=("job_id", "kind", "route", "state", "attempt", "run_after", "study_uid", "reason"),
    )


@click.command()
@state
@click.option("--peer", help="Only deliveries to this peer.")
@limit
@as_json
@click.pass_obj
def deliveries(context: Context, *, state: str | None, peer: str | None, limit: int, json_wanted: bool) -> None:
    """List deliveries, newest first."""
    from dicomnode.ledger import census

    with context.ledger.read() as connection:
        rows = census.deliveries(connection, state=state, peer=peer, limit=limit)
    print_rows(
        rows,
        json_wanted=json_wanted,
        empty="no deliveries",
        columns=("delivery_id", "job_id", "peer", "state", "sent", "not_taken", "attempt", "run_after", "study_uid",
                 "reason"),
    )
