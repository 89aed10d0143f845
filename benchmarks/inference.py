"""Inference: one bundle, one volume, by ``python -m monai.bundle run`` and by the node's warm child process.

    python benchmarks/inference.py [--slices 100,300] [--size 512] [--repeat 3] [--threads 2] [--only 'NAME;...']

A synthetic chest is drawn; the same voxels go to MONAI's command as NIfTI and to the child from memory. Every row gives
wall and CPU seconds, peak memory, Dice against the truth and against the command's labels. MONAI's rows are the command
as a user types it (process start included) and its evaluator running a second time in one warm process. Ours are
the child with every fast path off, each alone, and as the model file has them; ``cold`` includes starting the process,
importing torch and reading the weights. Only the ratios of one run travel to another machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from dicomnode.config import model_from_text
from dicomnode.domain.dicom import CT_IMAGE_STORAGE, InstanceRef
from dicomnode.domain.model import ModelFile, Runtime
from dicomnode.domain.volume import SlicePlane, SliceStack, Volume
from dicomnode.infer.pool import Pool
from dicomnode.infer.request import affine_ras_mm
from dicomnode.phantom.chest import ChestPhantom, chest_ct
from dicomnode.shipped import shipped

FIELD_MM = (300.0, 360.0, 360.0)
"""Field of view (slice, row, column) of the drawn chest."""
SAMPLE_EVERY_S = 0.02
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
OFF = Runtime(precision="float32")
COMMAND, EVALUATOR = "monai.bundle run", "its evaluator (warm)"
MODEL_FILE, COLD = "model file (warm)", "model file (cold)"


@dataclass(slots=True)
class Cost:
    """What a piece of work took."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


Labels = NDArray[np.uint8]
Row = Callable[[], tuple[Cost, Labels]]


