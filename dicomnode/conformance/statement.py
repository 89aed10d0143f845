"""The whole statement of one configuration, in the order of PS3.2 Annex N."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from dicomnode import __version__
from dicomnode.conformance import prose
from dicomnode.conformance.communication import communication
from dicomnode.conformance.document import Cell, Section, Statement, Table
from dicomnode.conformance.facts import Facts, facts, name_of
from dicomnode.conformance.objects import objects
from dicomnode.conformance.security import security
from dicomnode.conformance.services import BOTH_ROLES, SCP, SENDS_REPORTS, scp_contexts, scu_contexts, services
from dicomnode.domain.dicom import CHARACTER_SETS, MANUFACTURER
from dicomnode.domain.model import ModelFile
from dicomnode.domain.node import NodeConfig

CONTENTS: Final = "Table of Contents"
OVERVIEW: Final = "Network services"
MODELS: Final = "Models"
YES, NO = "Yes", "No"


def statement(config: NodeConfig, models: Mapping[str, ModelFile]) -> Statement:
    """Return the DICOM Conformance Statement of a configuration.

    Parameters
    ----------
    models:
        Every model that a route names, by name.

    Raises
    ------
    EncodingError
        If an encoder cannot write its example: our fault.
    """
    return statement_of(facts(config, models))


def statement_of(known: Facts) -> Statement:
    """Return the statement of what is known of a configuration."""
    config = known.config
    title = f"DICOM Conformance Statement: {MANUFACTURER} {__version__}, {config.node.ae_title}"
    return Statement(title=title, sections=(
        _overview(known),
        Section(title=CONTENTS),
        _introduction(),
        _model(config),
        services(known),
        communication(known),
        Section(title="Support of Character Sets", text=prose.CHARACTER_SETS.format(language=config.worker.language),
                tables=(_character_sets(config),)),
        security(config),
        objects(known),
    ))


def _overview(known: Facts) -> Section:
    text = prose.OVERVIEW.format(product=MANUFACTURER, version=__version__, config=known.config.path.name)
    return Section(title="Overview", text=text + prose.INTENDED, tables=(overview_table(known), _models(known)))


def overview_table(known: Facts) -> Table:
    """Return each SOP Class with the roles in which the node has it."""
    provided = [str(row[1]) for row in scp_contexts(known).rows if row[4] in {SCP, BOTH_ROLES}]
    used = [str(row[1]) for row in scu_contexts(known).rows if row[4] != SENDS_REPORTS]
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (name_of(uid), uid, YES if uid in used else NO, YES if uid in provided else NO)
        for uid in dict.fromkeys([*provided, *used]))
    return Table(title=OVERVIEW, columns=("SOP Class", "SOP Class UID", "User (SCU)", "Provider (SCP)"), rows=rows)


def _models(known: Facts) -> Table:
    return Table(title=MODELS, columns=("Model", "Version", "Task", "Intended use"), rows=tuple(
        (model.name, model.version, model.task, model.intended_use) for model in known.models.values()))


def _introduction() -> Section:
    return Section(title="Introduction", sections=(
        Section(title="Revision history", tables=(Table(
            title="Revision", columns=("Software version", "Statement"),
            rows=((__version__, "generated from this version and this configuration"),)),)),
        Section(title="Audience", text=prose.AUDIENCE), Section(title="Remarks", text=prose.REMARKS),
        Section(title="Terms and abbreviations", text=prose.TERMS), Section(title="References", text=prose.REFERENCES)))


def _model(config: NodeConfig) -> Section:
    functions = prose.FUNCTIONS.format(
        ae_title=config.node.ae_title, quiet_s=f"{config.completion.quiet_s:g}",
        max_wait_s=f"{config.completion.max_wait_s:g}")
    return Section(title="Implementation Model", sections=(
        Section(title="Application data flow", text=prose.DATA_FLOW),
        Section(title="Functional definition of application entities", text=functions),
        Section(title="Sequencing of real-world activities", text=prose.SEQUENCE)))


def _character_sets(config: NodeConfig) -> Table:
    fallbacks = {term: tuple(peer.name for peer in config.peers.values() if peer.charset_fallback == term)
                 for term in CHARACTER_SETS}
    return Table(title="Character sets that are read", columns=("Defined Term", "Assumed for images of"),
                 rows=tuple((term, fallbacks[term]) for term in CHARACTER_SETS))
