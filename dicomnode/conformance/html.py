"""A statement as one HTML page that needs no other file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from typing import Final

from dicomnode.conformance.document import DRAWING, Cell, Section, Statement, Table
from dicomnode.conformance.markdown import anchor
from dicomnode.conformance.statement import CONTENTS

STYLE: Final = """
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
table { border-collapse: collapse; margin: .4rem 0 1.4rem; font-size: 13px; }
th, td { border: 1px solid #c8c8c8; padding: .2rem .5rem; text-align: left; vertical-align: top; }
th { background: #efefef; } caption { text-align: left; font-weight: 600; padding: .3rem 0; }
pre { overflow-x: auto; } code { background: #f2f2f2; }
@media print { body { font-size: 10pt; } table { font-size: 8pt; } }
"""
DEEPEST: Final = 6
CODE: Final = re.compile(r"`([^`]*)`")
STRESS: Final = re.compile(r"\*([^*]+)\*")


def to_html(statement: Statement) -> str:
    """Return the statement as a page; every text is escaped."""
    return "\n".join(_lines(statement)) + "\n"


def _lines(statement: Statement) -> Iterator[str]:
    title = escape(statement.title)
    yield f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
    yield f"<style>{STYLE}</style></head><body>\n<h1>{title}</h1>"
    for number, section in statement.numbered():
        level = min(number.count(".") + 2, DEEPEST)
        heading = escape(f"{number} {section.title}")
        yield f'<h{level} id="{escape(anchor(number, section))}">{heading}</h{level}>'
        yield from (_paragraph(paragraph) for paragraph in section.paragraphs)
        if section.title == CONTENTS:
            yield from _contents(statement)
        for table in section.tables:
            yield from _table(table)
    yield "</body></html>"


def _paragraph(text: str) -> str:
    if text.startswith(DRAWING):
        return f"<pre>{escape(text)}</pre>"
    marked = STRESS.sub(r"<em>\1</em>", CODE.sub(r"<code>\1</code>", escape(text)))
    return f"<p>{marked}</p>"


def _contents(statement: Statement) -> Iterator[str]:
    yield "<nav>"
    for number, section in statement.numbered():
        yield f'<div style="margin-left: {number.count(".")}rem">{_link(number, section)}</div>'
    yield "</nav>"


def _link(number: str, section: Section) -> str:
    return f'<a href="#{escape(anchor(number, section))}">{escape(f"{number} {section.title}")}</a>'


def _table(table: Table) -> Iterator[str]:
    yield f"<table><caption>{escape(table.title)}</caption>"
    yield f"<tr>{''.join(f'<th>{escape(column)}</th>' for column in table.columns)}</tr>"
    for row in table.rows:
        yield f"<tr>{''.join(f'<td>{_cell(cell)}</td>' for cell in row)}</tr>"
    yield "</table>"


def _cell(cell: Cell) -> str:
    return "<br>".join(map(escape, (cell,) if isinstance(cell, str) else cell))
