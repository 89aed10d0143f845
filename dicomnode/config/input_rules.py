"""What ``[[inputs]]`` and ``[limits]`` of a model file ask for in vain: empty bounds, wishes never met.

The rules read the raw tables, so that they find their mistakes even where the schema found others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from dicomnode.config.kinds import near
from dicomnode.config.problems import shown
from dicomnode.domain.model import InputRole
from dicomnode.domain.study import INDEXED_KEYWORDS, finite

NUMERIC: Final = frozenset({
    "EchoTime", "RepetitionTime", "InversionTime", "MagneticFieldStrength", "KVP", "SliceThickness",
    "SpacingBetweenSlices", "GantryDetectorTilt", "SeriesNumber", "AcquisitionNumber", "InstanceNumber",
    "TemporalPositionIdentifier", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns",
    "NumberOfFrames", "SamplesPerPixel", "BitsStored", "PixelRepresentation", "RescaleSlope", "RescaleIntercept",
    "FlipAngle", "EchoTrainLength", "DiffusionBValue", "ReconstructionDiameter",
})
"""Indexed keywords whose values are numbers (PS3.6 Table 6-1: DS, FD, IS, US)."""
OF_NUMBERS: Final = ("thinnest", "thickest", "most")
OF_KERNELS: Final = ("soft", "sharp")
KERNELS: Final = frozenset({"ConvolutionKernel", "FilterType"})
FIRST: Final = InputRole(role="").split_take
OF_ALL: Final = ("present", "absent")


def broken_input_rules(raw: Mapping[str, Any]) -> Iterator[str]:
    """Yield one line per broken rule, without the file's name."""
    inputs = raw.get("inputs")
    for number, table in enumerate(inputs if isinstance(inputs, list) else [], start=1):
        if isinstance(table, dict):
            role = table.get("role")
            place = f"[[inputs]] {shown(role)}" if isinstance(role, str) else f"[[inputs]] number {number}"
            yield from _of_input(place, table)
    limits = raw.get("limits")
    if isinstance(limits, dict):
        yield from _bounds("[limits] age_years", limits.get("age_years"))


def _of_input(place: str, table: Mapping[str, Any]) -> Iterator[str]:
    yield from _bounds(f"{place}: slices", table.get("slices"))
    yield from _bounds(f"{place}: spacing_mm", table.get("spacing_mm"), "min_between_slices", "max_between_slices")
    if table.get("split_take", FIRST) != FIRST and not table.get("split_by"):
        yield (f"{place}: split_take = {shown(table['split_take'])}: allowed only beside split_by, the attribute that "
               "tells the stacks of a series apart")
    wishes = table.get("prefer")
    for keyword, wish in wishes.items() if isinstance(wishes, dict) else ():
        allowed = _never_met(keyword, wish) if keyword in INDEXED_KEYWORDS else ""
        if allowed:
            yield f"{place}: prefer.{keyword} = {shown(wish)}: {allowed}"


def _bounds(place: str, table: object, low: str = "min", high: str = "max") -> Iterator[str]:
    least, most = (table.get(low), table.get(high)) if isinstance(table, dict) else (None, None)
    if isinstance(least, int | float) and isinstance(most, int | float) and least > most:
        yield f"{place}.{low} = {least:g}: allowed are values up to {high} = {most:g}; nothing is within"


def _never_met(keyword: str, wish: object) -> str:
    """Return what is allowed where no series could meet a wish; '' where one can."""
    numeric = keyword in NUMERIC
    if isinstance(wish, int | float) and not isinstance(wish, bool):
        return "" if numeric else "allowed are texts: the attribute is no number"
    texts = [text for text in (wish if isinstance(wish, list) else [wish]) if isinstance(text, str)]
    if wish in OF_ALL or (numeric and wish in OF_NUMBERS):
        return ""
    if numeric and any(finite(text) is None for text in texts):
        hint = near(texts[0], OF_NUMBERS)
        return f"allowed are {', '.join((*OF_NUMBERS, *OF_ALL))}, and a number to be near to{hint}"
    if wish in OF_NUMBERS:
        return "allowed are texts, present and absent: the attribute is no number"
    if wish in OF_KERNELS and keyword not in KERNELS:
        return f"allowed only of {' and '.join(sorted(KERNELS))}"
    return ""
