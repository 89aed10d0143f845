"""A statement as Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from dicomnode.conformance.document import DRAWING, Cell, Section, Statement, Table
from dicomnode.conformance.statement import CONTENTS

DEEPEST: Final = 6


def to_markdown(statement: Statement) -> str:
    """Return the statement as one text: headings, paragraphs, tables of CommonMark with GitHub's tables."""
    return "\n".join(_lines(statement)).rstrip("\n") + "\n"


def _lines(statement: Statement) -> Iterator[str]:
    yield f"# {statement.title}"
    for number, section in statement.numbered():
        depth = number.count(".") + 2
        yield from ("", f"{'#' * min(depth, DEEPEST)} {number} {section.title}")
        for paragraph in section.paragraphs:
            yield ""
            yield from ("```text", paragraph, "```") if paragraph.startswith(DRAWING) else (paragraph,)
        if section.title == CONTENTS:
            yield from ("", *_contents(statement))
        for table in section.tables:
            yield from ("", f"**{table.title}**", "", *_table(table))


def _contents(statement: Statement) -> Iterator[str]:
    """List the sections; links go to GitHub's anchors."""
    for number, section in statement.numbered():
        yield f"{'  ' * number.count('.')}- [{number} {section.title}](#{anchor(number, section)})"


def anchor(number: str, section: Section) -> str:
    """Return what a heading is called in a link."""
    kept = (sign if sign.isalnum() else "-" if sign in " -" else "" for sign in f"{number} {section.title}".lower())
    return "".join(kept)


def _table(table: Table) -> Iterator[str]:
    yield f"| {' | '.join(table.columns)} |"
    yield f"|{'---|' * len(table.columns)}"
    for row in table.rows:
        yield f"| {' | '.join(_cell(cell) for cell in row)} |"


def _cell(cell: Cell) -> str:
    parts = (cell,) if isinstance(cell, str) else cell
    return "<br>".join(part.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for part in parts)
