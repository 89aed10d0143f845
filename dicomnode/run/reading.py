"""A series that several models of a route look at is read once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from dicomnode.domain.model import InputRole
from dicomnode.read.series import LoadedSeries, admit, load


class Reader(Protocol):
    """Reads a series, as ``read.series.load``."""

    def __call__(self, paths: Sequence[Path], role: InputRole, *, charset_fallback: str = "") -> LoadedSeries:
        """Return the series; raises as ``read.series.load``."""


class Once:
    """Reads each series once and holds it; a later role only checks whether it takes it."""

    def __init__(self, reader: Reader = load) -> None:
        self._reader = reader
        self._held: dict[tuple[tuple[Path, ...], str, str, str], LoadedSeries] = {}

    def __call__(self, paths: Sequence[Path], role: InputRole, *, charset_fallback: str = "") -> LoadedSeries:
        """Return the series; raises as ``read.series.load``."""
        key = (tuple(paths), charset_fallback, role.split_by, role.split_take)
        held = self._held.get(key)
        if held is not None:
            admit(held.volume.stack, role)
            return held
        self._held[key] = read = self._reader(paths, role, charset_fallback=charset_fallback)
        return read