def main() -> None:
    """Run the benchmark and print its tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--model", default="demo_chest", help="a shipped chest model")
    options.add_argument("--slices", default="100,300")
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    options.add_argument("--only", default="", help="names of rows, separated by semicolons; the command always runs")
    options.add_argument("--device", default="cpu")
    options.add_argument("--evaluator-twice", nargs=2, metavar=("CONFIG", "DATA"), help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.evaluator_twice:
        _evaluator_twice(*map(Path, given.evaluator_twice))
        return
    model = model_from_text((shipped("config") / "models" / f"{given.model}.toml").read_text(encoding="utf-8"),
                            source=given.model)
    for slices in map(int, given.slices.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            _compare(Bench(Path(folder), model, (slices, given.size, given.size), given.threads, given.device),
                     given.repeat, tuple(filter(None, given.only.split(";"))))


class Bench:
    """One volume in both forms, and the ways to run the bundle on it."""

    def __init__(self, folder: Path, model: ModelFile, shape_zyx: tuple[int, int, int], threads: int,
                 device: str) -> None:
        self.model, self.folder, self.threads, self.device = model, folder, threads, device
        self.phantom = _drawn(shape_zyx)
        self.volume = _volume(self.phantom)
        self.bundle = folder / "bundle"
        shutil.copytree(shipped("models") / model.bundle, self.bundle)
        (folder / "data").mkdir()
        affine = affine_ras_mm(self.volume.stack.affine_lps_mm)
        nibabel.save(nibabel.Nifti1Image(self.phantom.hu_zyx.transpose(2, 1, 0), affine), folder / "data" / "ct.nii.gz")
        self._pools: dict[str, Pool] = {}

    def rows(self) -> dict[str, Row]:
        """Every row of the table, in order."""
        alone = {
            "all off (warm)": OFF, "fast_resample alone": replace(OFF, fast_resample=True),
            "bfloat16 alone": replace(OFF, precision="bfloat16"), "clamp_roi alone": replace(OFF, clamp_roi=True),
            "crop_to_body + fast_resample": replace(OFF, fast_resample=True, crop_to_body=True),
            "openvino float32 alone": replace(OFF, backend="openvino"),
            "openvino + model file": replace(self.model.runtime, backend="openvino"),
        }
        return {COMMAND: self._command, EVALUATOR: self._evaluator,
                **{name: self._warm(name, runtime) for name, runtime in alone.items()},
                MODEL_FILE: self._warm(MODEL_FILE, self.model.runtime), COLD: self._cold}

    def _command(self) -> tuple[Cost, Labels]:
        return self._monai([sys.executable, "-m", "monai.bundle", "run", "--config_file", str(self._config()),
                            "--bundle_root", str(self.bundle), "--dataset_dir", str(self.folder / "data"),
                            "--logging_file", "False"])[0], self._saved()

    def _evaluator(self) -> tuple[Cost, Labels]:
        whole, said = self._monai([sys.executable, str(Path(__file__).resolve()), "--evaluator-twice",
                                   str(self._config()), str(self.folder / "data")])
        second = json.loads(said.splitlines()[-1])
        return replace_cost(whole, second), self._saved()

    def _config(self) -> Path:
        return self.bundle / "configs" / "inference.json"

    def _monai(self, command: Sequence[str]) -> tuple[Cost, str]:
        shutil.rmtree(self.bundle / "eval", ignore_errors=True)
        began_s = time.perf_counter()
        threads = str(self.threads)
        environment = {**os.environ, "OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        if self.device == "cpu":
            environment["CUDA_VISIBLE_DEVICES"] = ""
        with (self.folder / "said").open("w+b") as said:
            process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environment, cwd=self.folder)
            with _watched(process.pid) as peak:
                _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            said.seek(0)
            text = said.read().decode(errors="replace")
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} ended with {process.returncode}:\n{text[-3000:]}")
        cost = Cost(wall_s=time.perf_counter() - began_s, cpu_s=usage.ru_utime + usage.ru_stime,
                    peak_mb=max(peak[0], usage.ru_maxrss / 1024))
        return cost, text

    def _saved(self) -> Labels:
        path = next((self.bundle / "eval").rglob("*.nii.gz"))
        return np.asarray(nibabel.load(path).dataobj).transpose(2, 1, 0).astype(np.uint8)

    def _warm(self, name: str, runtime: Runtime) -> Row:
        def run() -> tuple[Cost, Labels]:
            if name not in self._pools:
                self._pools[name] = self._pool()
                self._run(self._pools[name], runtime)
            return self._run(self._pools[name], runtime)
        return run

    def _cold(self) -> tuple[Cost, Labels]:
        with self._pool() as pool:
            return self._run(pool, self.model.runtime)

    def _pool(self) -> Pool:
        return Pool(shipped("models"), device=self.device, threads=self.threads, warm=1)

    def _run(self, pool: Pool, runtime: Runtime) -> tuple[Cost, Labels]:
        model = replace(self.model, runtime=replace(runtime, time_limit_s=3600.0, memory_limit_mb=64_000))
        before = {pid: _cpu_s(pid) for pid in _children(os.getpid())}
        ours_s, began_s = time.process_time(), time.perf_counter()
        output = pool.run(model, {model.inputs[0].role: self.volume})
        wall_s = time.perf_counter() - began_s
        cpu_s = time.process_time() - ours_s
        cpu_s += sum(_cpu_s(pid) - before.get(pid, 0.0) for pid in _children(os.getpid()))
        assert output.labels_zyx is not None  # noqa: S101 - a segmentation gives labels
        return Cost(wall_s=wall_s, cpu_s=cpu_s, peak_mb=output.peak_mb, seconds=output.seconds,
                    notes=output.notes), output.labels_zyx.astype(np.uint8)

    def close(self, name: str) -> None:
        """End the child of a row, so that it shares the machine with no other."""
        if name in self._pools:
            self._pools.pop(name).close()


def replace_cost(whole: Cost, second: Mapping[str, float]) -> Cost:
    """The second run's seconds; the peak is the process's."""
    return Cost(wall_s=second["wall_s"], cpu_s=second["cpu_s"], peak_mb=whole.peak_mb)


def _evaluator_twice(config: Path, data: Path) -> None:
    """Run the bundle's own evaluator twice in this process; print what the second run took."""
    from monai.bundle import ConfigWorkflow

    workflow = ConfigWorkflow(config_file=str(config), workflow_type="infer", logging_file=False,
                              bundle_root=str(config.parents[1]), dataset_dir=str(data))
    workflow.initialize()
    workflow.run()
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    workflow.run()
    print()
    print(json.dumps({"wall_s": time.perf_counter() - wall_s, "cpu_s": time.process_time() - cpu_s}))


