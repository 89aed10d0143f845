"""A bundle's whole workflow made fit to run on a volume in memory: nothing loaded, nothing saved, nothing logged.

Works on plain data: what a bundle's own code then does is bounded by the sandbox, not by this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from dicomnode.errors import ModelFailed
from dicomnode.infer.allowed import REMOVED
from dicomnode.infer.audit import REFERENCE, at, short_name

SILENCED: Final = frozenset({"StatsHandler", "LrScheduleHandler", "GarbageCollector", "LogfileHandler", "MLFlowHandler",
                             "ClearMLStatsHandler", "ClearMLImageHandler", "EarlyStopHandler"})
"""Handlers that log, print or reach out: not what a node wants to hear."""
WRITES: Final = re.compile(r"(Saver|Writer|Logger|TensorBoard\w*)(d|D|Dict)?$|^Save[A-Z]")
"""Names of classes, the bundle's own among them, that exist to write files."""
LOADING: Final = frozenset({"num_workers", "shuffle", "persistent_workers", "prefetch_factor", "pin_memory", "timeout",
                            "sampler", "buffer_size", "buffer_timeout", "use_thread_workers", "repeats"})
"""Arguments of data loaders that concern many items, or other processes."""
RUNS_IT: Final = re.compile(r"@evaluator\.run\(")
OWN_ITEMS: Final = "dicomnode_own_items"
"""Id of the data that the bundle's own data set would have had."""
SAVED: Final = "dicomnode_saved"
"""Id of the expression by which the bundle's own saver would turn the evaluator's output into what it writes."""


def unattended(config: Mapping[str, Any], *, bundle_root: str, device: str, without: frozenset[str] = frozenset()
               ) -> dict[str, Any]:
    """Return the config with loaders, savers and loggers gone and an empty data set of one item.

    Parameters
    ----------
    without:
        More names of classes to take out.

    Raises
    ------
    ModelFailed
        If it has no evaluator, or no data set that the volume could take the place of.
    """
    for name in ("evaluator", "dataset"):
        if not isinstance(config.get(name), Mapping):
            msg = (f"the bundle's config has no {name!r}: trust = 'code' runs a bundle's own evaluator over its own "
                   "data set; where it has none, wrap it, or use trust = 'pieces'")
            raise ModelFailed(msg)
    clean = {name: _cleaned(value, config, without) for name, value in config.items()}
    data, transform = clean["dataset"].get("data", []), clean["dataset"].get("transform")
    clean["dataset"] = {"_target_": "monai.data.Dataset", "data": [{}], "transform": transform}
    if isinstance(clean.get("dataloader"), Mapping):
        clean["dataloader"] = _one_item(clean["dataloader"])
    saved = _saved(config)
    return {**clean, "bundle_root": bundle_root, "device": f"$torch.device('{device}')", OWN_ITEMS: data,
            **({SAVED: saved} if saved else {})}


def before_running(config: Mapping[str, Any]) -> list[str]:
    """Return the ids of what the bundle does before its evaluator runs: ``initialize`` and the first of ``run``."""
    ids = ["initialize"] if "initialize" in config else []
    for name in ("run", "evaluating"):
        steps = config.get(name)
        for number, step in enumerate(steps if isinstance(steps, list) else []):
            if isinstance(step, str) and RUNS_IT.search(step):
                break
            ids.append(f"{name}::{number}")
    return ids


def _cleaned(value: Any, config: Mapping[str, Any], without: frozenset[str]) -> Any:  # noqa: ANN401 - plain data
    if isinstance(value, list):
        return [_cleaned(item, config, without) for item in value if not _goes(item, config, without)]
    if isinstance(value, Mapping):
        item = {key: _cleaned(part, config, without) for key, part in value.items()}
        return {**item, "_disabled_": True} if _goes(item, config, without) else item
    return value


def _goes(item: object, config: Mapping[str, Any], without: frozenset[str] = frozenset()) -> bool:
    if isinstance(item, str) and (match := REFERENCE.fullmatch(item)):
        item = at(config, match[1])
    if not isinstance(item, Mapping) or not isinstance(item.get("_target_"), str):
        return False
    name = short_name(item["_target_"])
    return name in REMOVED | SILENCED | without or WRITES.search(name) is not None


def _one_item(loader: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: value for key, value in loader.items() if key not in LOADING}
    return {**kept, "_target_": "monai.data.DataLoader", "dataset": "@dataset", "num_workers": 0}


def _saved(config: Mapping[str, Any]) -> object:
    """Return the ``output_transform`` of the first saver among the handlers, if it has one."""
    handlers = config.get("handlers")
    for item in handlers if isinstance(handlers, list) else []:
        found = at(config, item[1:]) if isinstance(item, str) and item.startswith("@") else item
        if isinstance(found, Mapping) and _goes(found, config) and "output_transform" in found:
            return found["output_transform"]
    return None
