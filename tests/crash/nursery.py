"""Roles that start in a tenth of a second: one process has imported the node, each role is a fork of it.

What runs is what ``python -m dicomnode`` runs, in a process of its own that can be killed as any other; only the
imports are shared, so that hundreds of restarts fit a test.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from tests.crash.points import Point, arm
from tests.crash.power import Recorder

BORNE = {"storing": ("run.receiver", "run.keeper"), "working": ("run.worker", "run.sender")}
ROOT = Path(__file__).resolve().parents[2]


class Nursery:
    """The process that bears roles; ``close`` kills what still lives of them.

    Parameters
    ----------
    roles:
        Key of ``BORNE``: receiver and keeper shut pixel decoders out, so they cannot share imports with the others.
    """

    def __init__(self, roles: str, environment: dict[str, str]) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery", roles], cwd=ROOT, env={**os.environ, **environment},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def bear(self, words: list[str], log: Path, *, point: Point | None, told: Path, spool: Path, journal: Path) -> int:
        """Start ``dicomnode WORDS`` and return its process id."""
        return int(self._ask({"words": words, "log": str(log), "point": point.values() if point else None,
                              "told": str(told), "spool": str(spool), "journal": str(journal)})["pid"])

    def ended(self) -> dict[int, int]:
        """Return the exit codes of those that ended since the last call; of a killed one, minus the signal."""
        return {int(pid): code for pid, code in self._ask({})["ended"].items()}

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())


def _bear(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        os.setsid()
        os.environ["DICOMNODE_PARENT"] = str(os.getppid())  # so that no role outlives a test that is broken off
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for ours, theirs in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(ours, theirs)
        Recorder(Path(request["spool"]), Path(request["journal"]))
        if request["point"]:
            arm(Point.of(request["point"]), Path(request["told"]))
        from dicomnode.cli import main

        sys.argv = ["dicomnode", *request["words"]]
        main()
        code = 0
    except SystemExit as ending:
        code = ending.code if isinstance(ending.code, int) else 1
    except BaseException:  # noqa: BLE001  a fork never returns into the loop of its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _reap(living: set[int]) -> dict[int, int]:
    ended = {}
    for pid in list(living):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            living.discard(pid)
            ended[pid] = os.waitstatus_to_exitcode(status)
    return ended


def _import(roles: str) -> None:
    if roles == "storing":
        from dicomnode.run.undecoded import shut_out_decoders

        shut_out_decoders()
    for name in ("cli.roles", "run.auditing", *BORNE[roles]):
        importlib.import_module(f"dicomnode.{name}")


def serve(roles: str) -> None:
    """Import what roles import, then bear what is asked for until nobody asks any more."""
    _import(roles)
    living: set[int] = set()
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        if "words" in request:
            pid = _bear(request)
            living.add(pid)
            answer = {"pid": pid}
        else:
            ended |= _reap(living)
            answer, ended = {"ended": ended}, {}
        print(json.dumps(answer), flush=True)  # noqa: T201
    for pid in living:
        os.kill(pid, 9)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    serve(sys.argv[1])
