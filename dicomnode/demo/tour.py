"""The tour from start to end: what a person watches."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from dicomnode.deliver.scu import echo, send_files
from dicomnode.demo.montage import write_montage
from dicomnode.demo.node import Destination, TourNode
from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.demo.results import Results, read_results
from dicomnode.demo.show import Show
from dicomnode.demo.study import write_phantom_study
from dicomnode.domain.node import Peer
from dicomnode.errors import EXIT_INTERNAL, EXIT_OK, EXIT_USAGE, DeliveryError, PeerRefused
from dicomnode.logs import configure

SEED: Final = 20260101
SCANNER: Final = "SCANNER"
START_S: Final = 60.0
RESULT_S: Final = 900.0
MARK: Final = ".dicomnode-tour"
"""A file in the folder of a tour: only what lies beside it is a tour's own, and may be removed by the next."""


def run(*, out: Path, study: Path | None, pacs: str | None) -> int:
    """Walk through the tour; return the exit code."""
    console = Console()
    configure(level="ERROR", human=True)
    extra = _destination(pacs) if pacs else None
    if pacs and extra is None:
        console.print(f"[red]PACS={pacs}[/red]: write HOST:PORT:AET, for example 10.0.0.5:104:ARCHIVE")
        return EXIT_USAGE
    if not _take(out):
        console.print(f"[red]{out} holds files that no tour made.[/red] Give an empty or a new one (--out, or OUT=).")
        return EXIT_USAGE
    began_s = time.monotonic()
    images = _images(out, study, console)
    shutil.rmtree(out / "pacs", ignore_errors=True)
    with ReceivingPacs(out / "pacs") as receiving:
        local = Destination(name="pacs", ae_title=receiving.ae_title, host="127.0.0.1", port=receiving.port)
        with TourNode(out / "node", (local, extra) if extra else (local,)) as node, Show(console) as show:
            ended = _follow(node, show, images, peers=2 if extra else 1)
    if not ended:
        console.print(f"[red]The node did not finish the study.[/red] Its log: {node.log_path}")
        return EXIT_INTERNAL
    results = read_results(out / "pacs")
    _conclude(console, results, images, out, seconds=time.monotonic() - began_s)
    return EXIT_OK


def _take(out: Path) -> bool:
    """Mark a folder as the tour's; False where it holds what somebody else put there."""
    if not (out / MARK).exists() and out.exists() and any(out.iterdir()):
        return False
    out.mkdir(parents=True, exist_ok=True)
    (out / MARK).touch()
    return True


def _images(out: Path, study: Path | None, console: Console) -> list[Path]:
    if study is not None:
        return sorted(p for p in study.rglob("*") if p.is_file())
    folder = out / "study"
    shutil.rmtree(folder, ignore_errors=True)
    with console.status("drawing a synthetic chest CT"):
        write_phantom_study(folder, seed=SEED)
    return sorted(folder.glob("*.dcm"))


def _follow(node: TourNode, show: Show, images: Sequence[Path], *, peers: int) -> bool:
    """Send the study and watch the node until every peer has the results; False if it gave up."""
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=node.port)
    if not _ready(us, show):
        return False
    try:
        send_files(node_ae_title=SCANNER, peer=us, paths=images, timeout_s=60.0, progress=show.received)
    except PeerRefused as refused:
        show.note("not everything was taken", str(refused))
    deadline_s = time.monotonic() + RESULT_S
    delivered = 0
    while time.monotonic() < deadline_s and delivered < peers:
        event = node.next_event(0.5)
        if event is None:
            continue
        if event["event"] == "node_ended":
            return False
        show.event(event)
        delivered += event["event"] == "delivery_completed"
        if event["event"] == "association_ended" and event.get("calling") == SCANNER and show.receiving:
            show.sent(int(event["stored"]), len(images))
        if show.gave_up:
            return False
    return delivered >= peers


def _ready(us: Peer, show: Show) -> bool:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s:
        try:
            echo(node_ae_title="TOUR", peer=us, timeout_s=2.0)
        except DeliveryError:
            time.sleep(0.1)
        else:
            show.ready(us.port)
            return True
    return False


def _conclude(console: Console, results: Results, images: Sequence[Path], out: Path, *, seconds: float) -> None:
    console.print(results.table())
    for line in results.sentences:
        console.print(f"  {line}", highlight=False)
    for path, what in results.paths.items():
        console.print(f"  [bold]{what}[/bold]\n        {path}", highlight=False, soft_wrap=True)
    if results.seg is not None:
        montage = write_montage(results.seg, images, out / "montage.png", title=results.headline,
                                groups=results.groups)
        console.print(f"  [bold]PNG   segments and findings over the images[/bold]\n        {montage}", soft_wrap=True)
    console.print(f"\n{seconds:.0f} s in all. Demonstration only: synthetic phantoms, not for clinical use.")


def _destination(text: str) -> Destination | None:
    host, _, rest = text.partition(":")
    port, _, ae_title = rest.partition(":")
    if not (host and port.isdigit() and ae_title):
        return None
    return Destination(name="real", ae_title=ae_title, host=host, port=int(port))
