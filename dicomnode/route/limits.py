"""Where images leave what a model was validated for: ``[limits]`` of its model file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Final

from dicomnode.domain.model import Limits
from dicomnode.domain.study import InstanceRecord
from dicomnode.route.conditions import unmet_by_any

YEARS_PER_UNIT: Final = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}
"""Units of an Age String (PS3.5 Table 6.2-1, AS)."""
AGE_CHARS: Final = 4
DATE_CHARS: Final = 8
OLDEST_SAID_YEARS: Final = 89
"""Ages above it count as identifying (45 CFR 164.514(b)(2)(i)(C))."""


def outside(images: Sequence[InstanceRecord], limits: Limits) -> tuple[str, ...]:
    """Return where images of one series lie outside, as sentences; each image must lie inside."""
    sentences = list(unmet_by_any(images, limits.when))
    if limits.age_years.min is not None or limits.age_years.max is not None:
        age, validated = age_years(images[0]), f"the model was validated for {limits.age_years} years"
        if age is None:
            sentences.append(f"the patient's age is not said; {validated}")
        elif not limits.age_years.holds(age):
            source = "PatientAge" if _age_string(images[0]) is not None else "the patient's age at the study"
            sentences.append(f"{source} is {_told(age)}; {validated}")
    return tuple(sentences)


def age_years(image: InstanceRecord) -> float | None:
    """Return Patient's Age, else the time from birth to study; None if neither is known, or birth comes later."""
    said = _age_string(image)
    if said is not None:
        return said
    born, seen = _date(image.text("PatientBirthDate")), _date(image.text("StudyDate"))
    return (seen - born).days / 365.25 if born and seen and seen >= born else None


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


def _date(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if len(text) == DATE_CHARS else None
    except ValueError:
        return None
