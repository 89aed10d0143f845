"""``node.toml`` as the rooms take it: parsed, checked, paths made absolute, every mistake at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dicomnode.config.conditions import wanted_of
from dicomnode.config.models import find_model, named_model, places
from dicomnode.config.node_schema import NODE_FILE, AuditTable, NodeFile, NodeTable, PeerTable, RouteTable, TlsTable
from dicomnode.config.rules import broken_rules, route_places, words
from dicomnode.config.toml import check, parse, read_text
from dicomnode.domain.audit import AuditSettings
from dicomnode.domain.node import NodeConfig, NodeSettings, Peer, ReceiveSettings, Route
from dicomnode.domain.roles import (
    CompletionSettings,
    DeliverySettings,
    LogSettings,
    RetentionSettings,
    WebSettings,
    WorkerSettings,
)
from dicomnode.domain.security import TlsSettings
from dicomnode.errors import ConfigError, ModelMissing

DATABASE_URL_VARIABLE: Final = "DICOMNODE_DATABASE_URL"
NO_FILE_ADVICE: Final = "name another with --config or DICOMNODE_CONFIG, or copy the example node.toml"
SQLITE_PREFIX: Final = "sqlite:///"
TLS_FILES: Final = ("certificate", "key", "key_password_file", "ca")
AUDIT_SECRETS: Final = ("syslog_ca", "syslog_certificate", "syslog_key")


def load(path: Path, *, environ: Mapping[str, str]) -> NodeConfig:
    """Return the configuration in ``path``, every part of it checked, model files included.

    Relative paths in it start at the folder of ``path``. ``DICOMNODE_DATABASE_URL`` in ``environ``
    goes before ``database_url`` and ``database_url_file``.

    Raises
    ------
    ConfigError
        With every mistake: file, key path, the value met, what is allowed.
    """
    path = path.absolute()
    raw = parse(read_text(path, advice=NO_FILE_ADVICE), str(path))
    tables, problems = check(NODE_FILE, raw, str(path))
    problems += [f"{path}: {problem}" for problem in broken_rules(raw)]
    problems += _model_problems(raw, path)
    if problems:
        raise ConfigError(*problems)
    return _config(tables[0], path, environ)


def _config(table: NodeFile, path: Path, environ: Mapping[str, str]) -> NodeConfig:
    try:
        node = _node(table.get("node", {}), path.parent, environ)
        return NodeConfig(
            path=path,
            node=node,
            receive=ReceiveSettings(**_tuples(table.get("receive", {}))),
            completion=CompletionSettings(**table.get("completion", {})),
            worker=WorkerSettings(**table.get("worker", {})),
            delivery=DeliverySettings(**table.get("delivery", {})),
            retention=RetentionSettings(**table.get("retention", {})),
            web=WebSettings(**table.get("web", {})),
            log=LogSettings(**table.get("log", {})),
            tls=_tls(table.get("tls", {}), path.parent),
            audit=_audit(table.get("audit", {}), path.parent, node.data_dir),
            peers={name: _peer(name, peer) for name, peer in table.get("peers", {}).items()},
            routes=tuple(_route(route) for route in table.get("routes", [])),
        )
    except ValueError as error:
        msg = f"{path}: {error}"
        raise ConfigError(msg) from error


def _node(table: NodeTable, folder: Path, environ: Mapping[str, str]) -> NodeSettings:
    values: dict[str, Any] = {key: value for key, value in table.items() if key != "database_url_file"}
    for key in ("data_dir", "models_dir"):
        values[key] = _below(folder, values.get(key, str(getattr(NODE_DEFAULTS, key))))
    values["database_url"] = environ.get(DATABASE_URL_VARIABLE, "") or _database_url(table, folder)
    return NodeSettings(**values)


def _database_url(table: NodeTable, folder: Path) -> str:
    if "database_url_file" in table:
        secret = _below(folder, table["database_url_file"])
        return read_text(secret, advice="[node] database_url_file names it").strip()
    url = table.get("database_url", "")
    if url.startswith(SQLITE_PREFIX) and url != SQLITE_PREFIX:
        return SQLITE_PREFIX + str(_below(folder, url.removeprefix(SQLITE_PREFIX)))
    return url


def _audit(table: AuditTable, folder: Path, data_dir: Path) -> AuditSettings:
    """Return the settings with absolute paths: the file's starts at ``data_dir``, the others at the folder."""
    values: dict[str, Any] = dict(table)
    for key, start in (("file", data_dir), *((key, folder) for key in AUDIT_SECRETS)):
        if values.get(key):
            values[key] = str(_below(start, values[key]))
    return AuditSettings(**values)


def _tls(table: TlsTable, folder: Path) -> TlsSettings:
    values = _tuples(table)
    values |= {key: _below(folder, values[key]) for key in TLS_FILES if key in values}
    return TlsSettings(**values)


def _below(folder: Path, text: str) -> Path:
    return Path(folder / Path(text).expanduser()).resolve()


def _peer(name: str, table: PeerTable) -> Peer:
    return Peer(name=name, **_tuples(table))


def _route(table: RouteTable) -> Route:
    values = _tuples(table)
    values["from_"] = values.pop("from", ())
    values["when"] = wanted_of(table.get("when", {}))
    return Route(**values)


def _tuples(table: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in table.items()}


def _model_problems(raw: Mapping[str, Any], path: Path) -> Iterator[str]:
    """Yield what is wrong with the model files that routes name; each file is read once."""
    node = raw.get("node")
    named = node.get("models_dir") if isinstance(node, dict) else None
    models_dir = named if isinstance(named, str) else str(NODE_DEFAULTS.models_dir)
    folders = places(path.parent, _below(path.parent, models_dir))
    seen: set[str] = set()
    for place, route in route_places(raw):
        for name in words(route.get("model")):
            if name not in seen:
                seen.add(name)
                yield from _problems_of_model(name, folders, f"{path}: {place}")


def _problems_of_model(name: str, folders: tuple[Path, ...], place: str) -> Iterator[str]:
    try:
        path = find_model(name, folders)
        if not named_model(name, path).confirmed:
            yield (f"{place}: model {name}: {path} says confirmed = false: its inputs and codes are guesses. "
                   "Go through it, then say confirmed = true")
    except ModelMissing as error:
        yield f"{place}: {error}"
    except ConfigError as error:
        yield from error.problems


NODE_DEFAULTS: Final = NodeSettings()
