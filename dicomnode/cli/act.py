"""The operator's hand: requeue, cancel, migrate."""

from __future__ import annotations

from datetime import datetime

import click

from dicomnode.cli.context import Context
from dicomnode.errors import ClaimLost

kind = click.option("--delivery", is_flag=True, help="ID names a delivery, not a job.")


def _wake(context: Context) -> None:
    from dicomnode.run.bell import ring

    for role in ("keeper", "worker", "sender"):
        ring(context.config.node.data_dir / "run", role)


@click.command(short_help="Put failed or canceled work back into the queue.")
@click.argument("work_id", metavar="ID", type=int, required=False)
@kind
@click.option("--again", is_flag=True, help="A new job with today's route and models, also where ID completed.")
@click.option("--priority", type=int, help="Of the job from now on; lower goes first.")
@click.option("--failed", is_flag=True, help="Every failed job and delivery that the other options leave.")
@click.option("--peer", help="With --failed: only deliveries to this peer.")
@click.option("--route", help="With --failed: only work of this route.")
@click.option(
    "--since", type=click.DateTime(), help="With --failed: only work that failed at or after this time (UTC)."
)
@click.pass_obj
def requeue(
    context: Context,
    *,
    work_id: int | None,
    delivery: bool,
    again: bool,
    priority: int | None,
    failed: bool,
    peer: str | None,
    route: str | None,
    since: datetime | None,
) -> None:
    """Put failed or canceled work back into the queue, its attempts given back.

    A completed delivery is sent once more, the same bytes: for a peer that lost what it took. With --again, a finished
    job's study is matched anew; the new results supersede the earlier ones and name them.
    """
    from datetime import UTC

    from dicomnode.ledger import deliveries, jobs, urgency
    from dicomnode.run.loop import utc_now

    if failed == (work_id is not None):
        raise click.UsageError("name one ID, or --failed for all that failed")
    if priority is not None and (failed or delivery):
        raise click.UsageError("--priority is of one job: name its ID alone, or use `dicomnode prioritise`")
    if again:
        _analyse_again(context, _given(work_id), priority)
        return
    now = utc_now()
    since_utc = since.replace(tzinfo=UTC) if since else None
    try:
        with context.ledger.write() as connection:
            if failed:
                queued_jobs = [] if peer else jobs.requeue_failed(connection, now=now, route=route, since=since_utc)
                queued = deliveries.requeue_failed(connection, now=now, peer=peer, route=route, since=since_utc)
            elif delivery:
                queued_jobs, queued = [], [deliveries.requeue(connection, _given(work_id), now=now)]
            else:
                queued_jobs, queued = [jobs.requeue(connection, _given(work_id), now=now)], []
            if priority is not None:
                urgency.prioritise(connection, _given(work_id), priority=priority, now=now)
    except ClaimLost as error:
        raise click.ClickException(f"not requeued: {error}") from error
    _wake(context)
    click.echo(f"requeued {len(queued_jobs)} job(s) {queued_jobs}, {len(queued)} delivery(ies) {queued}")


def _analyse_again(context: Context, job_id: int, priority: int | None) -> None:
    from dicomnode.ledger import urgency
    from dicomnode.run.loop import utc_now
    from dicomnode.run.matching import Matcher

    made = Matcher(context.config, context.ledger, context.models).again(job_id, now=utc_now())
    if priority is not None and made is not None:
        with context.ledger.write() as connection:
            urgency.prioritise(connection, made, priority=priority, now=utc_now())
    _wake(context)
    click.echo(f"job {made} analyses again what job {job_id} analysed")


@click.command(short_help="Let a job and its deliveries go before others.")
@click.argument("job_id", metavar="ID", type=int)
@click.argument("priority", metavar="PRIORITY", type=int)
@click.pass_obj
def prioritise(context: Context, *, job_id: int, priority: int) -> None:
    """Let a job that waits, and its deliveries, go before (lower PRIORITY) or behind others; routes have 100."""
    from dicomnode.ledger import urgency
    from dicomnode.run.loop import utc_now

    try:
        with context.ledger.write() as connection:
            urgency.prioritise(connection, job_id, priority=priority, now=utc_now())
    except ClaimLost as error:
        raise click.ClickException(f"not prioritised: {error}") from error
    _wake(context)
    click.echo(f"job {job_id} and its deliveries have priority {priority}")


@click.command(short_help="End a job or delivery, or give up one that failed.")
@click.argument("work_id", metavar="ID", type=int)
@kind
@click.pass_obj
def cancel(context: Context, *, work_id: int, delivery: bool) -> None:
    """End a job or delivery that waits or runs, or give up one that failed.

    A running one is stopped at its next renewal. What was given up is no longer a problem in status.
    """
    from dicomnode.ledger import deliveries, jobs
    from dicomnode.run.loop import utc_now

    table = deliveries if delivery else jobs
    try:
        with context.ledger.write() as connection:
            table.cancel(connection, work_id, now=utc_now(), reason="canceled by an operator")
    except ClaimLost as error:
        raise click.ClickException(f"not canceled: {error}; only work that waits or runs can be") from error
    _wake(context)
    click.echo(f"canceled {'delivery' if delivery else 'job'} {work_id}")


@click.group()
def db() -> None:
    """Look after the database."""


@db.command()
@click.pass_obj
def upgrade(context: Context) -> None:
    """Run pending migrations; safe to repeat."""
    from dicomnode.ledger.engine import Ledger

    revision = Ledger(context.config.database_url).upgrade()
    click.echo(f"the database is at revision {revision}")


def _given(work_id: int | None) -> int:
    if work_id is None:
        raise click.UsageError("ID is missing")
    return work_id
