"""``dicomnode conformance``: the DICOM Conformance Statement of this very configuration."""

from __future__ import annotations

import json

import click

from dicomnode.cli.context import Context
from dicomnode.cli.table import as_json


@click.command(short_help="Print the DICOM Conformance Statement of this configuration.")
@click.option("--html", "html_wanted", is_flag=True, help="Print one HTML page in place of Markdown.")
@as_json
@click.pass_obj
def conformance(context: Context, *, html_wanted: bool, json_wanted: bool) -> None:
    """Print the DICOM Conformance Statement of this very configuration, in the order of PS3.2 Annex N.

    Markdown; redirect it into a file. What it says of services, contexts, statuses and objects is taken from the
    program itself. It holds the AE titles, hosts and ports of the peers, and no secrets.
    """
    from dicomnode.conformance.html import to_html
    from dicomnode.conformance.markdown import to_markdown
    from dicomnode.conformance.statement import statement

    if html_wanted and json_wanted:
        raise click.UsageError("--html and --json are two forms of one thing: choose one")
    found = statement(context.config, {name: model for name, (model, _) in context.models.items()})
    if not json_wanted:
        click.echo(to_html(found) if html_wanted else to_markdown(found), nl=False)
        return
    tables = [{"section": number, "title": section.title, "table": table.title, "columns": table.columns,
               "rows": table.rows} for number, section in found.numbered() for table in section.tables]
    click.echo(json.dumps(tables, ensure_ascii=False, indent=2))
