"""Reads files as keeper and worker do, in a process with little memory and a clock: ``python -m tests.hammer FOLDER``.

Prints one JSON object per line: file, what each reader said (``ok``, or the class of the error), and the seconds.
"""

from __future__ import annotations

import json
import logging
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MEMORY_BYTES = 4 << 30
EACH_S = 60
WHOLE_S = 280


class TooSlow(BaseException):
    """One file took longer than ``EACH_S``."""


def hammered(folder: Path, *, whole_s: float = WHOLE_S) -> dict[str, dict[str, str]]:
    """What each reader said of each file below ``folder``; fails if the process that read them died."""
    done = subprocess.run([sys.executable, "-m", "tests.hammer", str(folder)], cwd=ROOT, check=False,
                          capture_output=True, text=True, timeout=whole_s)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    begun = lines[-1]["file"] if lines else "none"
    assert done.returncode == 0, f"the reader ended with {done.returncode} at {begun}: {done.stderr[-2000:]}"
    return {line["file"]: line["said"] for line in lines if "said" in line}


def main(folder: Path) -> None:
    """Read every file of a folder in every way that the node reads one."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    signal.signal(signal.SIGALRM, _too_slow)
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    ways = _ways()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            name = str(path.relative_to(folder))
            _tell({"file": name})
            began_s = time.monotonic()
            said = {way: _said(reader, path) for way, reader in ways.items()}
            _tell({"file": name, "said": said, "seconds": time.monotonic() - began_s})


def _tell(line: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _ways() -> dict[str, Callable[[Path], object]]:
    from dicomnode.domain.model import InputRole
    from dicomnode.read import header
    from dicomnode.read.part10 import parse
    from dicomnode.read.pixels import stored_frames
    from dicomnode.read.series import load, load_headers

    role = InputRole(role="x")
    return {
        "index": header.record,
        "load": lambda path: load([path], role),
        "report": lambda path: load_headers([path]),
        "decode": lambda path: [frame.sum() for frame in stored_frames(parse(path), [1])],
    }


def _said(reader: Callable[[Path], object], path: Path) -> str:
    from dicomnode.errors import DicomNodeError

    signal.alarm(EACH_S)
    try:
        reader(path)
    except DicomNodeError as error:
        return type(error).__name__
    except (Exception, TooSlow) as error:  # noqa: BLE001  whatever escapes is what is looked for
        return f"ESCAPED {type(error).__name__}: {error}"[:300]
    finally:
        signal.alarm(0)
    return "ok"


def _too_slow(_number: int, _frame: object) -> None:
    raise TooSlow


if __name__ == "__main__":
    main(Path(sys.argv[1]))
