"""Which series fills which role of a model, and why each other one does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomnode.domain.condition import When
from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.study import BoundSeries, ModelBinding, SeriesRecord, SeriesVerdict
from dicomnode.errors import MixedFrameOfReference, NoSuitableSeries, OutsideIntendedUse, UnusableInput
from dicomnode.route.assign import Taken, assigned, rank, without_frames
from dicomnode.route.facts import label
from dicomnode.route.judge import Judged, judge_all


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What selection found for one model: a binding, or a refusal; and how every series fared."""

    binding: ModelBinding | None
    refusal: UnusableInput | None
    verdicts: tuple[SeriesVerdict, ...]


def select(candidates: Sequence[SeriesRecord], model: ModelFile, *, route_when: When) -> Selection:
    """Bind one series to each role; a series fills one role only, and all share one Frame of Reference.

    As many roles as possible are filled; roles with the fewest eligible series choose first; among eligible series the
    best score wins, then the most slices, then the lowest SeriesNumber; one that will be refused when it is read is
    taken only for a required role that no other fits, so that the reader names the reason in full.

    Returns
    -------
    Selection
        With ``OutsideIntendedUse`` where only the model's limits stand against every series that would fit a
        required role, ``MixedFrameOfReference`` where only the frames of reference keep the roles from being filled,
        else ``NoSuitableSeries``, each naming the series and its reasons.
    """
    judged = {role.role: judge_all(candidates, role, model.limits, route_when) for role in model.inputs}
    taken = assigned(model.inputs, judged)
    refusal = _refusal(model, judged, taken)
    verdicts = _verdicts(model, judged, taken)
    if refusal is not None:
        return Selection(binding=None, refusal=refusal, verdicts=verdicts)
    bound = tuple(_bound(role.role, taken[role.role]) for role in model.inputs if role.role in taken)
    return Selection(binding=ModelBinding(model=model.name, series=bound), refusal=None, verdicts=verdicts)


def _bound(role: str, item: Judged) -> BoundSeries:
    return BoundSeries(role=role, series_uid=item.series.series_uid,
                       sop_instance_uids=tuple(image.sop_instance_uid for image in item.images))


def _refusal(model: ModelFile, judged: Mapping[str, Sequence[Judged]], taken: Taken) -> UnusableInput | None:
    missing = [role for role in model.inputs if role.required and role.role not in taken]
    if not missing:
        return None
    if len(model.inputs) > 1:
        anywhere = without_frames(model.inputs, judged)
        if all(role.role in anywhere for role in missing):
            return _mixed_frames(model, anywhere)
    hopeless = [role for role in missing if all(item.score is None for item in judged[role.role])]
    return _no_series(model, (hopeless or missing)[0], judged)


def _mixed_frames(model: ModelFile, taken: Taken) -> MixedFrameOfReference:
    listed = "; ".join(f"{role!r} is {label(item.series)} in …{item.frame[-8:] or ' no frame'}"
                       for role, item in taken.items())
    return MixedFrameOfReference(
        f"no one Frame of Reference has a series for each input of model {model.name}: {listed}; places cannot be "
        "compared: register the series, or say any_frame = true for an input where the UIDs alone differ")


def _no_series(model: ModelFile, role: InputRole, judged: Mapping[str, Sequence[Judged]]) -> UnusableInput:
    items = judged[role.role]
    beyond = [item for item in items if item.outside and not item.reasons]
    fits_not = all(item.against for item in items)
    listed = "; ".join(f"{label(item.series)}: {', '.join(item.against) or 'fills another role'}"
                       for item in (beyond if fits_not and beyond else items))
    if beyond and fits_not:
        return OutsideIntendedUse(f"model {model.name} was not validated for this: {listed}")
    return NoSuitableSeries(f"no series can be {role.role!r} of model {model.name}: {listed or 'the study is empty'}")


def _verdicts(model: ModelFile, judged: Mapping[str, Sequence[Judged]], taken: Taken) -> tuple[SeriesVerdict, ...]:
    return tuple(
        SeriesVerdict(model=model.name, series_uid=item.series.series_uid, role=role, score=item.score,
                      parts=item.parts, slices=item.slices, reasons=item.against or _passed_over(item, role, taken),
                      unreadable=item.unreadable)
        for role, items in judged.items() for item in items
    )


def _passed_over(item: Judged, role: str, taken: Taken) -> tuple[str, ...]:
    chosen, uid = taken.get(role), item.series.series_uid
    if chosen is not None and chosen.series.series_uid == uid:
        return ()
    other = next((name for name, held in taken.items() if held.series.series_uid == uid), None)
    if other:
        return (f"fills {other}",)
    if chosen is None:
        return ("no series is left for another input that the model needs",)
    if len(taken) > 1 and chosen.frame != item.frame and rank(item) >= rank(chosen):
        return (f"another Frame of Reference than that of {label(chosen.series)}, which fits the other inputs",)
    return (f"{label(chosen.series)} is preferred", *([item.unreadable] if item.unreadable else []))
