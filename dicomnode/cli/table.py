"""Rows for people as a table, for programs as JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

FILE_COLUMNS = 240
"""Width of a table that goes to a file or a pipe."""

as_json = click.option("--json", "json_wanted", is_flag=True, help="Print one JSON array of objects.")


def print_rows(rows: Sequence[Mapping[str, Any]], *, json_wanted: bool, columns: Sequence[str], empty: str) -> None:
    """Print rows; ``columns`` are the keys a person sees, JSON holds all."""
    if json_wanted:
        click.echo(json.dumps(list(rows), default=plain, ensure_ascii=False, indent=2))
        return
    if not rows:
        click.echo(empty)
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold", no_wrap=column.endswith("_uid"))
    for row in rows:
        table.add_row(*(_text(row.get(column)) for column in columns))
    Console(width=None if sys.stdout.isatty() else FILE_COLUMNS).print(table)


def clock(moment: datetime) -> str:
    """Write a moment to the second in the time zone of this machine, and name the zone."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def plain(value: object) -> object:
    """Write for JSON what JSON has no type for: a moment in ISO 8601 with its zone."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return clock(value)
    if isinstance(value, float):
        return f"{value:.1f}"
    return str(value)
