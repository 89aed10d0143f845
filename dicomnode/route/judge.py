"""One series against one role of a model: its slices, each reason against it, and where it leaves the limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from dicomnode.domain.condition import When
from dicomnode.domain.model import InputRole, Limits
from dicomnode.domain.spacing import ROUNDING_MM
from dicomnode.domain.study import InstanceRecord, ScorePart, SeriesRecord
from dicomnode.route.conditions import unmet, unmet_by_any
from dicomnode.route.contrast import against_contrast
from dicomnode.route.facts import is_own, slice_images, typical
from dicomnode.route.limits import outside
from dicomnode.route.places import in_plane_mm, orientation, place_count, slice_count, spacing_mm, unreadable
from dicomnode.route.prefer import score_parts, total


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One series against one role.

    Parameters
    ----------
    reasons:
        Why it is no such input at all.
    outside:
        Where it leaves what the model was validated for.
    score:
        None where anything stands against it.
    unreadable:
        Why it will be refused when it is read: taken for what the model needs only where no other series fits.
    """

    series: SeriesRecord
    images: tuple[InstanceRecord, ...]
    reasons: tuple[str, ...]
    outside: tuple[str, ...]
    score: float | None = None
    parts: tuple[ScorePart, ...] = ()
    unreadable: str = ""

    @property
    def against(self) -> tuple[str, ...]:
        """Everything that stands against it."""
        return self.reasons + self.outside

    @property
    def slices(self) -> int:
        """How many planes it has."""
        return slice_count(self.images)

    @property
    def frame(self) -> str:
        """Frame of Reference UID; '' if absent."""
        return self.images[0].text("FrameOfReferenceUID") if self.images else ""


def judge_all(candidates: Sequence[SeriesRecord], role: InputRole, limits: Limits, route_when: When) -> list[Judged]:
    """Judge each candidate for a role; those that nothing stands against get a score."""
    judged = [_judge(series, role, limits, route_when) for series in candidates]
    eligible = [item for item in judged if not item.against]
    parts = dict(zip(map(id, eligible), score_parts([item.images for item in eligible], role.prefer), strict=True))
    return [replace(item, parts=parts[id(item)], score=total(parts[id(item)])) if id(item) in parts else item
            for item in judged]


def _judge(series: SeriesRecord, role: InputRole, limits: Limits, route_when: When) -> Judged:
    one = typical(series)
    if is_own(series):
        return Judged(series=series, images=(), reasons=("made by this node",), outside=())
    reasons = [*unmet(one, role.when), *against_contrast(one, role.contrast)]
    if role.modality and one.text("Modality") != role.modality:
        reasons.append(f"Modality is {one.text('Modality') or 'absent'}, wanted {role.modality}")
    images, why_not = slice_images(series, {**route_when, **role.when})
    if not images:
        return Judged(series=series, images=(), reasons=(*reasons, *why_not), outside=outside((one,), limits))
    if not reasons:
        of_all = {} if role.split_by else role.when
        reasons += unmet_by_any(images, {**({"Modality": (role.modality,)} if role.modality else {}), **of_all})
    stands_against, why_unreadable = _against_stack(images, role), unreadable(images, role)
    if why_unreadable and not role.required:
        stands_against.append(why_unreadable)
    return Judged(series=series, images=images, reasons=(*reasons, *stands_against), unreadable=why_unreadable,
                  outside=(*outside(images, limits), *_apart(images, role)))


def _against_stack(images: tuple[InstanceRecord, ...], role: InputRole) -> list[str]:
    reasons = []
    count, lies = place_count(images) if role.split_by else slice_count(images), orientation(images[0])
    if count is not None and not role.slices.holds(count):
        reasons.append(f"{count} slices, wanted {role.slices}")
    if role.orientation not in {"any", lies}:
        reasons.append(f"orientation is {lies}, wanted {role.orientation}")
    return reasons


def _apart(images: tuple[InstanceRecord, ...], role: InputRole) -> list[str]:
    sentences, limits = [], role.spacing_mm
    for value, low, high, what in (
        (spacing_mm(images), limits.min_between_slices, limits.max_between_slices, "between slices"),
        (in_plane_mm(images[0]), None, limits.max_in_plane, "between pixels"),
    ):
        if value is not None and low is not None and value < low - ROUNDING_MM:
            sentences.append(f"{value:.2f} mm {what}, wanted at least {low:g}")
        if value is not None and high is not None and value > high + ROUNDING_MM:
            sentences.append(f"{value:.2f} mm {what}, wanted at most {high:g}")
    return sentences
