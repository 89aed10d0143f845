"""Several stacks in one series: one of them is taken where the model file says which, else none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicomnode.domain.model import InputRole
from dicomnode.domain.spacing import EVEN_FRACTION, ROUNDING_MM
from dicomnode.errors import DuplicatePositions, NoSuitableSeries
from dicomnode.read.frames import frame_count, frame_texts

Frame = tuple[Dataset, int]
"""A header and the number of one of its frames, from 1."""
FIRST: Final = "first"
LAST: Final = "last"
ASKED: Final = frozenset({"TemporalPositionIdentifier", "EchoTime", "DiffusionBValue", "StackID", "AcquisitionNumber"})
"""Attributes that do not come and go within one stack; AcquisitionNumber may in MR, made in several passes."""
FEWEST_PLACES: Final = 3
"""A phase has so many slices at least; fewer of one number are turns of the tube."""
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


def refuse_entwined(frames: Sequence[Frame], gaps_mm: NDArray[np.float64], role: InputRole) -> None:
    """Refuse phases whose slices lie between one another: each has places of its own, yet they are no one stack.

    Parameters
    ----------
    frames, gaps_mm:
        In the order of their places, and the distances between these.

    Raises
    ------
    DuplicatePositions
        If along at least half of the slices the phase is another than at the slice before, and each phase has three
        places or more.

    Notes
    -----
    Acquisitions of a CT that take turns at even distances are one stack, made in two passes, where nothing else is
    declared: phases lie in the same places, or at odd distances from one another. Numbers that begin again with the
    second group of slices are turns of the tube: each has two places.
    """
    for keyword in dict.fromkeys(("TemporalPositionIdentifier", "AcquisitionNumber", role.split_by)):
        if keyword == "AcquisitionNumber" and (role.modality != "CT" or (keyword != role.split_by and _even(gaps_mm))):
            continue
        told = ["\\".join(frame_texts(header, frame, keyword)) for header, frame in frames] if keyword in ASKED else []
        if _take_turns(told):
            msg = (f"slices of {len(set(told))} stacks lie between one another, told apart by {keyword}; one stack is "
                   "needed, send them as series of their own, or name in the model file which to take: split_by")
            raise DuplicatePositions(msg)


def _take_turns(told: Sequence[str]) -> bool:
    """Whether values of few stacks alternate along the slices."""
    changes = sum(one != other for one, other in pairwise(told))
    fewest = min(Counter(told).values(), default=0)
    return fewest >= FEWEST_PLACES and changes >= max(len(set(told)), len(told) / 2)


def _even(gaps_mm: NDArray[np.float64]) -> bool:
    usual = float(np.median(gaps_mm)) if len(gaps_mm) else 0.0
    return bool((np.abs(gaps_mm - usual) <= max(EVEN_FRACTION * usual, ROUNDING_MM)).all())


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
