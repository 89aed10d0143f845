"""Pixels outside the field of view: Pixel Padding Value (PS3.3 C.7.5.1.1.2), in the values of the volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicomnode.domain.settings import QualitySettings
from dicomnode.domain.volume import Volume
from dicomnode.read.pixels import rescale
from dicomnode.read.series import LoadedSeries
from dicomnode.read.values import numbers, whole

AIR_HU: Final = -1000

Bounds = tuple[float, float]


def padding_of(sources: Sequence[Dataset]) -> frozenset[Bounds]:
    """Return the ranges of real-world values that stand for no image; empty where the headers name none."""
    return frozenset(found for header in sources if (found := _range(header)) is not None)


def is_padding(values: NDArray[Any], ranges: frozenset[Bounds]) -> NDArray[np.bool_]:
    """Return which values lie in one of the ranges."""
    found = np.zeros(values.shape, dtype=bool)
    for low, high in ranges:
        found |= (values >= low) & (values <= high)
    return found


def for_the_network(loaded: LoadedSeries, settings: QualitySettings) -> Volume:
    """Return the volume that the network gets: with ``padding = "air"`` what is padding in CT becomes air."""
    ranges = padding_of(loaded.sources)
    if settings.padding == "keep" or loaded.volume.modality != "CT" or not ranges:
        return loaded.volume
    values = loaded.volume.values_zyx.copy()
    for plane in values:
        plane[is_padding(plane, ranges)] = AIR_HU
    return replace(loaded.volume, values_zyx=values)


def _range(header: Dataset) -> Bounds | None:
    padding = numbers(header, "PixelPaddingValue")
    if not padding:
        return None
    how = rescale(header, 1)
    limit = numbers(header, "PixelPaddingRangeLimit") or padding
    ends = [float(np.float32(_as_stored(value, header)) * np.float32(how.slope) + np.float32(how.intercept))
            for value in (padding[0], limit[0])]
    return min(ends), max(ends)


def _as_stored(value: float, header: Dataset) -> float:
    """Read a padding value as Pixel Representation says: many writers give it the other VR."""
    width = 2.0 ** whole(header, "BitsAllocated", 16)
    if whole(header, "PixelRepresentation", 0):
        return value - width if value >= width / 2 else value
    return value + width if value < 0 else value
