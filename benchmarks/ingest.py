"""Ingest: acknowledged images per second, side by side with Orthanc and dcmtk's storescp in the same run.

    python benchmarks/ingest.py [--serve] [--images 320] [--repeats 3] [--senders 1,4,8] [--folder DIR]
    python benchmarks/ingest.py --pdu 16384,65536,131072,1048576       the node alone, by its [receive] max_pdu_bytes

The senders are dcmtk's storescu, each with its own 512² CT images, all started at once; the time runs from their start
to the end of the last one. Every round gives each server an empty folder, and rounds of the servers take turns, so that
whatever else the machine does meets all of them. After each round every image must lie in the server's folder with an
identical data set, or the run fails. "Nagle" is a sender as dcmtk leaves it, "no delay" one with TCP_NODELAY=1 (and the
dcmtk-based servers likewise: they answer in two writes).

storescp never syncs: it is the floor of what dcmtk's protocol costs. Orthanc syncs its files by default; dicomnode
syncs file and folder of every image before it answers. ``--serve`` measures the whole node (receiver, keeper, worker,
sender, status page) instead of the receiver alone, and says how long after the last image its backlog was empty.
Needs the Debian packages dcmtk and orthanc. A folder in memory (tmpfs) would measure nothing: see --folder.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ingest_servers import AE_TITLE, Node, Orthanc, Server, Storescp
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

PATIENCE_S = 300.0
BACKLOG_PATIENCE_S = 120.0
LEAST_IMAGES_PER_SENDER = 60
MODES = {"no delay": True, "Nagle": False}


@dataclass(frozen=True, slots=True)
class Round:
    """One measured round."""

    images_per_s: float
    backlog_s: float | None


def main() -> None:
    """Run the benchmark and print its table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--serve", action="store_true", help="the whole node, not the receiver alone")
    options.add_argument("--images", type=int, default=320, help="images per round, at least 60 per sender")
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--senders", type=_numbers, default=[1, 4, 8])
    options.add_argument("--processes", type=int, default=1, help="[receive] processes of the node")
    options.add_argument("--pdu", type=_numbers, default=[], help="compare these max_pdu_bytes of the node, no peers")
    options.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="on the disk to measure")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="ingest-", dir=given.folder) as scratch:
        folder = Path(scratch)
        servers: list[Server] = [Storescp(), Orthanc(), Node(serve=given.serve, processes=given.processes)]
        if given.pdu:
            servers = [Node(serve=given.serve, processes=given.processes, max_pdu_bytes=size) for size in given.pdu]
        batches = {count: _batches(folder / f"from{count}", count, given.images) for count in given.senders}
        results = _measure(servers, batches, given.repeats, folder)
    _print_table(servers, given.senders, results)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _batches(folder: Path, senders: int, images: int) -> list[Path]:
    """One folder of images per sender."""
    each = max(images // senders, LEAST_IMAGES_PER_SENDER)
    return [_draw(folder / str(number), each, number) for number in range(senders)]


def _draw(folder: Path, count: int, seed: int) -> Path:
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for index in range(count):
        image = Dataset()
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, generate_uid()
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.Modality, image.PatientID, image.PatientName = "CT", f"BENCH{seed}", "Bench^Mark"
        image.ImageType, image.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], index + 1
        image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20260101", "101010", "1", "1"
        image.ImagePositionPatient = [0, 0, index]
        image.ImageOrientationPatient, image.PixelSpacing = [1, 0, 0, 0, 1, 0], [0.7, 0.7]
        image.Rows = image.Columns = 512
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.RescaleSlope, image.RescaleIntercept = 1, 0
        block = image.private_block(0x0019, "BENCH", create=True)
        for element in range(60):
            block.add_new(element, "LO", f"private value {element}")
        image.PixelData = random.integers(-1000, 1000, (512, 512), np.int16).tobytes()
        image.file_meta = FileMetaDataset()
        image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        image.save_as(folder / f"{index:04d}.dcm", enforce_file_format=True)
    return folder


Results = dict[tuple[str, int, str], list[Round]]


