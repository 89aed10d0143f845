"""The warm models: one child process per bundle, the least recently used one ends first.

No torch here, not even indirectly: a CUDA crash in a child never reaches the worker.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from numpy.typing import NDArray

from dicomnode.domain.findings import values_present
from dicomnode.domain.model import ModelFile
from dicomnode.domain.volume import Volume
from dicomnode.errors import ModelFailed, ModelMissing
from dicomnode.infer import output
from dicomnode.infer.digest import bundle_digest
from dicomnode.infer.process import ChildProcess, garbled
from dicomnode.infer.request import Request, described
from dicomnode.infer.verify import check_digest, check_supported, checked_copy, unreadable

Progress = Callable[[float], None]
SANDBOX_TIMEOUT_S: Final = 30


@dataclass(slots=True)
class _Warm:
    child: ChildProcess
    device: str
    lock: threading.Lock = field(default_factory=threading.Lock)


class Pool:
    """Runs models; keeps at most ``warm`` of them loaded.

    Parameters
    ----------
    models_dir:
        Where bundles lie.
    device:
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads:
        Threads per child; 0 is as many as the machine has.
    on_progress:
        Called with the model's name and the fraction of its windows that are done.
    """

    def __init__(self, models_dir: Path, *, device: str = "auto", threads: int = 0, warm: int = 2,
                 on_progress: Callable[[str, float], None] | None = None) -> None:
        self._models_dir, self._device, self._max_warm = models_dir, device, max(1, warm)
        self._threads = threads or len(os.sched_getaffinity(0))
        self._on_progress = on_progress
        self._warm: OrderedDict[str, _Warm] = OrderedDict()
        self._guard = threading.Lock()
        # Children die with the thread that started them (PR_SET_PDEATHSIG): this one lives as long as the pool.
        self._starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="infer-start")

    def verify(self, model: ModelFile) -> None:
        """Check that the bundle is there and is the pinned one.

        Raises
        ------
        ModelMissing, ModelChanged, ModelRefused
            Nothing of the bundle was parsed.
        """
        check_supported(model)
        folder = self._folder(model)
        try:
            found = bundle_digest(folder)
        except OSError as error:
            raise unreadable(model, error) from error
        check_digest(model, folder, found)

    def prepare(self, model: ModelFile) -> float:
        """Load a bundle ahead of its first study; return the seconds it took (0 when warm)."""
        check_supported(model)
        return self._loaded(model, time.monotonic() + model.runtime.time_limit_s, None)[1]

    def run(self, model: ModelFile, volumes: Mapping[str, Volume], *, progress: Progress | None = None,
            cancelled: threading.Event | None = None, with_map: bool = False) -> output.RawOutput:
        """Run a model on the volumes of its roles.

        Parameters
        ----------
        with_map:
            Whether the model shall give a map of its ``[outputs] quantity`` besides.

        Raises
        ------
        ModelMissing, ModelChanged, ModelRefused, ModelFailed
            Trying again cannot help.
        ModelTimeout, ModelProcessDied, GpuOutOfMemory
            The child is gone; the next call starts a new one.
        ClaimLost
            If ``cancelled`` was set meanwhile; the child was killed.
        """
        check_supported(model)
        start = time.monotonic()
        deadline_s = start + model.runtime.time_limit_s
        entry, load_s = self._loaded(model, deadline_s, cancelled)
        request = Request(model, volumes, with_map=with_map)
        try:
            with entry.lock:
                entry.child.forget_peak()
                answer = entry.child.ask(
                    request.message(), request.fds, deadline_s=deadline_s, time_limit_s=model.runtime.time_limit_s,
                    memory_limit_mb=model.runtime.memory_limit_mb, progress=self._tell(model, progress),
                    cancelled=cancelled)
            labels = request.labels() if model.task == "segmentation" else None
            values, unmapped = request.map(str(answer.get("no_map", "")))
        finally:
            request.close()
        if labels is not None:
            _check_labels(model, labels)
        try:
            stages: dict[str, float] = {"load": load_s, **answer["seconds"]}
            seconds = {**stages, "transfer": time.monotonic() - start - sum(stages.values())}
            return output.RawOutput(labels_zyx=labels, seconds=seconds, peak_mb=float(answer["peak_mb"]),
                             device=str(answer["device"]), notes=(*request.notes(), *map(str, answer["notes"])),
                             warnings=(*request.warnings(), *unmapped), map_zyx=values,
                             boxes=request.boxes_on_source(output.boxes(answer["found"])),
                             probabilities=output.probabilities(answer["found"]))
        except (KeyError, TypeError, ValueError) as error:
            entry.child.kill()
            raise garbled(model.name, error) from error

    def close(self) -> None:
        """End every child."""
        with self._guard:
            for entry in self._warm.values():
                entry.child.close()
            self._warm.clear()
        self._starter.shutdown()

    def __enter__(self) -> Self:
        """Return the pool itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End every child."""
        self.close()

    def _tell(self, model: ModelFile, progress: Progress | None) -> Progress:
        def tell(fraction: float) -> None:
            if progress:
                progress(fraction)
            if self._on_progress:
                self._on_progress(model.name, fraction)
        return tell

    def _loaded(self, model: ModelFile, deadline_s: float, cancelled: threading.Event | None) -> tuple[_Warm, float]:
        key = _key(model)
        with self._guard:
            entry = self._warm.get(key)
            if entry is not None and entry.child.alive:
                self._warm.move_to_end(key)
                return entry, 0.0
            self._forget(key)
            start = time.monotonic()
            entry = self._start(model, deadline_s, cancelled)
            self._warm[key] = entry
            while len(self._warm) > self._max_warm:
                self._forget(next(iter(self._warm)))
            return entry, time.monotonic() - start

    def _forget(self, key: str) -> None:
        entry = self._warm.pop(key, None)
        if entry is not None:
            entry.child.close()

    def _start(self, model: ModelFile, deadline_s: float, cancelled: threading.Event | None) -> _Warm:
        folder = self._folder(model)
        child = self._starter.submit(ChildProcess, model.name, device=self._device, threads=self._threads).result()
        try:
            copy = checked_copy(model, folder)
            try:
                answer = child.ask(
                    {"do": "load", "files": list(copy.memory), "overrides": dict(model.runtime.overrides),
                     "model": described(model), "device": self._device, "threads": self._threads,
                     "memory_limit_mb": model.runtime.memory_limit_mb},
                    list(copy.memory.values()), deadline_s=deadline_s, time_limit_s=model.runtime.time_limit_s,
                    memory_limit_mb=model.runtime.memory_limit_mb, cancelled=cancelled)
            finally:
                copy.close()
        except BaseException:
            child.kill()
            raise
        return _Warm(child=child, device=str(answer.get("device")))

    def _folder(self, model: ModelFile) -> Path:
        folder = self._models_dir / model.bundle
        if not folder.is_dir():
            msg = f"model {model.name}: no bundle at {folder}; put it there, or correct bundle in its model file"
            raise ModelMissing(msg)
        return folder


def sandbox_report() -> dict[str, str]:
    """Return what this machine's kernel grants a child; keys as ``dicomnode.infer.sandbox.enter``."""
    command = [sys.executable, "-m", "dicomnode.infer.sandbox"]
    package_parent = str(Path(__file__).resolve().parents[2])
    try:
        done = subprocess.run(command, env={"PYTHONPATH": package_parent}, cwd="/",  # noqa: S603 - our own module
                              capture_output=True, timeout=SANDBOX_TIMEOUT_S, check=True)
        report: dict[str, str] = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return {"sandbox": f"not available: {error}"}
    return report


def _key(model: ModelFile) -> str:
    loaded_with = [dict(model.runtime.overrides), described(model), model.runtime.memory_limit_mb]
    said = json.dumps(loaded_with, sort_keys=True, default=str)
    return f"{model.bundle}|{model.digest}|{said}"


def _check_labels(model: ModelFile, labels: NDArray[Any]) -> None:
    present = values_present(labels, overlapping=model.overlapping)
    unknown = sorted(present - {0} - {label.value for label in model.labels})
    if unknown:
        msg = f"model {model.name}: its mask holds the values {unknown}, which no [[labels]] of the model file names"
        raise ModelFailed(msg)
