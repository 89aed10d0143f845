"""Seeded attacks on the real receiver, the index and the reader: ``python -m tests.fuzz --seconds 60 --seed 1``.

``make fuzz SECONDS=… SEED=…`` runs this and prints what was tried, what was said, and a verdict.
"""

from __future__ import annotations

import argparse
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from random import Random
from struct import pack

from dicomnode import logs
from dicomnode.config import load
from dicomnode.ledger.engine import Ledger
from dicomnode.run.indexing import Indexer
from dicomnode.spool import Spool
from tests.hammer import hammered
from tests.hostile import DEFLATED, IMPLICIT, Mangler, mangled_files, rich
from tests.receiving import Receiver, receiver
from tests.upper_layer import (
    COMMAND,
    CT,
    EXPLICIT,
    LAST,
    associate_rq,
    command,
    data_set,
    pdu,
    pdv,
    scripted_peer,
    store_command,
)

PIECE_BYTES = 16_000
ANSWER_S = 30
CONTEXTS = ((CT, EXPLICIT), (CT, IMPLICIT), (CT, DEFLATED))
RELEASE = pack(">BxI", 5, 4) + bytes(4)
VERDICTS = frozenset({0x0000, 0xA900, 0xC000, 0xA700})
BATCH = 150


@dataclass
class Tally:
    """What was tried and what came of it."""

    tried: Counter[str] = field(default_factory=Counter)
    said: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def add(self, kind: str, said: str, *, again: bool = False) -> None:
        """Count one input and its verdict; ``again``: the input itself was counted before."""
        self.tried[kind] += not again
        self.said[f"{kind}: {said}"] += 1
        if said.startswith("ESCAPED"):
            self.wrong.append(f"{kind}: {said}")


def conversations(seed: int) -> Iterator[bytes]:
    """Whole conversations, from the request to the release, with something wrong at the level of PDUs."""
    random = Random(seed)  # noqa: S311  the same seed, the same bytes
    built = rich()
    body = data_set(built)
    while True:
        pdus = [associate_rq(CONTEXTS), pdu(pdv(store_command(built), COMMAND | LAST)),
                *(pdu(pdv(body[at:at + 700], 0)) for at in range(0, len(body) - 700, 700)),
                pdu(pdv(body[-(len(body) % 700 or 700):], LAST)), RELEASE]
        for _ in range(random.randint(1, 3)):
            _spoil(pdus, random)
        yield b"".join(pdus)


def _spoil(pdus: list[bytes], random: Random) -> None:
    at = random.randrange(len(pdus))
    data = bytearray(pdus[at] or b"\0")
    way = random.randrange(8)
    if way == 0:
        data[random.randrange(min(6, len(data)))] = random.getrandbits(8)  # type or length of the PDU
    elif way == 1:
        for _ in range(random.randint(1, 8)):
            data[random.randrange(len(data))] = random.getrandbits(8)
    elif way == 2:
        del data[random.randrange(len(data)):]
    elif way == 3 and len(data) > 12:
        data[random.randrange(6, 12)] = random.choice((0, 1, 2, 3, 4, 0x7F, 0xFF))
    elif way == 4:
        pdus.insert(at, random.choice(pdus))
        return
    elif way == 5:
        other = random.randrange(len(pdus))
        pdus[at], pdus[other] = pdus[other], pdus[at]
        return
    elif way == 6:
        pdus.insert(at, pdu(*[pdv(b"", 0)] * random.randint(1, 500)))
        return
    else:
        data += random.randbytes(random.randint(1, 2000))
    pdus[at] = bytes(data)


def converse(port: int, said: bytes) -> tuple[str, int]:
    """Say it all, hang up our half, and hear until the node hangs up: how it ended, and how many images it took."""
    heard = b""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(said)
            connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(1 << 16):
                heard += piece
        except (ConnectionError, BrokenPipeError):
            pass
        except TimeoutError:
            return "ESCAPED the node neither answers nor hangs up", 0
    kinds, stored = [], 0
    while len(heard) >= 6:
        end = 6 + int.from_bytes(heard[2:6], "big")
        kinds.append(heard[0])
        stored += b"\0\0\0\x01\2\0\0\0\x01\x80" in heard[:end] and b"\0\0\0\x09\2\0\0\0\0\0" in heard[:end]
        heard = heard[end:]
    return {3: "rejected", 6: "released", 7: "aborted"}.get(kinds[-1] if kinds else 0, "hung up"), stored


def attack_protocol(node: Receiver, tally: Tally, said: Sequence[bytes]) -> int:
    """Hold each conversation; return how many images were acknowledged."""
    total = 0
    for one in said:
        how, stored = converse(node.port, one)
        total += stored
        tally.add("PDUs", how)
    return total