def _measure(servers: Sequence[Server], batches: dict[int, list[Path]], repeats: int, folder: Path) -> Results:
    results: Results = {}
    for repeat in range(repeats):
        for senders, sources in batches.items():
            for mode, no_delay in MODES.items():
                for server in servers:
                    measured = _round(server, sources, folder / "server", no_delay=no_delay)
                    results.setdefault((server.name, senders, mode), []).append(measured)
                    print(f"{repeat + 1}/{repeats} {server.name:24} {senders} senders, {mode:8}: "
                          f"{measured.images_per_s:6.0f} images/s", file=sys.stderr, flush=True)
    return results


def _round(server: Server, sources: Sequence[Path], folder: Path, *, no_delay: bool) -> Round:
    with tempfile.TemporaryDirectory(dir=_made(folder)) as scratch:
        root, port = Path(scratch), _free_port()
        environment = {**os.environ, "TCP_NODELAY": "1"} if no_delay else dict(os.environ)
        with server.running(root, port, environment):
            _wait_for(port, root)
            seconds = _send(sources, port, environment)
            backlog_s = _wait_for_backlog(server, root)
        expected = Counter(_digest(path) for source in sources for path in source.iterdir())
        found = Counter(_digest(path) for path in server.stored(root))
        if found != expected:
            sys.exit(f"{server.name}: {sum((expected - found).values())} images missing or changed, "
                     f"{sum((found - expected).values())} too many")
        return Round(sum(expected.values()) / seconds, backlog_s)


def _made(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    return folder


def _send(sources: Sequence[Path], port: int, environment: dict[str, str]) -> float:
    command = ["storescu", "-q", "-aet", "BENCH", "-aec", AE_TITLE, "127.0.0.1", str(port), "+sd"]
    started_s = time.monotonic()
    senders = [subprocess.Popen([*command, str(source)], env=environment, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT) for source in sources]
    outputs = [sender.communicate(timeout=PATIENCE_S)[0] for sender in senders]
    seconds = time.monotonic() - started_s
    for sender, output in zip(senders, outputs, strict=True):
        if sender.returncode:
            sys.exit(f"storescu failed: {output.decode()[-500:]}")
    return seconds


def _wait_for_backlog(server: Server, root: Path) -> float | None:
    started_s = time.monotonic()
    while (waiting := server.backlog(root)) and time.monotonic() < started_s + BACKLOG_PATIENCE_S:
        time.sleep(0.05)
    if waiting:
        sys.exit(f"{server.name}: {waiting} images not indexed after {BACKLOG_PATIENCE_S:g} s")
    return None if waiting is None else time.monotonic() - started_s


def _digest(path: Path) -> bytes:
    """Over the data set alone: File Meta is each receiver's own."""
    content = path.read_bytes()
    return hashlib.sha256(content[144 + int.from_bytes(content[140:144], "little"):]).digest()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int, root: Path) -> None:
    give_up_s = time.monotonic() + 60
    while time.monotonic() < give_up_s:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    logs = "".join(path.read_text(errors="replace")[-1000:] for path in root.glob("log*"))
    sys.exit(f"nobody listens on port {port} after 60 s: {logs}")


def _print_table(servers: Sequence[Server], senders: Sequence[int], results: Results) -> None:
    reference = "Orthanc" if any(server.name == "Orthanc" for server in servers) else servers[0].name
    columns = [(count, mode) for count in senders for mode in MODES]
    print(f"\nimages/s, median of {len(next(iter(results.values())))} (times {reference})\n")
    print(f"{'senders':24}" + "".join(f"{f'{count} {mode}':>18}" for count, mode in columns))
    for server in servers:
        cells = []
        for count, mode in columns:
            rate = _median(results[server.name, count, mode])
            cells.append(f"{rate:.0f} ({rate / _median(results[reference, count, mode]):.2f})")
        print(f"{server.name:24}" + "".join(f"{cell:>18}" for cell in cells))
        backlogs = [r.backlog_s for c in columns for r in results[server.name, *c] if r.backlog_s is not None]
        if backlogs:
            print(f"{'':24}backlog empty at most {max(backlogs):.1f} s after the last image")


def _median(rounds: Sequence[Round]) -> float:
    return statistics.median(one.images_per_s for one in rounds)


if __name__ == "__main__":
    main()
