"""The child process: locks itself up, loads one bundle from memory, answers with labels.

Started by ``dicomnode.infer.process``; talks over the socket whose descriptor is its first argument.
torch and MONAI are imported here, after the cage is shut, and nowhere above.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from dicomnode.infer import sandbox, wire

if TYPE_CHECKING:
    import torch

    from dicomnode.infer.job import Runner

UNWANTED: Final = ("matplotlib", "ignite", "tensorboard", "pandas", "skimage", "itk", "fire", "IPython", "mlflow",
                   "openvino_telemetry")
"""Packages that MONAI and OpenVINO would import if they found them: slow, wanting to write caches or to call home."""
OWN_CODE: Final = ("ignite", "pandas", "skimage", "itk")
"""Of these, what a bundle's own evaluator and scripts may need."""
COMPONENTS: Final = (b"KeepLargestConnectedComponent", b"RemoveSmallObjects")
"""Transforms that need scikit-image; MONAI asks for it while it is imported, so it must be admitted before."""
PROGRESS_EVERY_S: Final = 0.1


def main(arguments: list[str]) -> int:
    """Serve requests until the parent closes the channel."""
    channel = socket.socket(fileno=int(arguments[0]))
    parent_pid, gpu = int(arguments[1]), arguments[2] == "gpu"
    report = sandbox.enter(parent_pid=parent_pid, gpu=gpu)
    warnings.simplefilter("ignore")
    for name in UNWANTED:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    server = _Server(channel, report)
    try:
        while True:
            server.answer(*wire.receive(channel))
    except (EOFError, ConnectionError):
        return os.EX_OK


class _Server:
    """Holds the one bundle of this process."""

    def __init__(self, channel: socket.socket, report: Mapping[str, str]) -> None:
        self._channel, self._report = channel, report
        self._runner: Runner | None = None

    def answer(self, message: wire.Message, fds: list[int]) -> None:
        """Do what a message asks; every failure becomes an answer with its class and its sentence."""
        try:
            action = self._load if message["do"] == "load" else self._run
            reply = action(message, fds)
        except Exception as error:  # noqa: BLE001 - the edge: whatever a bundle raises must reach the parent
            reply = {"error": type(error).__name__, "message": str(error)[:4000]}
        finally:
            for fd in fds:
                os.close(fd)
        try:
            wire.send(self._channel, reply)
        except wire.TooLargeError as error:
            said = (f"the bundle finds too much to be told: {error}; raise its score threshold, or let it keep fewer "
                    "boxes, by [runtime] overrides")
            wire.send(self._channel, {"error": "ModelFailed", "message": said})

    def _load(self, message: wire.Message, fds: list[int]) -> wire.Message:
        start = time.perf_counter()
        import torch

        from dicomnode.infer.job import Loading, runner_of

        files = {path: _read(fd) for path, fd in zip(message["files"], fds, strict=True)}
        if message["model"]["trust"] == "code":
            _admit(OWN_CODE)
        elif any(name in content for path, content in files.items() if path.startswith("configs/")
                 for name in COMPONENTS):
            _admit(("skimage",))
        torch.set_num_threads(max(1, message["threads"]))
        device = _device(message["device"])
        if device.type == "cpu":
            _limit_memory(message["memory_limit_mb"])
        self._runner = runner_of(Loading(files=files, overrides=message["overrides"], device=device,
                                         model=message["model"]))
        return {"ok": True, "seconds": time.perf_counter() - start, "device": str(device), "sandbox": self._report}

    def _run(self, message: wire.Message, fds: list[int]) -> wire.Message:
        import numpy as np

        from dicomnode.infer.job import Job

        if self._runner is None:
            msg = "asked to run before a bundle was loaded"
            raise RuntimeError(msg)
        shape, count = message["shape"], len(message["inputs"])
        inputs, result, maps = fds[:count], fds[count], fds[count + 1:]
        channels = [wire.view(fd, item["dtype"], shape) for fd, item in zip(inputs, message["inputs"], strict=True)]
        answer = self._runner.run(Job(
            channels_zyx=channels, affine_ras_mm=np.asarray(message["affine_ras_mm"], dtype=np.float64),
            settings=message["settings"], progress=self._progress(),
            out_zyx=wire.view(result, message["out_dtype"], shape, writable=True), quantity=message.get("quantity", ""),
            map_zyx=wire.view(maps[0], "float32", shape, writable=True) if maps else None))
        return {"ok": True, "seconds": dict(answer.seconds), "notes": list(answer.notes), "found": dict(answer.found),
                "no_map": answer.no_map, "peak_mb": _peak_mb(), "device": str(self._runner.device)}

    def _progress(self) -> Callable[[float], None]:
        last = 0.0

        def tell(fraction: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= PROGRESS_EVERY_S or fraction >= 1:
                last = now
                wire.send(self._channel, {"progress": fraction})

        return tell


def _admit(packages: Sequence[str]) -> None:
    """Let packages be imported after all; before MONAI, which looks for them once."""
    for name in packages:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]


def _device(name: str) -> torch.device:
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def _read(fd: int) -> bytes:
    size = os.fstat(fd).st_size
    return os.pread(fd, size, 0) if size < (1 << 30) else b"".join(
        os.pread(fd, 1 << 28, offset) for offset in range(0, size, 1 << 28))


def _limit_memory(limit_mb: int) -> None:
    """Let allocation fail inside this process before the parent has to kill it: only then can less be tried."""
    if limit_mb:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, hard))


def _peak_mb() -> float:
    with open("/proc/self/status", encoding="ascii") as status:  # noqa: PTH123 - Path would import more
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
