"""What a statement is made of: sections with sentences and tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

DRAWING: Final = "    "
Cell = str | tuple[str, ...]
"""One entry of a table; several values stand below each other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table whose every row has a cell per column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __post_init__(self) -> None:
        """Refuse a row of another length."""
        wrong = [row for row in self.rows if len(row) != len(self.columns)]
        if wrong:
            msg = f"table {self.title!r} has {len(self.columns)} columns, a row has {len(wrong[0])}: {wrong[0]}"
            raise ValueError(msg)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A numbered part of the statement.

    Parameters
    ----------
    text:
        Paragraphs with an empty line between them; one whose lines begin with four spaces is a drawing.
    """

    title: str
    text: str = ""
    tables: tuple[Table, ...] = ()
    sections: tuple[Section, ...] = ()


    @property
    def paragraphs(self) -> tuple[str, ...]:
        """The paragraphs, each in one line; a drawing keeps its lines."""
        found = (part.strip("\n") for part in self.text.strip("\n").split("\n\n"))
        return tuple(part if part.startswith(DRAWING) else " ".join(part.split()) for part in found if part.strip())


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """The whole statement."""

    title: str
    sections: tuple[Section, ...]

    def numbered(self) -> Iterator[tuple[str, Section]]:
        """Yield every section with its number, in reading order."""
        return _numbered(self.sections, "")

    def table(self, title: str) -> Table:
        """Return the table of that title.

        Raises
        ------
        KeyError
            If there is none.
        """
        for _, section in self.numbered():
            for table in section.tables:
                if table.title == title:
                    return table
        raise KeyError(title)


def _numbered(sections: tuple[Section, ...], before: str) -> Iterator[tuple[str, Section]]:
    for place, section in enumerate(sections, start=1):
        number = f"{before}{place}"
        yield number, section
        yield from _numbered(section.sections, f"{number}.")
