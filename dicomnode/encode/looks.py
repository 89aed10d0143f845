"""How a source image is shown: what a presentation state repeats, so that its boxes do not change the picture."""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicomnode.domain.volume import SlicePlane
from dicomnode.encode.sources import decimal, is_multiframe

LINEAR: Final = ("", "LINEAR")
OWN_WINDOW_PERCENTILES: Final = (1.0, 99.5)
"""Of the slice's values, where the source has no window of its own: a state without one would be shown flat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The Modality LUT and VOI LUT attributes of one image or frame; equal looks are shown alike."""

    modality: Dataset = field(default_factory=Dataset)
    voi: Dataset = field(default_factory=Dataset)
    inverted: bool = False  # MONOCHROME1


def look_of(source: Dataset, plane: SlicePlane, values_yx: NDArray[np.float32] | NDArray[np.int16] | None) -> Look:
    """Return how an image, or the plane's frame of one, is shown (PS3.3 C.11.1, C.11.2, C.7.6.16.2.9, C.7.6.16.2.10).

    Parameters
    ----------
    values_yx:
        The slice in real-world values, for a window where the source has none that can be used.
    """
    rescale, window = source, source
    if is_multiframe(source):
        rescale = _group(source, plane.frame, "PixelValueTransformationSequence")
        window = _group(source, plane.frame, "FrameVOILUTSequence")
    voi = _window(window) or _tables(window)
    if not voi and values_yx is not None:
        voi = _own_window(values_yx)
    return Look(modality=_modality(rescale, str(source.get("Modality", ""))), voi=voi,
                inverted=source.get("PhotometricInterpretation") == "MONOCHROME1")


def _group(source: Dataset, frame: int, keyword: str) -> Dataset:
    """Return the item of a functional group that holds for a frame; an empty one where there is none."""
    for groups in (source.PerFrameFunctionalGroupsSequence[frame - 1:frame],
                   source.get("SharedFunctionalGroupsSequence") or []):
        if groups and groups[0].get(keyword):
            item: Dataset = groups[0].get(keyword)[0]
            return item
    return Dataset()


def _modality(source: Dataset, modality: str) -> Dataset:
    found = Dataset()
    if source.get("RescaleSlope") is not None and source.get("RescaleIntercept") is not None:
        found.RescaleIntercept, found.RescaleSlope = source.RescaleIntercept, source.RescaleSlope
        found.RescaleType = source.get("RescaleType") or ("HU" if modality == "CT" else "US")
    return found


def _window(source: Dataset) -> Dataset:
    """Return an image's first window, the one that viewers open it with; nothing where it has none that can be used.

    One only: DCMTK refuses a presentation state with several.
    """
    found = Dataset()
    centre, width, function = (_first(source, keyword) for keyword in ("WindowCenter", "WindowWidth", "VOILUTFunction"))
    least = 1.0 if function in LINEAR else 0.0
    if not (_finite(centre) and _finite(width)) or float(width) < least or float(width) == 0:
        return found
    found.WindowCenter, found.WindowWidth = centre, width
    explained = _first(source, "WindowCenterWidthExplanation")
    if explained:
        found.WindowCenterWidthExplanation = explained
    if function:
        found.VOILUTFunction = function
    return found


def _finite(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _tables(source: Dataset) -> Dataset:
    found = Dataset()
    tables = [item for item in source.get("VOILUTSequence") or () if "LUTDescriptor" in item and "LUTData" in item]
    if tables:
        found.VOILUTSequence = [_table(tables[0])]
    return found


def _table(source: Dataset) -> Dataset:
    """Return a copy whose value representations no longer depend on the image around it (PS3.5 A.2)."""
    table = deepcopy(source)
    descriptor = [int(value) for value in table.LUTDescriptor]
    table.add_new("LUTDescriptor", "SS" if min(descriptor) < 0 else "US", descriptor)
    if not isinstance(table.LUTData, bytes):
        table.add_new("LUTData", "OW", np.asarray(table.LUTData, dtype="<u2").tobytes())
    else:
        table["LUTData"].VR = "OW"
    return table


def _own_window(values_yx: NDArray[np.float32] | NDArray[np.int16]) -> Dataset:
    low, high = (float(value) for value in np.percentile(values_yx.astype(np.float32), OWN_WINDOW_PERCENTILES))
    found = Dataset()
    found.WindowCenter, found.WindowWidth = decimal((low + high) / 2), decimal(max(1.0, high - low))
    return found


def _first(source: Dataset, keyword: str) -> str:
    """Return the first value of an attribute as text; '' where there is none, or what stands there is no value."""
    try:
        value = source.get(keyword)
    except (ValueError, TypeError, OverflowError):
        return ""
    if value is None:
        return ""
    return str(value if isinstance(value, str | int | float) else next(iter(value), "")).strip()
