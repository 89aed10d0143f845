"""``dicomnode explain``: which routes a study would take, and why not the others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json, print_rows

if TYPE_CHECKING:
    from dicomnode.route.match import RouteOutcome


@click.command(short_help="Say which routes a study takes, and why not the others.")
@click.argument("what", metavar="PATH|UID")
@as_json
@click.pass_obj
def explain(context: Context, *, what: str, json_wanted: bool) -> None:
    """Hold a folder, or a study that the node has, against every route.

    One row for each route says whether it takes the study, and why; the rows below it say how each series fared
    against each role of its models.
    """
    from dicomnode.ledger import studies
    from dicomnode.route.match import match
    from dicomnode.run.offline import study_of

    if Path(what).exists():
        record, _ = study_of(Path(what))
    else:
        with context.ledger.read() as connection:
            record = studies.study_record(connection, what)
    models = {name: model for name, (model, _) in context.models.items()}
    rows: list[dict[str, object]] = []
    for outcome in match(record, context.config.routes, models, context.config.peers):
        rows += _rows(outcome)
    print_rows(
        rows,
        json_wanted=json_wanted,
        columns=("route", "model", "role", "series", "says", "score", "because"),
        empty="no route is configured",
    )


def _rows(outcome: RouteOutcome) -> list[dict[str, object]]:
    """Return the route's row, then one for each model, role and series."""
    says = "refused" if outcome.refusal else "matches" if outcome.applies else "does not apply"
    because = outcome.refusal.reason if outcome.refusal else outcome.because
    route = outcome.route.name
    models = ", ".join(outcome.route.model)
    verdicts: list[dict[str, object]] = [
        {
            "route": route,
            "model": verdict.model,
            "role": verdict.role,
            "series": verdict.series_uid,
            "says": "not eligible" if verdict.score is None else "passed over" if verdict.reasons else "chosen",
            "score": verdict.score,
            "because": "; ".join(verdict.reasons),
        }
        for verdict in outcome.verdicts
    ]
    about = {"role": "", "series": "", "says": says, "score": None, "because": because}
    return [{"route": route, "model": models, **about}, *verdicts]
