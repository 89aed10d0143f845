"""What commands share: the configuration and the ledger, opened when first asked for."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dicomnode.domain.model import ModelFile
    from dicomnode.domain.node import NodeConfig
    from dicomnode.ledger.engine import Ledger

CONFIG_DEFAULT = Path("config/node.toml")


class Context:
    """One command's view of the node.

    Parameters
    ----------
    config_path:
        The file named by ``--config`` or DICOMNODE_CONFIG.
    """

    def __init__(self, config_path: Path) -> None:
        self.config_path = config_path

    @cached_property
    def config(self) -> NodeConfig:
        """The checked configuration."""
        from dicomnode.config import load

        return load(self.config_path, environ=os.environ)

    @cached_property
    def ledger(self) -> Ledger:
        """The database, its schema up to date.

        Raises
        ------
        ConfigError
            If migrations are pending: ``dicomnode db upgrade`` runs them.
        """
        from dicomnode.errors import ConfigError
        from dicomnode.ledger.engine import Ledger

        ledger = Ledger(self.config.database_url)
        if ledger.revision() != ledger.head():
            raise ConfigError(
                f"the database is at revision {ledger.revision() or 'none'}, this program needs {ledger.head()}: "
                "run `dicomnode db upgrade`"
            )
        return ledger

    @cached_property
    def models(self) -> dict[str, tuple[ModelFile, str]]:
        """Every model that a route names, with its file's text."""
        from dicomnode.config import load_model, model_path

        names = dict.fromkeys(name for route in self.config.routes for name in route.model)
        return {
            name: (load_model(name, self.config), model_path(name, self.config).read_text(encoding="utf-8"))
            for name in names
        }
