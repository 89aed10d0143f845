"""The content of a report as a table: each kind of content item once, with its template and what is fixed of it."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from typing import Final

from pydicom import Dataset, dcmread

from dicomnode.conformance.document import Table
from dicomnode.domain.findings import EncodedObject

COLUMNS: Final = ("Concept name", "Value type", "Relationship", "Template", "Value")
MOST_VALUES: Final = 4
GENERATED: Final = "generated"

Path = tuple[tuple[str, str, str], ...]
"""From the root to an item: relationship, value type, concept name of each."""


def content_table(title: str, *objects: EncodedObject) -> Table | None:
    """Return the content items of reports of one kind, merged; None where they are no reports."""
    met: dict[Path, tuple[str, list[set[str]]]] = {}
    for number, one in enumerate(objects):
        root = dcmread(BytesIO(one.payload))
        if "ValueType" not in root:
            return None
        for path, template, value in _items(root, (), ""):
            _, values = met.setdefault(path, (template, [set() for _ in objects]))
            values[number].add(value)
    rows = tuple((f"{'> ' * (len(path) - 1)}{path[-1][2]}", path[-1][1], path[-1][0], template, _said(values))
                 for path, (template, values) in _ordered(met).items())
    return Table(title=title, columns=COLUMNS, rows=rows)


def _items(item: Dataset, above: Path, relationship: str) -> Iterator[tuple[Path, str, str]]:
    name = _code(item.ConceptNameCodeSequence) if item.get("ConceptNameCodeSequence") else "–"
    path = (*above, (relationship, str(item.ValueType), name))
    template = item.get("ContentTemplateSequence")
    value = item.get("ConceptCodeSequence")
    yield path, f"TID {template[0].TemplateIdentifier}" if template else "", _code(value) if value else ""
    for below in item.get("ContentSequence", ()):
        yield from _items(below, path, str(below.RelationshipType))


def _code(sequence: object) -> str:
    code = sequence[0]  # type: ignore[index]  # pydicom's sequences are untyped
    return f"({code.get('CodeValue', '')}, {code.CodingSchemeDesignator}, {code.CodeMeaning})"


def _ordered(met: dict[Path, tuple[str, list[set[str]]]]) -> dict[Path, tuple[str, list[set[str]]]]:
    """Bring each item under the one that contains it, those of one parent in the order in which they were met."""
    rank = {path: place for place, path in enumerate(met)}
    return {path: met[path]
            for path in sorted(met, key=lambda path: [rank[path[:end]] for end in range(1, len(path) + 1)])}


def _said(values: list[set[str]]) -> tuple[str, ...]:
    """Return the codes that every report with such an item holds; where others occur, they are generated."""
    given = [one - {""} for one in values if one - {""}]
    if not given:
        return ()
    same = sorted(set.intersection(*given))
    differs = any(one - set(same) for one in given)
    return (*same[:MOST_VALUES], *([GENERATED] if differs or len(same) > MOST_VALUES else []))
