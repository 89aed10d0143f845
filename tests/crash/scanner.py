"""What sends studies while the node dies, and the list of what the node has answered with success."""

from __future__ import annotations

import hashlib
import random
import threading
import zlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom import Dataset

from tests.builders import ct_series
from tests.upper_layer import (
    COMMAND,
    CT,
    EXPLICIT,
    LAST,
    ScriptedPeer,
    data_set,
    pdu,
    pdv,
    scripted_peer,
    store_command,
)

FRAGMENT_BYTES = 900
SLICES, SIDE = 20, 24
MOST_TRIES, PAUSE_S = 2000, 0.1
LATE_S = 4.0
"""Longer than the quiet period of the house: what comes then comes after the study was closed."""


@dataclass
class Sent:
    """What was acknowledged, as sha256 of the data set that was sent; of any thread."""

    acknowledged: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    studies: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, built: Dataset) -> None:
        digest = hashlib.sha256(data_set(built)).hexdigest()
        with self.lock:
            self.acknowledged[str(built.SOPInstanceUID)].add(digest)
            self.studies[str(built.StudyInstanceUID)].add(str(built.SOPInstanceUID))

    @property
    def objects(self) -> int:
        with self.lock:
            return sum(map(len, self.acknowledged.values()))


def a_study(seed: str, *, part: str = "CHEST", slices: int = SLICES, **attributes: object) -> list[Dataset]:
    """Return a small CT in which thresholds find a lung and a nodule; a part that no model wants is refused."""
    hu_zyx = np.full((slices, SIDE, SIDE), -1000.0)
    hu_zyx[:, 4:20, 4:20] = 30
    hu_zyx[:, 6:11, 6:18] = 400
    hu_zyx[slices // 2 - 2:slices // 2 + 2, 13:17, 8:12] = 900
    noise = np.random.default_rng(zlib.crc32(seed.encode())).normal(0, 4, hu_zyx.shape)
    return ct_series(np.rint(hu_zyx + noise), seed=seed, BodyPartExamined=part, **attributes)


def store(peer: ScriptedPeer, built: Dataset, *, message_id: int = 1) -> int:
    """Send one image in small PDUs, and return the status of the answer."""
    data = data_set(built)
    pieces = [data[start:start + FRAGMENT_BYTES] for start in range(0, len(data), FRAGMENT_BYTES)]
    peer.say(pdu(pdv(store_command(built, MessageID=message_id), COMMAND | LAST)),
             *(pdu(pdv(piece, LAST if piece is pieces[-1] else 0)) for piece in pieces))
    answer = peer.response()
    assert answer.MessageIDBeingRespondedTo == message_id
    return int(answer.Status)


def send(port: int, images: Sequence[Dataset], sent: Sent, *, calling: str) -> int:
    """Send over one association until all are answered or it breaks; return how many were answered."""
    answered = 0
    try:
        with scripted_peer(port) as peer:
            if peer.associate((CT, EXPLICIT), calling=calling)[:1] != b"\x02":
                return 0
            for built in images:
                status = store(peer, built, message_id=answered % 65535 + 1)
                if status:
                    sent.refused.append(status)
                    return answered
                sent.note(built)
                answered += 1
    except (OSError, AssertionError):
        pass
    return answered


def send_whole(port: int, images: Sequence[Dataset], sent: Sent, *, calling: str,
               chance: random.Random | None = None) -> bool:
    """Send until every image was answered: after a break from there on, or now and then all again, as senders do."""
    rest = images
    for _ in range(MOST_TRIES):
        done = send(port, rest, sent, calling=calling)
        if done == len(rest):
            return True
        rest = images if chance is not None and chance.random() < 0.3 else rest[done:]
        threading.Event().wait(PAUSE_S)
    return False


class Scanner(threading.Thread):
    """Sends small studies one after the other, each until all of it is answered, of some a part too late."""

    def __init__(self, port: int, sent: Sent, *, calling: str, seed: str, analysed_every: int) -> None:
        super().__init__(name=calling, daemon=True)
        self._port, self._sent, self._calling, self._seed = port, sent, calling, seed
        self._analysed_every = analysed_every
        self._random = random.Random(f"{seed} {calling}")  # noqa: S311  repeatable, no secret
        self.stop, self.go = threading.Event(), threading.Event()
        self.whole = 0
        self.stuck = False

    def run(self) -> None:
        while not self.stop.is_set() and not self.stuck:
            part = "KNEE" if self.whole % self._analysed_every else "CHEST"
            images = a_study(f"{self._seed} {self._calling} {self.whole}", part=part)
            late = self._random.choice((0, 0, 0, 8))
            self.stuck = not self._send(images[late:])
            if late:
                self.stop.wait(LATE_S)
                self.stuck = not self._send(images[:late]) or self.stuck
            self.whole += 1
            self.go.wait()

    def _send(self, images: Sequence[Dataset]) -> bool:
        return send_whole(self._port, images, self._sent, calling=self._calling, chance=self._random)