def _drawn(shape_zyx: tuple[int, int, int]) -> ChestPhantom:
    print(f"drawing {shape_zyx[0]} slices of {shape_zyx[1]}² ...", flush=True)
    spacing = tuple(extent / count for extent, count in zip(FIELD_MM, shape_zyx, strict=True))
    return chest_ct(7, shape_zyx=shape_zyx, spacing_zyx_mm=(spacing[0], spacing[1], spacing[2]), nodules=4,
                    nodule_diameters_mm=(8.0, 15.0))


def _volume(phantom: ChestPhantom) -> Volume:
    dz, dy, dx = phantom.spacing_zyx_mm
    uid = "2.25.1"
    planes = tuple(
        SlicePlane(position_lps_mm=np.array([-180.0, -180.0, k * dz]), row_lps=np.array([1.0, 0, 0]),
                   column_lps=np.array([0, 1.0, 0]), pixel_spacing_mm=(dy, dx),
                   instance=InstanceRef(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid=f"2.25.{k + 2}"))
        for k in range(phantom.hu_zyx.shape[0]))
    stack = SliceStack(study_uid=uid, series_uid=uid, frame_of_reference_uid=uid, planes=planes,
                       rows=phantom.hu_zyx.shape[1], columns=phantom.hu_zyx.shape[2])
    return Volume(values_zyx=phantom.hu_zyx, stack=stack, modality="CT")


def _compare(bench: Bench, repeat: int, only: Sequence[str]) -> None:
    chosen = {name: row for name, row in bench.rows().items() if not only or name in only or name == COMMAND}
    costs: dict[str, list[Cost]] = {name: [] for name in chosen}
    labels: dict[str, Labels] = {}
    for round_number in range(repeat):
        for name, row in chosen.items():
            print(f"round {round_number + 1}: {name} ...", file=sys.stderr, flush=True)
            cost, labels[name] = row()
            costs[name].append(cost)
            bench.close(name)
    _report(bench, costs, labels)


def _report(bench: Bench, costs: Mapping[str, list[Cost]], labels: Mapping[str, Labels]) -> None:
    names = [label.name for label in bench.model.labels]
    shape = " × ".join(str(n) for n in bench.volume.stack.shape_zyx)
    print(f"\n{shape}, {bench.threads} threads, median of {len(next(iter(costs.values())))}\n")
    print("| run | wall s | CPU s | peak MB | " + " | ".join(f"Dice {name}" for name in names)
          + " | Dice with the command, lowest |\n" + "|---" * (len(names) + 5) + "|")
    for name, several in costs.items():
        middle = [statistics.median(getattr(cost, part) for cost in several) for part in ("wall_s", "cpu_s", "peak_mb")]
        truth = [f"{_dice(labels[name], bench.phantom.truth_zyx, one.value):.4f}" for one in bench.model.labels]
        same = min(_dice(labels[name], labels[COMMAND], one.value) for one in bench.model.labels)
        print(f"| {name} | {middle[0]:.2f} | {middle[1]:.2f} | {middle[2]:.0f} | {' | '.join(truth)} | {same:.5f} |")
    for name, several in costs.items():
        stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in several[-1].seconds.items())
        notes = "; ".join(several[-1].notes)
        if stages:
            print(f"{name}: {stages}{' - ' + notes if notes else ''}")


def _dice(one: Labels, other: Labels, value: int) -> float:
    a, b = one == value, other == value
    total = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / total if total else 1.0


@contextmanager
def _watched(pid: int) -> Iterator[list[float]]:
    """Follow the resident memory of a process and all that it starts; the list holds the largest sum, in MB."""
    peak, ended = [0.0], threading.Event()

    def follow() -> None:
        while not ended.wait(SAMPLE_EVERY_S):
            peak[0] = max(peak[0], sum(_resident_mb(one) for one in _tree(pid)))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _tree(pid: int) -> list[int]:
    return [pid, *(below for child in _children(pid) for below in _tree(child))]


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, _read(path).split())
    return found


def _resident_mb(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/statm")).split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20) if fields else 0.0


def _cpu_s(pid: int) -> float:
    fields: list[Any] = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S if fields else 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


if __name__ == "__main__":
    main()
