"""Do the pixels look like an image? Constant and repeated slices, a range that was cut off, CT that is not in HU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicomnode.domain.settings import QualitySettings
from dicomnode.domain.slice_names import SliceNames
from dicomnode.domain.volume import SliceStack, Volume
from dicomnode.errors import PoorPixels
from dicomnode.read.padding import is_padding, padding_of
from dicomnode.read.pixels import rescale
from dicomnode.read.series import LoadedSeries
from dicomnode.read.values import texts, whole

SATURATED_FRACTION: Final = 0.01
"""So much of a slice at the highest value is no metal and no vessel: the range was cut off."""
TOP_FRACTION: Final = 0.05
"""The part of the range below the highest value that tells whether values end there as if cut off."""
FEWEST_BELOW: Final = 10
"""So many different values in it, so that a drawing of few grey levels is no cut-off range."""
CUT_OFF_RATIO: Final = 10.0
"""Pixels at the highest value against those at each value just below it, where the range was cut off."""
TWELVE_BITS: Final = 4095
AIR_HU: Final = -300.0
"""Air, lung and bowel gas lie below."""
TISSUE_HU: Final = (-300.0, 300.0)
"""Fat to blood with contrast agent."""
LOWEST_HU: Final = -1200.0
"""Noise in air reaches hardly lower; a fill outside the field of view does, with one value."""
HIGHEST_HU: Final = 10000.0
"""Above it lies only what signed values become that are read as unsigned; metal fills fewer pixels."""
AIR_FRACTION, TISSUE_FRACTION, ODD_FRACTION = 1e-4, 1e-2, 1e-2
DENSE_HU: Final = 700.0
"""Bone of this density and metal fill less of any slice than ``MOST_BONE``."""
MOST_BONE: Final = 0.2
MARGIN_HU: Final = 60.0
"""Values along the edges that vary less than this are a margin, not a body: skin, fat, muscle and bone cross them."""
RINGING_HU: Final = 100.0
"""How far from a fill its pixels may lie after lossy compression."""
SAMPLE_STEP: Final = 4
"""The histogram is taken of every fourth row and column."""

Values = NDArray[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """What looks wrong: which check of ``[quality]`` found it, and the sentence for people."""

    check: str
    says: str


def quality_warnings(loaded: LoadedSeries, settings: QualitySettings) -> tuple[str, ...]:
    """Return what a reader of the result must know of a series' pixels.

    Raises
    ------
    PoorPixels
        If a check that the model file refuses found something; slices count from 1 along the stack.
    """
    return judged(loaded.volume, loaded.sources, settings)


def judged(volume: Volume, sources: Sequence[Dataset], settings: QualitySettings) -> tuple[str, ...]:
    """Return the defects that are flagged; raises ``PoorPixels`` as ``quality_warnings``."""
    found = [defect for defect in defects(volume, sources) if getattr(settings, defect.check) != "ignore"]
    refused = [defect.says for defect in found if getattr(settings, defect.check) == "refuse"]
    if refused:
        name = volume.stack.series_uid
        raise PoorPixels(f"series …{name[-8:]}: {'; '.join(refused)}; look at the images, and send them again or anew")
    return tuple(f"image quality: {defect.says}" for defect in found)


def defects(volume: Volume, sources: Sequence[Dataset] = ()) -> tuple[Defect, ...]:
    """Return everything about a volume's pixels that looks wrong, in the order of the checks.

    Parameters
    ----------
    sources:
        The headers, where there are any: they name the stored range and what is no part of the image.
    """
    values, names = volume.values_zyx, volume.stack.slice_names
    lows, highs = values.min(axis=(1, 2)), values.max(axis=(1, 2))
    found = [*_constant(lows, highs, names), *_duplicates(values, lows, highs, names),
             *_saturated(volume, sources, lows, highs)]
    if volume.modality == "CT":
        found += _not_hounsfield(values, sources)
    return tuple(found)


def _constant(lows: Values, highs: Values, names: SliceNames) -> Iterator[Defect]:
    flat = np.flatnonzero(lows == highs)
    if flat.size:
        levels = sorted({f"{float(lows[index]):g}" for index in flat})
        shown = levels[0] if len(levels) == 1 else f"{levels[0]} and others"
        yield Defect(check="constant_slices",
                     says=f"{names.several(flat)} of {len(lows)} hold one value only ({shown})")


def _duplicates(values: Values, lows: Values, highs: Values, names: SliceNames) -> Iterator[Defect]:
    """Compare slices whole that have the same extremes and the same pixels at some places."""
    rows, columns = (max(1, size // 16) for size in values.shape[1:])
    first: dict[tuple[float, float, bytes], int] = {}
    same: list[tuple[int, int]] = []
    for index, plane in enumerate(values):
        if lows[index] == highs[index]:
            continue
        key = (float(lows[index]), float(highs[index]), plane[::rows, ::columns].tobytes())
        known = first.setdefault(key, index)
        if known != index and np.array_equal(values[known], plane):
            same.append((index, known))
    if same:
        index, known = same[0]
        more = f", and {len(same) - 1} more" if len(same) > 1 else ""
        yield Defect(check="duplicate_slices",
                     says=f"{names.one(index)} has the same pixels as {names.one(known)}{more}")


def _saturated(volume: Volume, sources: Sequence[Dataset], lows: Values, highs: Values) -> Iterator[Defect]:
    values = volume.values_zyx
    uneven = lows < highs
    cut = _covered(values, np.flatnonzero(uneven & _at_an_end(volume.stack, sources, highs)), highs)
    if not cut.size:
        cut = _covered(values, np.flatnonzero(uneven & (highs == highs.max())), highs)
        cut = cut if cut.size and _ends_abruptly(values, cut, float(highs.max())) else cut[:0]
    if cut.size:
        shares = np.array([np.count_nonzero(values[index] == highs[index]) / values[index].size for index in cut])
        yield Defect(check="saturation", says=(
            f"in {volume.stack.slice_names.several(cut)} up to {100 * shares.max():.1f} % of the pixels have the "
            f"highest value {float(highs[cut[shares.argmax()]]):g}: the range was cut off there"))


def _covered(values: Values, slices: NDArray[np.intp], highs: Values) -> NDArray[np.intp]:
    """Return those of the slices of which much has the slice's highest value."""
    return np.array([index for index in slices
                     if np.count_nonzero(values[index] == highs[index]) >= SATURATED_FRACTION * values[index].size],
                    dtype=np.intp)


