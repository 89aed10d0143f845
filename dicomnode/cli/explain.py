"""``dicomnode explain``: which routes a study would take, and why not the others."""

from __future__ import annotations

from pathlib import Path

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json, print_rows


@click.command()
@click.argument("what", metavar="PATH|UID")
@as_json
@click.pass_obj
def explain(context: Context, *, what: str, json_wanted: bool) -> None:
    """Hold a folder, or a study that the node has, against every route; print each series' score and reasons."""
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
        says = (
            "matches"
            if outcome.applies and outcome.refusal is None
            else "refused"
            if outcome.refusal
            else "does not apply"
        )
        because = outcome.refusal.reason if outcome.refusal else outcome.because
        rows.append(
            {"route": outcome.route.name, "series": "", "role": "", "says": says, "score": None, "because": because}
        )
        rows.extend(
            {
                "route": outcome.route.name,
                "series": v.series_uid,
                "role": v.role,
                "score": v.score,
                "says": "eligible" if v.score is not None else "not eligible",
                "because": "; ".join(v.reasons),
            }
            for v in outcome.verdicts
        )
    print_rows(
        rows,
        json_wanted=json_wanted,
        columns=("route", "series", "role", "says", "score", "because"),
        empty="no route is configured",
    )
