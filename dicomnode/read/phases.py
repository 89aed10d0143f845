"""Several stacks in one series: one of them is taken where the model file says which, else none."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from pydicom import Dataset

from dicomnode.domain.model import InputRole
from dicomnode.errors import DuplicatePositions, NoSuitableSeries
from dicomnode.read.frames import frame_count, frame_texts

Frame = tuple[Dataset, int]
"""A header and the number of one of its frames, from 1."""
FIRST: Final = "first"
LAST: Final = "last"
TELLING: Final = frozenset({"TemporalPositionIdentifier", "EchoTime", "DiffusionBValue", "StackID"})
"""Attributes that do not come and go within one stack; AcquisitionNumber may in MR, made in several passes."""
MOST_SAID: Final = 12
"""Values that a refusal lists."""


def frames_of(headers: Sequence[Dataset]) -> list[Frame]:
    """Return every frame of the images."""
    return [(header, frame) for header in headers for frame in range(1, frame_count(header) + 1)]


def values_of(frames: Sequence[Frame], keyword: str) -> list[str]:
    """Return the values that an attribute has among the frames, sorted as numbers where they are; '' for absent."""
    return sorted({"\\".join(frame_texts(header, frame, keyword)) for header, frame in frames}, key=_order)


def one_phase(headers: Sequence[Dataset], role: InputRole) -> tuple[list[Frame], str]:
    """Return the frames of the phase that a role takes, and a sentence that says so; no frame where none is declared.

    ``split_take`` is ``first`` or ``last`` of the values of ``split_by``, or one of its values.

    Raises
    ------
    NoSuitableSeries
        If no frame has the value.
    """
    if not role.split_by:
        return [], ""
    frames = frames_of(headers)
    values = [value for value in values_of(frames, role.split_by) if value]
    if len(values) < 2:  # noqa: PLR2004
        return [], ""
    wanted = {FIRST: values[:1], LAST: values[-1:]}.get(role.split_take, _matching(values, role.split_take))
    if not wanted:
        there = ", ".join(map(_shown, values[:MOST_SAID]))
        msg = f"the series holds no stack with {role.split_by} = {role.split_take}, only {there}"
        raise NoSuitableSeries(msg)
    kept = [(header, frame) for header, frame in frames
            if "\\".join(frame_texts(header, frame, role.split_by)) in wanted]
    said = (f"the series holds {len(values)} stacks by {role.split_by}; the one with {role.split_by} = "
            f"{' or '.join(map(_shown, wanted))} was analysed ({len(kept)} of {len(frames)} slices)")
    return kept, said


def refuse_entwined(frames: Sequence[Frame], role: InputRole) -> None:
    """Refuse phases whose slices lie between one another: each has places of its own, yet they are no one stack.

    Parameters
    ----------
    frames:
        In the order of their places.

    Raises
    ------
    DuplicatePositions
        If along at least half of the slices the phase is another than at the slice before, and phases come again.
    """
    for keyword in dict.fromkeys(("TemporalPositionIdentifier", "AcquisitionNumber", role.split_by)):
        told = ["\\".join(frame_texts(header, frame, keyword)) for header, frame in frames] \
            if keyword in TELLING or (keyword == "AcquisitionNumber" and role.modality == "CT") else []
        changes = sum(one != other for one, other in pairwise(told))
        if changes >= max(len(set(told)), len(told) / 2, 1):
            msg = (f"slices of {len(set(told))} stacks lie between one another, told apart by {keyword}; one stack is "
                   "needed, send them as series of their own, or name in the model file which to take: split_by")
            raise DuplicatePositions(msg)


def _matching(values: Sequence[str], wanted: str) -> list[str]:
    """Return the values that are the wanted one, or of whose parts one is."""
    return [value for value in values if _order(wanted) in {_order(part) for part in (value, *value.split("\\"))}]


def _shown(value: str) -> str:
    number, text = _order(value)
    return text if text or math.isinf(number) else f"{number:g}"


def _order(text: str) -> tuple[float, str]:
    """Order numbers by size, before any text."""
    try:
        value = float(text)
    except ValueError:
        return math.inf, text.upper()
    return (value, "") if math.isfinite(value) else (math.inf, text.upper())
