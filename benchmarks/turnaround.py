"""Turnaround: what the node adds between the last C-STORE response and the acknowledged SEG and SR.

    python benchmarks/turnaround.py [--slices 300] [--size 512] [--repeat 3]
    python benchmarks/turnaround.py --queue 5      # studies in a queue: reading ahead, two workers

Synthetic chests go through a real node (receiver, keeper, worker, sender as processes, SQLite) to a PACS
on loopback. From the wall time between the last response and the last acknowledged object, the quiet period and the
sliding-window inference of the same run are taken off; the rest is what the node costs. The first study finds the model
warm, as in operation. Beside it stands the peak resident memory of every process.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from dicomnode.deliver.scu import echo, send_files
from dicomnode.demo import study as demo_study
from dicomnode.demo.node import QUIET_S, Destination, TourNode
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.domain.node import Peer
from dicomnode.errors import DeliveryError
from dicomnode.phantom.chest import chest_ct

PATIENCE_S = 600.0
QUEUE_SETTINGS = ("read_ahead_mb = 0", "read_ahead_mb = 1024", "read_ahead_mb = 1024, processes = 2")
STAGES = ("load", "read", "transfer", "preprocess", "inference", "postprocess", "measure", "encode")


def main() -> None:
    """Run the benchmark and print its tables."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--slices", type=int, default=300)
    options.add_argument("--size", type=int, default=512)
    options.add_argument("--repeat", type=int, default=3)
    options.add_argument("--queue", type=int, default=0, help="so many studies at once")
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(f"drawing {given.slices} slices of {given.size}² ...", flush=True)
        count = given.queue or given.repeat
        studies = [_study(Path(folder) / f"study{n}", given.slices, given.size, n) for n in range(count)]
        if given.queue:
            _compare_queues(Path(folder), studies, given.repeat)
        else:
            _run(Path(folder), studies)


def _study(folder: Path, slices: int, size: int, seed: int) -> list[Path]:
    shape, spacing = (slices, size, size), (300.0 / slices, 360.0 / size, 360.0 / size)
    phantom = chest_ct(seed, shape_zyx=shape, spacing_zyx_mm=spacing, nodules=3)
    folder.mkdir()
    for number, image in enumerate(demo_study.slices_of(phantom), start=1):
        image.save_as(folder / f"{number:04d}.dcm", enforce_file_format=True)
    return sorted(folder.glob("*.dcm"))


def _run(folder: Path, studies: list[list[Path]]) -> None:
    with ReceivingPacs(folder / "pacs") as pacs:
        to = Destination(name="pacs", ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port)
        with TourNode(folder / "node", (to,)) as node:
            us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
            _ready(us)
            _await(node, "model_loaded")
            rows = [_one(node, us, paths) for paths in studies]
            memory = _peaks(node)
    _report(rows, memory)


def _compare_queues(folder: Path, studies: list[list[Path]], repeat: int) -> None:
    """Let all studies wait for stopped workers, then measure from their start to the last result."""
    rows: dict[str, list[dict[str, float]]] = {settings: [] for settings in QUEUE_SETTINGS}
    for number in range(repeat):
        for turn, settings in enumerate(rows if number % 2 == 0 else reversed(rows)):
            place = folder / f"queue{number}-{turn}"
            with ReceivingPacs(place / "pacs") as pacs:
                to = Destination(name="pacs", ae_title=pacs.ae_title, host="127.0.0.1", port=pacs.port)
                waiting = TourNode(place / "node", (to,))
                with waiting.config_path.open("a", encoding="utf-8") as config:
                    config.write("\n[worker]\n" + settings.replace(", ", "\n") + "\n")
                with waiting as node:
                    rows[settings].append(_queued(node, studies, 2 if "processes" in settings else 1))
    print(f"\n| {len(studies)} queued studies, median of {repeat} | seconds to the last result | of them waiting for "
          "reading | read ahead |\n|---|---|---|---|")
    for settings, several in rows.items():
        middle = {key: statistics.median(row[key] for row in several) for key in several[0]}
        print(f"| {settings} | {middle['wall']:.2f} | {middle['read']:.2f} | {middle['ahead']:.0f} of {len(studies)} |")


