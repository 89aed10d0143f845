"""Findings as a table, the way LUNA16 has them: series, centre in LPS mm, diameter."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from dicomnode.errors import UnusableAnnotation
from dicomnode.read.annotations import Box

WANTED: Final = ("seriesuid", "coordx", "coordy", "coordz")
SIZES: Final = ("diameter_mm", "diameter", "sizex_mm")
NAMES: Final = ("label", "class", "name")


def is_box_table(path: Path) -> bool:
    """Whether a file is a CSV whose first line names a series and a place."""
    if path.suffix.lower() != ".csv":
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        header = [name.strip().lower() for name in file.readline().split(",")]
    return set(WANTED) <= set(header)


def boxes_of_csv(path: Path) -> Mapping[str, tuple[Box, ...]]:
    """Return the boxes of each SeriesInstanceUID: cubes of the diameter, or of sizeX_mm, sizeY_mm, sizeZ_mm.

    Coordinates are in LPS millimetres, as ITK and LUNA16 have them. A column ``label`` names the kind of finding.

    Raises
    ------
    UnusableAnnotation
        With the line, if a number is missing or no number.
    """
    found: dict[str, list[Box]] = {}
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for line, row in enumerate(csv.DictReader(file), start=2):
            values = {str(key).strip().lower(): str(value or "").strip() for key, value in row.items()}
            centre = [_number(values, key, line) for key in WANTED[1:]]
            size, diameter = _size(values, line)
            name = next((values[key] for key in NAMES if values.get(key)), "")
            found.setdefault(values["seriesuid"], []).append(
                Box(centre_lps_mm=np.array(centre), size_lps_mm=size, name=name, diameter_mm=diameter))
    return {series: tuple(boxes) for series, boxes in found.items()}


def _size(values: Mapping[str, str], line: int) -> tuple[np.ndarray, float | None]:
    if values.get("sizex_mm"):
        size = np.array([_number(values, f"size{axis}_mm", line) for axis in "xyz"])
        diameter = None
    else:
        key = next((key for key in SIZES if key in values), "diameter_mm")
        diameter = _number(values, key, line)
        size = np.full(3, diameter)
    if (size <= 0).any():
        raise UnusableAnnotation(f"line {line}: size {size.tolist()} mm: allowed are sizes above 0")
    return size, diameter


def _number(values: Mapping[str, str], key: str, line: int) -> float:
    try:
        number = float(values.get(key, ""))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UnusableAnnotation(f"line {line}: {key} = {values.get(key)!r}: allowed is a finite number")
    return number
