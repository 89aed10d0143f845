"""One child process as the parent sees it: start, ask, watch time and memory, kill."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

from dicomnode import errors
from dicomnode.errors import ClaimLost, GpuOutOfMemory, InferenceError, ModelProcessDied, ModelTimeout
from dicomnode.infer import wire

WATCH_EVERY_S: Final = 0.1
STOP_WITHIN_S: Final = 2.0
STDERR_KEPT_BYTES: Final = 2000
PASSED_ON: Final = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES")
"""What of the environment a child gets besides what Python needs: where the GPU's driver lies."""
MB: Final = 1 << 20


class ChildProcess:
    """A warm child; used by one thread at a time.

    Parameters
    ----------
    name:
        The model's name, for messages.
    threads:
        How many threads the child may use.
    """

    def __init__(self, name: str, *, device: str, threads: int) -> None:
        self.name = name
        self._channel, theirs = wire.pair()
        self._errors = b""
        gpu = "cpu" if device == "cpu" else "gpu"
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, our own interpreter
                [sys.executable, "-m", "dicomnode.infer.child", str(theirs.fileno()), str(os.getpid()), gpu],
                pass_fds=[theirs.fileno()], env=_environment(threads), cwd="/", start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the child still runs."""
        return self._process.poll() is None

    def ask(self, message: Mapping[str, object], fds: Sequence[int], *, deadline_s: float, time_limit_s: float,
            memory_limit_mb: int, progress: Callable[[float], None] | None = None,
            cancelled: threading.Event | None = None) -> wire.Message:
        """Send a request and wait for its answer; on any trouble the child is dead when this returns.

        Parameters
        ----------
        deadline_s:
            On the monotonic clock.

        Raises
        ------
        ModelTimeout, ModelProcessDied, GpuOutOfMemory, ModelFailed, ModelRefused
            What became of the request.
        ClaimLost
            If ``cancelled`` was set.
        """
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._send(message, fds)
            while True:
                answer = self._next(deadline_s, time_limit_s, memory_limit_mb, cancelled)
                if "progress" not in answer:
                    break
                if progress:
                    progress(_fraction(answer, self.name))
        except BaseException:
            self.kill()
            raise
        if "error" in answer:
            raise _as_error(answer, self.name)
        return answer

    def _send(self, message: Mapping[str, object], fds: Sequence[int]) -> None:
        try:
            wire.send(self._channel, message, fds)
        except wire.TooLargeError as error:
            msg = f"model {self.name}: [runtime] overrides and the names of its bundle's files are too long: {error}"
            raise errors.ModelFailed(msg) from error

    def _next(self, deadline_s: float, time_limit_s: float, memory_limit_mb: int,
              cancelled: threading.Event | None) -> wire.Message:
        while True:
            if cancelled is not None and cancelled.is_set():
                msg = f"model {self.name}: canceled while it ran; its process was killed"
                raise ClaimLost(msg)
            if time.monotonic() > deadline_s:
                msg = f"model {self.name}: no result within time_limit_s = {time_limit_s:g}; its process was killed"
                raise ModelTimeout(msg)
            held_mb = self._resident_mb()
            if memory_limit_mb and held_mb > memory_limit_mb:
                msg = (
                    f"model {self.name}: its process held {held_mb:.0f} MB, memory_limit_mb = {memory_limit_mb}; "
                    "it was killed. Raise the limit in the model file, or switch fast_resample on"
                )
                raise GpuOutOfMemory(msg)
            if (answer := self._poll()) is not None:
                return answer

    def _poll(self) -> wire.Message | None:
        stderr = self._process.stderr
        streams: list[socket.socket | IO[bytes]] = [self._channel, *([stderr] if stderr and not stderr.closed else [])]
        ready, _, _ = select.select(streams, [], [], WATCH_EVERY_S)
        if stderr in ready and stderr is not None:
            text = os.read(stderr.fileno(), 1 << 16)
            self._errors = (self._errors + text)[-STDERR_KEPT_BYTES:]
            if not text:
                stderr.close()
        if self._channel in ready:
            try:
                message, fds = wire.receive(self._channel)
            except (EOFError, ConnectionError):
                raise self._death() from None
            except wire.GarbledError as error:
                raise garbled(self.name, error) from error
            for fd in fds:
                os.close(fd)
            return message
        return None

    def _death(self) -> ModelProcessDied:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_WITHIN_S)
        code = self._process.returncode
        how = "closed its channel" if code is None else f"ended with exit status {code}" if code >= 0 \
            else f"was ended by {signal.Signals(-code).name}"
        if code == -signal.SIGKILL:
            how += " (the kernel's out-of-memory killer, or an operator)"
        said = self._remaining_stderr()
        msg = f"model {self.name}: its process {how} without an answer{said}"
        return ModelProcessDied(msg)

    def _remaining_stderr(self) -> str:
        stderr = self._process.stderr
        if stderr is not None and not stderr.closed:
            os.set_blocking(stderr.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                self._errors = (self._errors + os.read(stderr.fileno(), 1 << 16))[-STDERR_KEPT_BYTES:]
        text = self._errors.decode(errors="replace").strip()
        return f"; it last said: {text.splitlines()[-1][:300]}" if text else ""

    def _resident_mb(self) -> float:
        try:
            pages = int(Path(f"/proc/{self.pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, ValueError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / MB

    def forget_peak(self) -> None:
        """Let the kernel measure the peak of the next request alone, where it allows that."""
        with contextlib.suppress(OSError):
            Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")

    def close(self) -> None:
        """Ask the child to end; kill it if it does not."""
        self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_WITHIN_S)
        self.kill()

    def kill(self) -> None:
        """Kill the child and everything it may have started."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._channel.close()
        if self._process.stderr is not None:
            self._process.stderr.close()


def _environment(threads: int) -> dict[str, str]:
    """Return the child's whole environment.

    Notes
    -----
    Idle threads sleep (``OMP_WAIT_POLICY``): by default they spin at every barrier, and where receiver and keeper
    share the cores, inference then took two to four times as long.
    """
    package_parent = str(Path(errors.__file__).resolve().parent.parent)
    count = str(max(1, threads))
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **kept, "PYTHONPATH": package_parent, "PYTHONNOUSERSITE": "1", "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1", "OMP_NUM_THREADS": count, "OMP_WAIT_POLICY": "PASSIVE",
        "OPENBLAS_NUM_THREADS": count, "MKL_NUM_THREADS": count, "HOME": "/nonexistent", "LOGNAME": "dicomnode",
        "TORCHINDUCTOR_CACHE_DIR": "/nonexistent",
    }


def _fraction(answer: wire.Message, name: str) -> float:
    try:
        return float(answer["progress"])
    except (TypeError, ValueError) as error:
        raise garbled(name, error) from error


def garbled(name: str, why: Exception) -> errors.ModelFailed:
    """Return the error for a child that answers what is no answer: only a bundle's own code can bring it to that."""
    return errors.ModelFailed(f"model {name}: its process answered what is no answer ({type(why).__name__}: {why}); "
                              "the bundle's own code disturbs the channel to the node")


def _as_error(answer: wire.Message, name: str) -> InferenceError:
    known = {kind.__name__: kind for kind in (errors.ModelFailed, errors.ModelRefused, GpuOutOfMemory)}
    what, message = str(answer["error"]), str(answer.get("message", ""))
    kind = known.get(what, errors.ModelFailed)
    said = message if what in known else f"{what}: {message}"
    return kind(f"model {name}: {said}")
