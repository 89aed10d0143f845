"""What came back, read from the PACS's files: the tour believes nothing that is not in the objects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import highdicom as hd
from pydicom import Dataset, dcmread
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

CODE_VOLUME: Final = "118565006"
CODE_DIAMETER: Final = "81827009"
CODE_PROBABILITY: Final = "122157"
CODE_TRACKING: Final = "112039"
CODE_FINDING: Final = "121071"
CODE_SITE: Final = "363698007"
CODE_ALGORITHM: Final = "111001"
SHOWN_UNITS: Final = {"[hnsf'U]": "HU", "cm3": "ml", "1": "", "{1}": ""}
"""UCUM codes as radiologists write them."""
SHORT: Final = {"Attenuation Coefficient": "Mean", "Probability": "Prob."}
"""Headings that would make the table wider than a terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """Where a finding lies on its key slice: (column, row) points in image pixels, 0 at the image's edge."""

    image_uid: str
    points: tuple[tuple[float, float], ...]


@dataclass(slots=True)
class Group:
    """One measurement group of a report (TID 1410, TID 1411)."""

    name: str = ""
    finding: str = ""
    place: str = ""
    found_by: list[str] = field(default_factory=list)
    numbers: dict[str, str] = field(default_factory=dict)
    outline: Outline | None = None


@dataclass(slots=True)
class Results:
    """The objects of one delivery."""

    paths: dict[Path, str] = field(default_factory=dict)  # → modality and description
    seg: hd.seg.Segmentation | None = None
    groups: list[Group] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    @property
    def headline(self) -> str:
        """One line for the picture."""
        return self.seg.SeriesDescription if self.seg is not None else ""

    def table(self) -> Table:
        """Every finding and structure with its numbers, as the reports say them; findings first."""
        groups = sorted(self.groups, key=lambda group: (group.outline is None, group.name))
        columns = list(dict.fromkeys(name for group in groups for name in group.numbers))
        table = Table(title="Findings, as read from the Structured Reports in the PACS", title_justify="left",
                      box=SIMPLE_HEAD, padding=(0, 1), collapse_padding=True, pad_edge=False)
        for heading in ("name", "place", *columns, "found by"):
            table.add_column(escape(_short(heading)), justify="right" if heading in columns else "left",
                             no_wrap=heading not in columns)
        for group in groups:
            shown = (group.numbers.get(column, "") for column in columns)
            table.add_row(group.name, group.place, *shown, "\n".join(dict.fromkeys(group.found_by)))
        return table


def read_results(folder: Path) -> Results:
    """Read every object below ``folder``."""
    results = Results()
    for path in sorted(folder.rglob("*.dcm")):
        found = dcmread(path)
        results.paths[path] = f"{found.Modality:<5} {found.SeriesDescription}"
        if found.Modality == "SEG":
            results.seg = hd.seg.Segmentation.from_dataset(found)
        elif found.Modality == "SR":
            _read_report(found, results)
    return results


def _read_report(report: Dataset, results: Results) -> None:
    for item in _walk(report):
        if item.ValueType == "CONTAINER" and _code(item) == "125007":
            results.groups.append(_group(item))
        elif item.ValueType == "TEXT" and _code(item) in {"121071", "121106", "121077"}:
            results.sentences.append(item.TextValue)


def _group(container: Dataset) -> Group:
    group = Group()
    for item in container.get("ContentSequence", ()):
        code = _code(item)
        if item.ValueType == "NUM" and item.get("MeasuredValueSequence"):
            measured = item.MeasuredValueSequence[0]
            unit = measured.MeasurementUnitsCodeSequence[0]
            text = SHOWN_UNITS.get(unit.CodeValue, unit.CodeValue)
            heading = str(item.ConceptNameCodeSequence[0].CodeMeaning)
            value = float(measured.NumericValue)
            group.numbers[f"{heading} [{text}]" if text else heading] = f"{value:.4g}" if text else f"{value:.2f}"
        elif code == CODE_TRACKING:
            group.name = item.TextValue
        elif code == CODE_FINDING and item.ValueType == "CODE":
            group.finding = item.ConceptCodeSequence[0].CodeMeaning
        elif code == CODE_SITE:
            group.place = _place(item)
        elif item.ValueType == "SCOORD":
            group.outline = _outline(item)
    group.found_by = [str(item.TextValue) for item in _walk(container) if _code(item) == CODE_ALGORITHM]
    return group


def _short(heading: str) -> str:
    for long, short in SHORT.items():
        heading = heading.replace(long, short)
    return heading


def _outline(item: Dataset) -> Outline | None:
    image = next((child for child in item.get("ContentSequence", ()) if child.ValueType == "IMAGE"), None)
    if image is None:
        return None
    numbers = [float(value) for value in item.GraphicData]
    return Outline(image_uid=str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID),
                   points=tuple(zip(numbers[::2], numbers[1::2], strict=True)))


def _place(item: Dataset) -> str:
    side = [m.ConceptCodeSequence[0].CodeMeaning for m in item.get("ContentSequence", ()) if m.ValueType == "CODE"]
    return " ".join([*side, item.ConceptCodeSequence[0].CodeMeaning])


def _walk(item: Dataset) -> list[Dataset]:
    found = []
    for child in item.get("ContentSequence", ()):
        found.append(child)
        found.extend(_walk(child))
    return found


def _code(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""
