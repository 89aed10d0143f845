"""Storage commitment as SCP: each kept request is judged once and reported until the peer has heard it (PS3.4 J.3)."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from dicomnode import logs
from dicomnode.deliver.commit import report_commitment
from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.node import NodeConfig, Peer
from dicomnode.domain.work import Backoff
from dicomnode.errors import DicomNodeError
from dicomnode.ledger import custody
from dicomnode.ledger.engine import Ledger
from dicomnode.receive.commit_request import REQUEST
from dicomnode.run.bell import Bell
from dicomnode.run.loop import run as loop
from dicomnode.run.protection import for_calls
from dicomnode.spool import Held, Spool

LOOK_AGAIN_S: Final = 2.0
"""How long a request waits for images that came before it and are not indexed yet."""
UNDECIDED_S: Final = 600.0
"""And no longer than this in all: what is not indexed by then is not committed (0x0110), and may be asked for again."""

log = logs.get("run")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a peer asked, and what is known of the answer: the JSON of ``spool/events/*.request``.

    Parameters
    ----------
    refs:
        (SOP Class UID, SOP Instance UID) of each instance.
    judged:
        Whether ``failed`` and ``studies`` are the answer; it is never judged twice.
    reason:
        Why the peer has not heard the answer yet.
    """

    transaction_uid: str
    peer: str
    refs: Sequence[tuple[str, str]]
    judged: bool = False
    failed: dict[str, int] = field(default_factory=dict)
    studies: Sequence[str] = ()
    attempt: int = 0
    reason: str = ""

    @classmethod
    def read(cls, payload: bytes) -> Request:
        """Read what the receiver, or an earlier attempt, has kept."""
        return cls(**json.loads(payload))

    @property
    def instances(self) -> tuple[InstanceRef, ...]:
        """Each instance once."""
        return tuple(InstanceRef(sop_class_uid=cls, sop_instance_uid=uid)
                     for cls, uid in dict.fromkeys((one[0], one[1]) for one in self.refs))

    def payload(self) -> bytes:
        """Return the JSON."""
        return json.dumps(asdict(self)).encode()


class Custody:
    """One step: one request, as far as it goes now."""

    def __init__(self, config: NodeConfig, ledger: Ledger, spool: Spool, stop: threading.Event) -> None:
        self._config = config
        self._ledger = ledger
        self._spool = spool
        self._stop = stop
        self._tls = for_calls(config.tls)
        self._backoff = Backoff(first_s=config.delivery.backoff_s, most_s=config.delivery.backoff_max_s)
        self._away: dict[str, datetime] = {}  # peer → when it is tried again

    def step(self, now: datetime) -> bool:
        """Judge or report the oldest request that is due; False where none is."""
        for path in self._spool.due_events(REQUEST, now.timestamp()):
            with self._spool.hold_event(path, now.timestamp()) as held:
                if held is not None and not self._stop.is_set():
                    self._go_on(held, Request.read(held.read()), now)
                    return True
        return False

    def _go_on(self, held: Held, request: Request, now: datetime) -> None:
        peer = self._peer(request)
        if peer is None:
            self._give_up(held, request, f"{request.peer} is no longer a peer with host and port", now)
        elif not request.judged:
            self._judge(held, request, peer, now)
        elif self._away.get(peer.name, now) > now:
            held.put_off(self._away[peer.name].timestamp())
        else:
            self._report(held, request, peer, now)

    def _peer(self, request: Request) -> Peer | None:
        peer = self._config.peers.get(request.peer)
        return peer if peer is not None and peer.can_receive else None

    def _judge(self, held: Held, request: Request, peer: Peer, now: datetime) -> None:
        refs = request.instances
        with self._ledger.read() as connection:
            kept = custody.kept(connection, [ref.sop_instance_uid for ref in refs])
        waiting = len(kept) < len({ref.sop_instance_uid for ref in refs}) and self._may_be_coming(held.kept_s)
        if waiting and now.timestamp() < held.kept_s + UNDECIDED_S:
            held.put_off(now.timestamp() + LOOK_AGAIN_S)
            return
        readable = {one.path for copies in kept.values() for one in copies
                    if self._spool.store_path(one.path).is_file()}
        with self._ledger.write() as connection:
            promise = custody.promise(
                connection, refs, readable=readable, undecided=waiting, peer=peer.name,
                transaction_uid=request.transaction_uid, now=now)
        held.rewrite(replace(request, judged=True, failed=dict(promise.failed), studies=promise.studies).payload())
        log.info("commitment_given", peer=peer.name, transaction_uid=request.transaction_uid,
                 committed=len(promise.committed), failed=len(promise.failed))

    def _may_be_coming(self, asked_s: float) -> bool:
        """Whether an image that was acknowledged before the request is still to be indexed."""
        return any(one.arrived_at.timestamp() <= asked_s for one in self._spool.arrivals())

    def _report(self, held: Held, request: Request, peer: Peer, now: datetime) -> None:
        refs = request.instances
        try:
            report_commitment(
                node_ae_title=self._config.node.ae_title, peer=peer, transaction_uid=request.transaction_uid,
                committed=[ref for ref in refs if ref.sop_instance_uid not in request.failed],
                failed=[(ref, request.failed[ref.sop_instance_uid]) for ref in refs
                        if ref.sop_instance_uid in request.failed],
                timeout_s=self._config.delivery.timeout_s, tls=self._tls)
        except DicomNodeError as error:
            self._put_off(held, request, peer, error, now)
            return
        with self._ledger.write() as connection:
            custody.told(connection, request.studies, peer=peer.name, transaction_uid=request.transaction_uid, now=now)
        held.forget()
        self._away.pop(peer.name, None)
        log.info("commitment_reported", peer=peer.name, transaction_uid=request.transaction_uid)

    def _put_off(self, held: Held, request: Request, peer: Peer, error: DicomNodeError, now: datetime) -> None:
        age = now - datetime.fromtimestamp(held.kept_s, UTC)
        if age > timedelta(hours=self._config.delivery.max_age_h):
            self._give_up(held, request, error.reason, now)
            return
        again = self._backoff.after(request.attempt + 1, now)
        self._away[peer.name] = again
        held.rewrite(replace(request, attempt=request.attempt + 1, reason=error.reason).payload())
        held.put_off(again.timestamp())
        log.warning("commitment_not_reported", peer=peer.name, transaction_uid=request.transaction_uid,
                    attempt=request.attempt + 1, reason=error.reason)

    def _give_up(self, held: Held, request: Request, reason: str, now: datetime) -> None:
        """The peer keeps its images, for all that it knows, and may ask again."""
        with self._ledger.write() as connection:
            custody.given_up(connection, request.studies, peer=request.peer,
                             transaction_uid=request.transaction_uid, reason=reason, now=now)
        held.forget()
        log.error("commitment_given_up", peer=request.peer, transaction_uid=request.transaction_uid,
                  reason=reason)


def open_requests(spool: Spool) -> list[tuple[float, Request]]:
    """Return each request that is not answered, with when it was kept (seconds since the epoch), oldest first."""
    return [(kept_s, Request.read(payload)) for kept_s, payload in spool.read_events(REQUEST)]


def run(config: NodeConfig, ledger: Ledger, spool: Spool, stop: threading.Event) -> None:
    """Answer requests until ``stop`` is set: beside the deliveries, which wait for no scanner that is switched off."""
    with Bell(config.node.data_dir / "run", "custody") as bell:
        loop(Custody(config, ledger, spool, stop).step, stop=stop, bell=bell, role="custody")
