"""``dicomnode explain``: which routes a study would take, and why not the others."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json, print_rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dicomnode.domain.model import ModelFile
    from dicomnode.domain.node import Route
    from dicomnode.domain.study import SeriesVerdict, StudyRecord
    from dicomnode.route.match import RouteOutcome

SCORE_DIGITS: Final = 6
"""Of the second, third and fourth wish each weighs 1 % of the one before it."""


@click.command(short_help="Say which routes a study takes, and why not the others.")
@click.argument("what", metavar="PATH|UID")
@click.option("--model", "names", multiple=True, metavar="NAME",
              help="Hold it against this model in place of the routes; several as one route would.")
@as_json
@click.pass_obj
def explain(context: Context, *, what: str, names: tuple[str, ...], json_wanted: bool) -> None:
    """Hold a folder, or a study that the node has, against every route.

    One row for each route says whether it takes the study, and why; the rows below it say how each series fared
    against each role of its models: its score with the parts it is made of, or each reason against it.
    """
    import sys

    from dicomnode import logs
    from dicomnode.route.match import match

    logs.configure(level="WARNING", human=True, stream=sys.stderr)
    routes, models = _rules(context, names)
    rows: list[dict[str, object]] = []
    for outcome in match(_study(context, what), routes, models, context.config.peers):
        rows += _rows(outcome)
    print_rows(
        rows,
        json_wanted=json_wanted,
        columns=("route", "model", "role", "series", "slices", "says", "score", "because"),
        empty="no route is configured",
    )


def _rules(context: Context, names: tuple[str, ...]) -> tuple[tuple[Route, ...], dict[str, ModelFile]]:
    """Return the configured routes and their models, or one route of the models that were named."""
    from dicomnode.config import load_model
    from dicomnode.domain.node import Route

    if not names:
        return context.config.routes, {name: model for name, (model, _) in context.models.items()}
    models = {name: load_model(name, context.config) for name in names}
    return (Route(name="--model", model=tuple(models)),), models


def _study(context: Context, what: str) -> StudyRecord:
    from dicomnode.ledger import studies
    from dicomnode.run.offline import study_of

    if Path(what).exists():
        return study_of(Path(what))[0]
    with context.ledger.read() as connection:
        return studies.study_record(connection, what)


def _rows(outcome: RouteOutcome) -> list[dict[str, object]]:
    """Return the route's row, then one for each model, role and series."""
    says = "refused" if outcome.refusal else "matches" if outcome.applies else "does not apply"
    because = outcome.refusal.reason if outcome.refusal else outcome.because
    route = outcome.route.name
    models = ", ".join(outcome.route.model)
    about: dict[str, object] = {"route": route, "model": models, "role": "", "series": "", "slices": None,
                                "says": says, "score": None, "parts": [], "reasons": [], "because": because}
    return [about, *({"route": route, **_verdict(verdict)} for verdict in outcome.verdicts)]


def _verdict(verdict: SeriesVerdict) -> dict[str, object]:
    reasons = list(verdict.reasons)
    if verdict.unreadable and not reasons:
        reasons = [f"it will be refused when it is read, and no other series fits: {verdict.unreadable}"]
    return {
        "model": verdict.model,
        "role": verdict.role,
        "series": verdict.series_uid,
        "slices": verdict.slices or None,
        "says": "not eligible" if verdict.score is None else "passed over" if verdict.reasons else "chosen",
        "score": None if verdict.score is None else round(verdict.score, SCORE_DIGITS),
        "parts": [asdict(part) for part in verdict.parts],
        "reasons": reasons,
        "because": "; ".join((*reasons, *_parts(verdict))),
    }


def _parts(verdict: SeriesVerdict) -> Iterator[str]:
    for part in verdict.parts:
        yield f"{part.keyword} {part.value} ({part.wish}): {part.points:.2f}"
