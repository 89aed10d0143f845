"""Where a process may be made to die: one real function, and which of its calls. Nothing of the node is replaced.

The function is wrapped in the process that is to die, and does what it always does until the chosen call: just before
it, just after it, or with half of the bytes that it was given sent, the process sends itself a signal.
"""

from __future__ import annotations

import functools
import importlib
import itertools
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

DOORS = {"dicomnode.ledger.engine", "dicomnode.run.patience", "Sender._write"}
"""Modules and functions through which others commit."""
COMMIT = "sqlalchemy.engine.default:DefaultDialect.do_commit"


@dataclass(frozen=True)
class Point:
    """A step of one role; ``by`` is the function of the node that makes the call, where the call is not its own.

    ``when`` is before, after or amid the call; never: the call is left out, each time, and nothing dies.
    """

    step: str
    role: str
    target: str
    when: str
    by: str = ""
    nth: int = 1
    signal: int = signal.SIGKILL

    @classmethod
    def of(cls, values: dict[str, Any]) -> Self:
        return cls(**values)

    def values(self) -> dict[str, Any]:
        return asdict(self)


POINTS = (
    Point("an association's lock has its name, its folder not yet", "receive", "os:link", "after", "_locked_file"),
    Point("a part written", "receive", "dicomnode.spool.arrivals:write_all", "after", "Incoming.write", 2),
    Point("written, not fsynced", "receive", "os:fsync", "before", "Incoming.commit"),
    Point("fsynced, not renamed", "receive", "os:rename", "before", "Incoming.commit"),
    Point("renamed, its folder not fsynced", "receive", "os:rename", "after", "Incoming.commit"),
    Point("durable, not answered", "receive", "dicomnode.receive.wire:Wire.send_command", "before",
          "Association._answer"),
    Point("answered", "receive", "dicomnode.receive.wire:Wire.send_command", "after", "Association._answer"),
    Point("commitment heard, not kept", "receive", "dicomnode.spool.spool:write_durably", "before", "Spool.put_event"),
    Point("commitment kept, not answered", "receive", "dicomnode.spool.spool:write_durably", "after",
          "Spool.put_event"),
    Point("a study's folder made, not durable", "keep", "os:mkdir", "after", "make_folder"),
    Point("headers read, nothing linked", "keep", "os:link", "before", "_link_one"),
    Point("linked in part", "keep", "os:link", "after", "_link_one", 3),
    Point("linked, not committed", "keep", COMMIT, "before", "Indexer.step"),
    Point("committed, nothing unlinked", "keep", COMMIT, "after", "Indexer.step"),
    Point("unlinked in part", "keep", "dicomnode.spool.spool:Spool.unlink_arrival", "after", "Indexer.step", 3),
    Point("matched, not committed", "keep", COMMIT, "before", "Matcher.close", 2),
    Point("matched and committed", "keep", COMMIT, "after", "Matcher.close", 2),
    Point("commitment read, not committed", "keep", COMMIT, "before", "apply_commitments"),
    Point("commitment committed, its file still there", "keep", COMMIT, "after", "apply_commitments"),
    Point("claimed", "work", "dicomnode.run.worker:ReadAhead.claimed", "before"),
    Point("inferred, nothing measured", "work", "dicomnode.run.analyse:model_findings", "before"),
    Point("mid-encode", "work", "dicomnode.run.encoding:encode_reports", "before"),
    Point("results stored in part", "work", "dicomnode.spool.spool:Spool.put_result", "after", "put"),
    Point("results stored, not committed", "work", COMMIT, "before", "Worker._do"),
    Point("completed, nothing delivered", "work", COMMIT, "after", "Worker._do"),
    Point("delivery claimed", "deliver", "dicomnode.run.sender:Lease", "before", "Sender.step"),
    Point("mid-C-STORE", "deliver", "socket:socket.sendall", "amid", "Wire.write", 2),
    Point("stored at the peer, answer not read", "deliver", "dicomnode.deliver.wire:Wire.write", "after",
          "Association._send_message"),
    Point("answer read, item not committed", "deliver", COMMIT, "before", "Sender._mark"),
    Point("item committed", "deliver", COMMIT, "after", "Sender._mark"),
    Point("all sent, delivery not committed", "deliver", COMMIT, "before", "Sender._do"),
    Point("delivery committed", "deliver", COMMIT, "after", "Sender._do"),
    Point("commitment noted, not asked", "deliver", "dicomnode.run.asking:request_commitment", "before"),
    Point("commitment asked", "deliver", "dicomnode.run.asking:request_commitment", "after"),
)


def arm(point: Point, told: Path) -> None:
    """Wrap the function of ``point`` in this process; the step's name is appended to ``told`` when it is reached.

    A target that is not there is an AttributeError: a point never misses its step because a name changed.
    """
    module, _, path = point.target.partition(":")
    holder = functools.reduce(getattr, path.split(".")[:-1], importlib.import_module(module))
    name = path.rpartition(".")[2]
    setattr(holder, name, _wrapped(getattr(holder, name), point, told))


def _wrapped(real: Callable[..., Any], point: Point, told: Path) -> Callable[..., Any]:
    calls = itertools.count(1)

    @functools.wraps(real)
    def call(*arguments: Any, **named: Any) -> Any:
        here = not point.by or _caller() == point.by
        chosen = here and next(calls) == point.nth
        if here and point.when == "never":
            return None
        if chosen and point.when == "before":
            _end(point, told)
        elif chosen and point.when == "amid":
            real(arguments[0], arguments[1][:len(arguments[1]) // 2])
            _end(point, told)
        result = real(*arguments, **named)
        if chosen and point.when == "after":
            _end(point, told)
        return result
    return call


def _caller() -> str:
    """Return the nearest function of the node above this call; doors to the database are none."""
    frame = sys._getframe(2)
    while frame.f_back is not None:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname.partition(".<locals>")[0]
        if module.startswith("dicomnode.") and module not in DOORS and name not in DOORS:
            return name
        frame = frame.f_back
    return "nothing of the node"


def _end(point: Point, told: Path) -> None:
    with told.open("a", encoding="utf-8") as file:
        file.write(f"{point.step}\n")
    os.kill(os.getpid(), point.signal)