def _queued(node: TourNode, studies: list[list[Path]], workers: int) -> dict[str, float]:
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
    _ready(us)
    for _ in range(workers):
        _await(node, "model_loaded")
    pids = [int(path.name.split(".")[1]) for path in (node.folder / "data" / "run").glob("worker.*.alive")]
    _freeze(pids, node.folder / "data" / "dicomnode.sqlite")
    for paths in studies:
        send_files(node_ae_title="SCANNER", peer=us, paths=paths, timeout_s=60, progress=None)
    for _ in studies:
        _await(node, "study_matched")
    began_s = time.monotonic()
    for pid in pids:
        os.kill(pid, signal.SIGCONT)
    done, ahead, read_s = 0, 0, 0.0
    for event in _events(node):
        ahead += event.get("event") == "job_read_ahead"
        if event.get("event") == "job_completed":
            done, read_s = done + 1, read_s + event["seconds"]["read"]
            if done == len(studies):
                break
    return {"wall": time.monotonic() - began_s, "read": read_s, "ahead": ahead}


def _freeze(pids: list[int], database: Path) -> None:
    """Stop the workers at a moment when none of them holds the database."""
    while True:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
        else:
            return


def _ready(us: Peer) -> None:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        try:
            echo(node_ae_title="SCANNER", peer=us, timeout_s=2)
        except DeliveryError:
            time.sleep(0.2)
        else:
            return
    raise SystemExit("the node did not start")


def _one(node: TourNode, us: Peer, paths: list[Path]) -> dict[str, float]:
    began_s = time.monotonic()
    sent = send_files(node_ae_title="SCANNER", peer=us, paths=paths, timeout_s=60, progress=None)
    if sent != len(paths):
        raise SystemExit(f"only {sent} of {len(paths)} images were acknowledged")
    last_s = time.monotonic()
    matched_s = claimed_s = 0.0
    for event in _events(node):
        now_s = time.monotonic()
        match event.get("event"):
            case "study_matched":
                matched_s = now_s
            case "job_claimed":
                claimed_s = now_s
            case "job_completed":
                stages, completed_s, peak_mb = event["seconds"], now_s, event["peak_mb"]
            case "delivery_completed":
                break
    wall_s = time.monotonic() - last_s
    return {
        "sent": last_s - began_s,
        "wall": wall_s,
        "quiet": QUIET_S,
        **{stage: stages.get(stage, 0.0) for stage in STAGES},
        "match": matched_s - last_s - QUIET_S,
        "claim": claimed_s - matched_s,
        "store": completed_s - claimed_s - sum(stages.values()),
        "deliver": wall_s - (completed_s - last_s),
        "overhead": wall_s - QUIET_S - stages["inference"],
        "child_peak_mb": peak_mb,
    }


def _events(node: TourNode) -> Iterator[Mapping[str, Any]]:
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        event = node.next_event(0.5)
        if event is None:
            continue
        if event.get("event") in {"job_not_completed", "delivery_not_completed", "node_ended", "model_unusable"}:
            raise SystemExit(f"the study did not come back: {dict(event)}")
        yield event
    raise SystemExit("the study did not come back in time")


def _await(node: TourNode, name: str) -> None:
    next(event for event in _events(node) if event.get("event") == name)


def _peaks(node: TourNode) -> dict[str, float]:
    """Peak resident memory in MB of every living role, by the kernel's count."""
    found = {}
    for path in sorted((node.folder / "data" / "run").glob("*.alive")):
        role, pid = path.name.split(".")[:2]
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
        found[role] = next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return found


def _report(rows: list[dict[str, float]], memory: dict[str, float]) -> None:
    middle = {key: statistics.median(row[key] for row in rows) for key in rows[0]}
    print(f"\n| stage | seconds (median of {len(rows)}) |\n|---|---|")
    for stage in ("match", "claim", *STAGES, "store", "deliver"):
        print(f"| {stage} | {middle[stage]:.2f} |")
    print(f"| **turnaround less quiet period and inference** | **{middle['overhead']:.2f}** |")
    each = ", ".join(f"{row['overhead']:.2f}" for row in rows)
    print(
        f"\nwall after the last response {middle['wall']:.2f} s, quiet period {middle['quiet']:g} s, "
        f"inference {middle['inference']:.2f} s; each run: {each}"
    )
    print("\n| process | peak resident MB |\n|---|---|")
    for role, peak_mb in {**memory, "child (torch)": middle["child_peak_mb"]}.items():
        print(f"| {role} | {peak_mb:.0f} |")


if __name__ == "__main__":
    main()