def attack_with_images(node: Receiver, tally: Tally, sets: Sequence[tuple[str, bytes]],
                       kind: str = "data sets") -> int:
    """Send each data set (SOP Instance UID, bytes) on an association of its own kind; return how many were taken."""
    taken = 0
    with scripted_peer(node.port) as peer:
        peer.connection.settimeout(ANSWER_S)
        peer.associate(*CONTEXTS)
        for number, (uid, data) in enumerate(sets):
            context = (1, 1, 1, 3, 5)[number % 5]
            announced = command(AffectedSOPClassUID=CT, CommandField=1, MessageID=1, Priority=0, CommandDataSetType=1,
                                AffectedSOPInstanceUID=uid)
            pieces = [data[at:at + PIECE_BYTES] for at in range(0, len(data), PIECE_BYTES)] or [b"\0"]
            peer.say(pdu(pdv(announced, COMMAND | LAST, context)),
                     *(pdu(pdv(piece, 0, context)) for piece in pieces[:-1]), pdu(pdv(pieces[-1], LAST, context)))
            status = int(peer.response().Status)
            taken += status == 0
            tally.add(kind, f"{status:#06x}" if status in VERDICTS else f"ESCAPED {status:#06x}")
    return taken


def mangled_sets(seed: int, count: int) -> list[tuple[str, bytes]]:
    """Mutated data sets with the UID that they had."""
    built = rich()
    mangler = Mangler(data_set(built), Random(seed))  # noqa: S311  the same seed, the same bytes
    return [(str(built.SOPInstanceUID), mangler.one()) for _ in range(count)]


def index_all(folder: Path, spool: Spool, tally: Tally) -> int:
    """Index what the receiver kept; return how many were indexed or are in quarantine."""
    config_path = folder / "node.toml"
    config_path.write_text(f'[node]\ndata_dir = "{folder}"\n', encoding="utf-8")
    ledger = Ledger(f"sqlite:///{folder / 'ledger.sqlite'}")
    ledger.upgrade()
    before = spool.quarantined()
    indexer = Indexer(load(config_path, environ={}), spool, ledger)
    done = 0
    try:
        while step := indexer.step(datetime.now(UTC)):
            done += step
    finally:
        ledger.dispose()
    quarantined = spool.quarantined() - before
    tally.said["index: quarantined"] += quarantined
    tally.said["index: indexed"] += done - quarantined
    return done


def tree(folder: Path) -> dict[str, int]:
    """Every file and folder below, with its size."""
    return {str(path.relative_to(folder)): path.lstat().st_size * path.is_file() for path in folder.rglob("*")}


def round_of(seed: int, folder: Path, tally: Tally, *, each: int = BATCH) -> None:
    """One round with one seed: PDUs, data sets, index, files; fails by name of what went wrong."""
    beside = folder / "beside"
    beside.mkdir(parents=True)
    (beside / "witness").write_text("untouched", encoding="utf-8")
    before = tree(beside)
    with receiver(folder / "node" / "spool", max_instance_mb=8.0) as node:
        taken = attack_protocol(node, tally, list(islice(conversations(seed), each)))
        taken += attack_with_images(node, tally, mangled_sets(seed, each))
        spool = node.spool
        with scripted_peer(node.port) as peer:
            assert peer.associate()[:1] == b"\x02", "the node takes no association any more"
            assert int(peer.store(rich()).Status) == 0, "the node takes no image any more"
    assert index_all(folder / "node", spool, tally) == taken + 1, "an acknowledged image is neither indexed nor kept"
    files = folder / "files"
    files.mkdir()
    for number, content in enumerate(islice(mangled_files(seed), each)):
        (files / f"{number:05d}.dcm").write_bytes(content)
    for said in hammered(files).values():
        tally.tried["files"] += 1
        for reader, verdict in said.items():
            tally.add(f"files, {reader}", verdict, again=True)
    assert tree(beside) == before, "something was written outside the spool"
    assert {path.name for path in folder.iterdir()} == {"beside", "node", "files"}
    assert not tally.wrong, tally.wrong


def main() -> int:
    """Round after round, each with the next seed, until the time is up."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--seconds", type=float, default=60.0)
    asked.add_argument("--seed", type=int, default=1)
    wish = asked.parse_args()
    logs.configure(level="ERROR")
    tally, seed, until_s = Tally(), wish.seed, time.monotonic() + wish.seconds
    verdict = "nothing hung, nothing died, nothing acknowledged was lost, nothing was written outside the spool"
    while seed == wish.seed or time.monotonic() < until_s:
        with tempfile.TemporaryDirectory() as folder:
            try:
                round_of(seed, Path(folder) / "round", tally)
            except AssertionError as error:
                verdict = f"FAILED with seed {seed}: {error}"
                break
        seed += 1
    for what, count in sorted(tally.said.items()):
        sys.stdout.write(f"{count:8d}  {what}\n")
    sys.stdout.write(f"{sum(tally.tried.values())} inputs, seeds {wish.seed} to {seed - 1}: {verdict}\n")
    return int(verdict.startswith("FAILED"))


if __name__ == "__main__":
    sys.exit(main())
