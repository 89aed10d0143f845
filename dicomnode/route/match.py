"""Which routes a study takes, with which series, and why not the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import Peer, Route
from dicomnode.domain.study import ModelBinding, SeriesRecord, SeriesVerdict, StudyRecord
from dicomnode.errors import ConflictingInstances, MixedPatients, ModelMissing, UnusableInput
from dicomnode.route.conditions import unmet
from dicomnode.route.facts import is_own, label, typical
from dicomnode.route.select import select


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteOutcome:
    """What one route means for one study.

    Parameters
    ----------
    applies:
        Whether the route speaks of this study; if not, ``because`` names the part of the rule that says so.
    bindings:
        One per model of the route, in the route's order; empty unless it applies without refusal.
    refusal:
        Why a study that the route speaks of cannot be analysed.
    verdicts:
        How each series fared against each role of each model.
    """

    route: Route
    applies: bool
    because: str
    bindings: tuple[ModelBinding, ...] = ()
    refusal: UnusableInput | None = None
    verdicts: tuple[SeriesVerdict, ...] = ()


def match(
    study: StudyRecord, routes: Sequence[Route], models: Mapping[str, ModelFile], peers: Mapping[str, Peer],
) -> tuple[RouteOutcome, ...]:
    """Judge every route; order and number of the outcomes are those of ``routes``.

    A route applies if the study came from one of its peers and at least one series, not made by this node, satisfies
    its ``when``. What applies but has conflicting images, or no series for a required role, carries a refusal.

    Raises
    ------
    ModelMissing
        If a route names a model that ``models`` does not have.
    """
    return tuple(_outcome(study, route, models, peers) for route in routes)


def _outcome(
    study: StudyRecord, route: Route, models: Mapping[str, ModelFile], peers: Mapping[str, Peer],
) -> RouteOutcome:
    stranger = _stranger(study, route, peers)
    if stranger:
        return RouteOutcome(route=route, applies=False, because=stranger)
    foreign = [series for series in study.series if series.instances and not is_own(series)]
    candidates = [series for series in foreign if not unmet(typical(series), route.when)]
    if not candidates:
        return RouteOutcome(route=route, applies=False, because=_unsatisfied(foreign, route))
    if study.conflicts:
        return _conflict(study, route)
    return _bind(route, candidates, models)


def _stranger(study: StudyRecord, route: Route, peers: Mapping[str, Peer]) -> str:
    """Return why the sender is none of the route's; '' if it is, or if nobody knows who sent the study."""
    wanted = {peers[name].ae_title for name in route.from_ if name in peers}
    if not route.from_ or not study.source_ae_titles or wanted & study.source_ae_titles:
        return ""
    came = ", ".join(sorted(study.source_ae_titles))
    return f"from: the study came from {came}, the route takes {', '.join(route.from_)}"


def _unsatisfied(series: Sequence[SeriesRecord], route: Route) -> str:
    if not series:
        return "the study has no series but those made by this node"
    listed = "; ".join(f"{label(one)}: {', '.join(unmet(typical(one), route.when))}" for one in series)
    return f"when: no series satisfies it: {listed}"


def _conflict(study: StudyRecord, route: Route) -> RouteOutcome:
    shown = ", ".join(study.conflicts[:3])
    refusal = ConflictingInstances(
        f"{len(study.conflicts)} SOP Instances arrived with different pixels or geometry ({shown}); "
        "nobody can tell which are right: correct the source and send the study under new UIDs")
    return RouteOutcome(route=route, applies=True, because="its series satisfy the route", refusal=refusal)


def _bind(route: Route, candidates: Sequence[SeriesRecord], models: Mapping[str, ModelFile]) -> RouteOutcome:
    bindings: list[ModelBinding] = []
    verdicts: list[SeriesVerdict] = []
    for name in route.model:
        if name not in models:
            known = ", ".join(models) or "none"
            msg = f"route {route.name} names model {name!r}, which is not loaded; known are {known}"
            raise ModelMissing(msg)
        found = select(candidates, models[name], route_when=route.when)
        verdicts.extend(found.verdicts)
        if found.refusal or not found.binding:
            return RouteOutcome(route=route, applies=True, because="its series satisfy the route",
                                refusal=found.refusal, verdicts=tuple(verdicts))
        bindings.append(found.binding)
    refusal = _mixed_patients(bindings, candidates)
    return RouteOutcome(route=route, applies=True, because=_bound(bindings, candidates), refusal=refusal,
                        bindings=() if refusal else tuple(bindings), verdicts=tuple(verdicts))


def _mixed_patients(bindings: Sequence[ModelBinding], candidates: Sequence[SeriesRecord]) -> MixedPatients | None:
    """Refuse images of several patients; an image without Patient ID tells nothing."""
    used = {uid for binding in bindings for series in binding.series for uid in series.sop_instance_uids}
    patients: dict[str, set[str]] = {}
    for series in candidates:
        for image in series.instances:
            if image.sop_instance_uid in used and image.text("PatientID").strip():
                patients.setdefault(image.text("PatientID").strip(), set()).add(label(series))
    if len(patients) <= 1:
        return None
    listed = "; ".join(sorted(set.union(*patients.values())))
    return MixedPatients(
        f"the images to be analysed are of {len(patients)} patients by Patient ID (0010,0020): {listed}; nobody can "
        "tell whose the result would be: correct the source and send the study again")


def _bound(bindings: Sequence[ModelBinding], candidates: Sequence[SeriesRecord]) -> str:
    names = {series.series_uid: label(series) for series in candidates}
    return "; ".join(f"{names[series.series_uid]} is {series.role!r} of {binding.model}"
                     for binding in bindings for series in binding.series)
