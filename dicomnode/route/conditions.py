"""Whether an image says what a route, a model input or a model's limits want, and the sentence where it does not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from dicomnode.domain.condition import Condition, Wanted, When, wording
from dicomnode.domain.study import InstanceRecord, finite

UNSPOKEN: Final = frozenset({
    "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber", "StudyDescription",
    "SeriesDescription", "ProtocolName", "StudyDate", "StudyTime",
})
"""Attributes whose values never appear in a reason: they may name a patient."""


def unmet(image: InstanceRecord, when: When) -> tuple[str, ...]:
    """Return the conditions that an image does not satisfy, as sentences.

    Values are compared with letter case and outer spaces aside.
    """
    return tuple(_sentence(image, keyword, wanted) for keyword, wanted in when.items()
                 if not _holds(image.attributes.get(keyword, ()), wanted))


def unmet_by_any(images: Sequence[InstanceRecord], when: When) -> tuple[str, ...]:
    """Return the conditions that not every image satisfies, as sentences; the number of images where not all fail."""
    return tuple(sentence for keyword, wanted in when.items() for sentence in _counted(images, keyword, wanted))


def shown(image: InstanceRecord, keyword: str) -> str:
    """Return an attribute's value as a reason may say it."""
    found = image.attributes.get(keyword, ())
    return "another" if keyword in UNSPOKEN and found else "\\".join(found) or "absent"


def upper(values: Sequence[str]) -> set[str]:
    """Return values as they are compared."""
    return {value.strip().upper() for value in values}


def _counted(images: Sequence[InstanceRecord], keyword: str, wanted: Wanted) -> Iterator[str]:
    failing: dict[str, int] = {}
    for image in images:
        if not _holds(image.attributes.get(keyword, ()), wanted):
            sentence = _sentence(image, keyword, wanted)
            failing[sentence] = failing.get(sentence, 0) + 1
    if failing:
        sentence, total = next(iter(failing)), sum(failing.values())
        yield sentence if total == len(images) else f"{sentence} (in {total} of {len(images)} images)"


def _sentence(image: InstanceRecord, keyword: str, wanted: Wanted) -> str:
    return f"{keyword} is {shown(image, keyword)}, wanted {wording(wanted)}"


def _holds(found: tuple[str, ...], wanted: Wanted) -> bool:
    if not isinstance(wanted, Condition):
        return bool(upper(found) & upper(wanted))
    values = upper(found) - {""}
    if not values:
        return wanted.or_absent or wanted.present is False or _asks_only_for_lack(wanted)
    return wanted.present is not False and _texts_hold(values, wanted) and _numbers_hold(found, wanted)


def _asks_only_for_lack(wanted: Condition) -> bool:
    """Whether nothing is asked but that some text is not there: what is absent holds none."""
    return bool(wanted.lacks) and wanted == Condition(lacks=wanted.lacks)


def _texts_hold(values: set[str], wanted: Condition) -> bool:
    text = "\\".join(values)
    return ((not wanted.any_of or bool(values & upper(wanted.any_of)))
            and (not wanted.contains or any(part in text for part in upper(wanted.contains)))
            and not any(part in text for part in upper(wanted.lacks)))


def _numbers_hold(found: tuple[str, ...], wanted: Condition) -> bool:
    if wanted.min is None and wanted.max is None:
        return True
    low = float("-inf") if wanted.min is None else wanted.min
    high = float("inf") if wanted.max is None else wanted.max
    numbers = [finite(value) for value in found]
    return all(number is not None and low <= number <= high for number in numbers)
