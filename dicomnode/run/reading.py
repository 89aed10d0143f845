"""A series that several models of a route look at is read once, and looked at before any of them gets it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from dicomnode.domain.model import InputRole, ModelFile
from dicomnode.domain.volume import Volume
from dicomnode.errors import UnalignedInputs
from dicomnode.read.padding import for_the_network
from dicomnode.read.quality import quality_warnings
from dicomnode.read.series import LoadedSeries, admit, load


class Reader(Protocol):
    """Reads a series, as ``read.series.load``."""

    def __call__(self, paths: Sequence[Path], role: InputRole, *, charset_fallback: str = "") -> LoadedSeries:
        """Return the series; raises as ``read.series.load``."""


SeriesKey = tuple[tuple[Path, ...], str, str, str]
"""Files, character set, and which stack of them: what decides what is read."""


def key_of(paths: Sequence[Path], role: InputRole, charset_fallback: str) -> SeriesKey:
    """Return what must be equal for one reading to serve another role."""
    return tuple(paths), charset_fallback, role.split_by, role.split_take


class Once:
    """Reads each series once and holds it; a later role only checks whether it takes it."""

    def __init__(self, reader: Reader = load) -> None:
        self._reader = reader
        self._held: dict[SeriesKey, LoadedSeries] = {}

    def __call__(self, paths: Sequence[Path], role: InputRole, *, charset_fallback: str = "") -> LoadedSeries:
        """Return the series; raises as ``read.series.load``."""
        key = key_of(paths, role, charset_fallback)
        held = self._held.get(key)
        if held is not None:
            admit(held.volume.stack, role)
            return held
        self._held[key] = read = self._reader(paths, role, charset_fallback=charset_fallback)
        return read


def beside(loaded: Mapping[str, LoadedSeries], one: LoadedSeries) -> dict[str, LoadedSeries]:
    """Return what was read, by series, and one more; one set of results cannot show two stacks of one series.

    Raises
    ------
    UnalignedInputs
        If another model of the route was given another stack of the same series.
    """
    stack = one.volume.stack
    known = loaded.get(stack.series_uid)
    if known is not None and _carriers(known) != _carriers(one):
        raise UnalignedInputs(
            f"two models of the route take different stacks of series {stack.series_uid} (split_by, split_take): give "
            "each a route of its own")
    return {**loaded, stack.series_uid: one}


def _carriers(one: LoadedSeries) -> list[tuple[str, int]]:
    return [(plane.instance.sop_instance_uid, plane.frame) for plane in one.volume.stack.planes]


def looked_at(loaded: Mapping[str, LoadedSeries], model: ModelFile) -> tuple[dict[str, Volume], tuple[str, ...]]:
    """Return what a network gets for each of its roles, and what a reader of the result must know of the images.

    Raises
    ------
    PoorPixels
        If the model file refuses what the pixels look like.
    """
    several = len(loaded) > 1
    warnings = [f"input {role}: {said}" if several else said for role, one in loaded.items()
                for said in (*one.warnings, *quality_warnings(one, model.quality))]
    return {role: for_the_network(one, model.quality) for role, one in loaded.items()}, tuple(warnings)