def _at_an_end(stack: SliceStack, sources: Sequence[Dataset], highs: Values) -> NDArray[np.bool_]:
    """Return in which slices the highest value is the highest that the stored bits, or twelve bits, can say."""
    headers = {"".join(texts(header, "SOPInstanceUID")): header for header in sources}
    found = np.zeros(len(highs), dtype=np.bool_)
    for index, plane in enumerate(stack.planes):
        header = headers.get(plane.instance.sop_instance_uid)
        if header is not None:
            bits, signed = whole(header, "BitsStored", 16), whole(header, "PixelRepresentation", 0)
            how = rescale(header, plane.frame)
            ends = {2 ** (bits - signed) - 1, TWELVE_BITS}
            top = float(highs[index])
            found[index] = any(abs(top - (how.slope * end + how.intercept)) < abs(how.slope) / 2 for end in ends)
    return found


def _ends_abruptly(values: Values, slices: NDArray[np.intp], top: float) -> bool:
    """Whether many more pixels have the highest value than any of the values just below it, of which there are many."""
    sample = values[slices[:: max(1, slices.size // 16)]]
    below = sample[(sample < top) & (sample >= top - TOP_FRACTION * (top - float(sample.min())))]
    kinds = np.unique(below).size
    return kinds >= FEWEST_BELOW and int(np.count_nonzero(sample == top)) > CUT_OFF_RATIO * below.size / kinds


def _not_hounsfield(values: Values, sources: Sequence[Dataset]) -> Iterator[Defect]:
    sample = values[:, ::SAMPLE_STEP, ::SAMPLE_STEP]
    covered = ~is_padding(sample, padding_of(sources))
    inside = sample[covered]
    if inside.size == 0:
        return
    lossy = bool(sources) and "01" in texts(sources[0], "LossyImageCompression")
    reasons = tuple(_against_hounsfield(sample, covered, RINGING_HU if lossy else 0.0))
    if reasons:
        low, high = float(inside.min()), float(inside.max())
        yield Defect(check="hounsfield", says=(
            f"values of {low:g} to {high:g} look like no Hounsfield units: {' and '.join(reasons)}"
            f"{_rescale(sources)}"))


def _against_hounsfield(sample: Values, covered: NDArray[np.bool_], ringing: float) -> Iterator[str]:
    inside = sample[covered]
    if np.count_nonzero(inside < AIR_HU) < AIR_FRACTION * inside.size and not _fills_the_view(sample, covered):
        yield f"nothing is air (below {AIR_HU:g})"
    if np.count_nonzero((inside > TISSUE_HU[0]) & (inside < TISSUE_HU[1])) < TISSUE_FRACTION * inside.size:
        yield f"nothing is soft tissue ({TISSUE_HU[0]:g} to {TISSUE_HU[1]:g})"
    lower = inside[inside < LOWEST_HU]
    if lower.size > ODD_FRACTION * inside.size and _beside_the_fill(lower, ringing) > ODD_FRACTION * inside.size:
        yield f"many lie below {LOWEST_HU:g}, which air does not reach"
    if np.count_nonzero(inside > HIGHEST_HU) > ODD_FRACTION * inside.size:
        yield f"many lie above {HIGHEST_HU:g}, as signed values do that are read as unsigned"


def _fills_the_view(sample: Values, covered: NDArray[np.bool_]) -> bool:
    """Whether a body may fill the field of view from edge to edge, so that no air is shown.

    Where values are shifted or cut off below, what stands for air is one even margin, or one value, or what stands for
    soft tissue is as dense as bone.
    """
    inside, rim = sample[covered], np.zeros(sample.shape, dtype=np.bool_)
    rim[:, [0, -1]], rim[:, :, [0, -1]] = True, True
    margin = sample[rim & covered]
    varies = not margin.size or float(margin.std()) > MARGIN_HU
    dense = np.count_nonzero(inside > DENSE_HU) / inside.size
    one_value = np.count_nonzero(inside == inside.min()) >= ODD_FRACTION * inside.size
    return bool(not one_value and dense <= (MOST_BONE if varies else MOST_BONE / 10))


def _beside_the_fill(lower: Values, ringing: float) -> int:
    """Return how many low values are not the commonest one: a fill outside the field of view has one value."""
    kinds, counts = np.unique(lower, return_counts=True)
    fill = float(kinds[counts.argmax()])
    return int(np.count_nonzero((lower < fill - ringing) | (lower > fill + ringing)))


def _rescale(sources: Sequence[Dataset]) -> str:
    if not sources:
        return ""
    how = rescale(sources[0], 1)
    return f" (Rescale Slope {how.slope:g}, Intercept {how.intercept:g})"
