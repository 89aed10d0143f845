"""Which series fills which role of a model, and why each other one does not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from dicomnode.domain.model import InputRole, Limits, ModelFile
from dicomnode.domain.study import BoundSeries, InstanceRecord, ModelBinding, SeriesRecord, SeriesVerdict
from dicomnode.errors import NoSuitableSeries, OutsideIntendedUse, UnusableInput
from dicomnode.route.facts import (
    When,
    in_plane_mm,
    is_own,
    label,
    orientation,
    slice_count,
    slice_images,
    spacing_mm,
    typical,
    unmet,
)
from dicomnode.route.prefer import scores

ROUNDING_MM: Final = 0.05
"""What a spacing may exceed a limit for being written with few digits."""
YEARS_PER_UNIT: Final = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Units of an Age String (PS3.5 Table 6.2-1, AS)."""
AGE_CHARS: Final = 4
DATE_CHARS: Final = 8
OLDEST_SAID_YEARS: Final = 89
"""Ages above it count as identifying (45 CFR 164.514(b)(2)(i)(C))."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What selection found for one model: a binding, or a refusal; and how every series fared."""

    binding: ModelBinding | None
    refusal: UnusableInput | None
    verdicts: tuple[SeriesVerdict, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """One series against one role: its slice images, the reasons against it, and where it leaves the limits."""

    series: SeriesRecord
    images: tuple[InstanceRecord, ...]
    reasons: tuple[str, ...]
    outside: tuple[str, ...]
    score: float | None = None

    @property
    def against(self) -> tuple[str, ...]:
        return self.reasons + self.outside


def select(candidates: Sequence[SeriesRecord], model: ModelFile, *, route_when: When) -> Selection:
    """Bind one series to each role; a series fills one role only.

    Roles with the fewest eligible series choose first; among eligible series the best score wins, then the most
    slices, then the lowest SeriesNumber.

    Returns
    -------
    Selection
        With ``OutsideIntendedUse`` where only the model's limits stand against every series that would fit a
        required role, else ``NoSuitableSeries``, each naming every series and its reasons.
    """
    judged = {role.role: _scored([_judge(s, role, model.limits, route_when) for s in candidates], role)
              for role in model.inputs}
    taken: dict[str, _Judged] = {}
    for role in sorted(model.inputs, key=lambda r: (not r.required, sum(j.score is not None for j in judged[r.role]))):
        used = {item.series.series_uid for item in taken.values()}
        free = [j for j in judged[role.role] if j.score is not None and j.series.series_uid not in used]
        if free:
            taken[role.role] = max(free, key=_rank)
        elif role.required:
            return Selection(binding=None, refusal=_refusal(model, role, judged[role.role]),
                             verdicts=_verdicts(model, judged, taken))
    bound = tuple(_bound(role.role, taken[role.role]) for role in model.inputs if role.role in taken)
    return Selection(binding=ModelBinding(model=model.name, series=bound), refusal=None,
                     verdicts=_verdicts(model, judged, taken))


def age_years(image: InstanceRecord) -> float | None:
    """Return Patient's Age, else the time from birth to study; None if neither is known."""
    said = _age_string(image)
    if said is not None:
        return said
    born, seen = _date(image.text("PatientBirthDate")), _date(image.text("StudyDate"))
    return (seen - born).days / 365.25 if born and seen else None


def _age_string(image: InstanceRecord) -> float | None:
    text = image.text("PatientAge")
    if text.isascii() and len(text) <= AGE_CHARS and text[:-1].isdecimal() and text[-1] in YEARS_PER_UNIT:
        return int(text[:-1]) * YEARS_PER_UNIT[text[-1]]
    return None


def _told(age: float) -> str:
    """Say an age as people do; one so high that it may name the person is not said exactly."""
    if age > OLDEST_SAID_YEARS:
        return f"over {OLDEST_SAID_YEARS} years"
    if age * 12 + 1e-6 < 1:
        return "under 1 month"
    count, unit = (int(age + 1e-6), "year") if age >= 1 else (int(age * 12 + 1e-6), "month")
    return f"{count} {unit}{'' if count == 1 else 's'}"


def _judge(series: SeriesRecord, role: InputRole, limits: Limits, route_when: When) -> _Judged:
    one = typical(series)
    if is_own(series):
        return _Judged(series=series, images=(), reasons=("made by this node",), outside=())
    reasons = list(unmet(one, role.when))
    if role.modality and one.text("Modality") != role.modality:
        reasons.append(f"Modality is {one.text('Modality') or 'absent'}, wanted {role.modality}")
    images, why_not = slice_images(series, {**route_when, **role.when})
    if not images:
        reasons.extend(why_not)
    else:
        reasons.extend(_against_stack(images, role))
    return _Judged(series=series, images=images, reasons=tuple(reasons), outside=_outside(one, limits))


def _against_stack(images: tuple[InstanceRecord, ...], role: InputRole) -> list[str]:
    reasons = []
    count, lies = slice_count(images), orientation(images[0])
    if not role.slices.holds(count):
        reasons.append(f"{count} slices, wanted {role.slices}")
    if role.orientation not in {"any", lies}:
        reasons.append(f"orientation is {lies}, wanted {role.orientation}")
    limits = role.spacing_mm
    for value, low, high, what in (
        (spacing_mm(images), limits.min_between_slices, limits.max_between_slices, "between slices"),
        (in_plane_mm(images[0]), None, limits.max_in_plane, "between pixels"),
    ):
        if value is not None and low is not None and value < low - ROUNDING_MM:
            reasons.append(f"{value:.2f} mm {what}, wanted at least {low:g}")
        if value is not None and high is not None and value > high + ROUNDING_MM:
            reasons.append(f"{value:.2f} mm {what}, wanted at most {high:g}")
    return reasons


def _outside(image: InstanceRecord, limits: Limits) -> tuple[str, ...]:
    sentences = list(unmet(image, limits.when))
    if limits.age_years.min is not None or limits.age_years.max is not None:
        age = age_years(image)
        if age is None:
            sentences.append(f"the patient's age is not said; the model was validated for {limits.age_years} years")
        elif not limits.age_years.holds(age):
            source = "PatientAge" if _age_string(image) is not None else "the patient's age at the study"
            sentences.append(f"{source} is {_told(age)}; the model was validated for {limits.age_years} years")
    return tuple(sentences)


def _scored(judged: Sequence[_Judged], role: InputRole) -> list[_Judged]:
    eligible = [item for item in judged if not item.against]
    points = dict(zip(map(id, eligible), scores([item.images for item in eligible], role.prefer), strict=True))
    return [_Judged(series=item.series, images=item.images, reasons=item.reasons, outside=item.outside,
                    score=points.get(id(item))) for item in judged]


def _rank(item: _Judged) -> tuple[float, int, float, str]:
    number = typical(item.series).number("SeriesNumber")
    return item.score or 0.0, slice_count(item.images), -(number if number is not None else 1e9), item.series.series_uid


def _bound(role: str, item: _Judged) -> BoundSeries:
    return BoundSeries(role=role, series_uid=item.series.series_uid,
                       sop_instance_uids=tuple(image.sop_instance_uid for image in item.images))


def _refusal(model: ModelFile, role: InputRole, judged: Sequence[_Judged]) -> UnusableInput:
    beyond = [item for item in judged if item.outside and not item.reasons]
    listed = "; ".join(f"{label(item.series)}: {', '.join(item.against) or 'fills another role'}"
                       for item in (beyond or judged))
    if beyond:
        return OutsideIntendedUse(f"model {model.name} was not validated for this: {listed}")
    return NoSuitableSeries(f"no series can be {role.role!r} of model {model.name}: {listed or 'the study is empty'}")


def _verdicts(
    model: ModelFile, judged: dict[str, list[_Judged]], taken: dict[str, _Judged],
) -> tuple[SeriesVerdict, ...]:
    return tuple(
        SeriesVerdict(model=model.name, series_uid=item.series.series_uid, role=role, score=item.score,
                      reasons=item.against or _passed_over(item, role, taken))
        for role, items in judged.items() for item in items
    )


def _passed_over(item: _Judged, role: str, taken: dict[str, _Judged]) -> tuple[str, ...]:
    chosen = taken.get(role)
    if chosen is None or chosen.series.series_uid == item.series.series_uid:
        return ()
    other = next((name for name, t in taken.items() if t.series.series_uid == item.series.series_uid), None)
    return (f"fills {other}",) if other else (f"{label(chosen.series)} is preferred",)


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == DATE_CHARS else None
    except ValueError:
        return None
