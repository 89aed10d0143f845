"""The receiver's listening side: accept, negotiate, one thread per association, stop without losing an answer."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pynetdicom.presentation import PresentationContext

from dicomnode import logs
from dicomnode.domain.node import NodeSettings, Peer, ReceiveSettings
from dicomnode.errors import ConfigError, SpoolError
from dicomnode.receive.admit import LOCAL_LIMIT_EXCEEDED, RefusedAssociation, admit_association
from dicomnode.receive.association import Association
from dicomnode.receive.negotiate import Request, accept, offered_contexts, read_request, refused_contexts
from dicomnode.receive.over import AssociationOver, PeerGone, ProtocolError, Released, Stopping
from dicomnode.receive.stores import ArrivalSpool, Place, Watch
from dicomnode.receive.syntaxes import decodable_transfer_syntaxes
from dicomnode.receive.waiting import WaitingRoom
from dicomnode.receive.wire import ARTIM_S, INVALID_PARAMETER, NOT_SPECIFIED, Wire

BACKLOG: Final = 128
LOOK_AT_STOP_S: Final = 0.25
LAST_WORDS_S: Final = 15.0
"""On stop, messages under way may take this long to finish (500 MB at 1 Gbit/s take 5 s); then the process ends,
and what was not answered is sent again by its sender."""
ALL_PEERS: Final = "*"
MOST_CONTEXTS_SAID: Final = 20
"""Of the refused presentation contexts, at most 128, so many are logged one by one; the rest is a count."""

_log = logs.get("receive")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scp:
    """What every association of this process shares."""

    node: NodeSettings
    receive: ReceiveSettings
    peers: Mapping[str, Peer]
    spool: ArrivalSpool
    offered: list[PresentationContext]
    waiting: WaitingRoom
    stop: threading.Event
    notify: Callable[[], None]
    watch: Watch | None = None


def serve(settings: NodeSettings, receive: ReceiveSettings, peers: Mapping[str, Peer], spool: ArrivalSpool, *,
          stop: threading.Event, notify: Callable[[], None], ready: Callable[[], None],
          watch: Watch | None = None) -> None:
    """Every image answered with 0x0000 is durable; returns after ``stop`` when no message is under way.

    Several processes may serve one port (``processes`` above 1); limits per peer hold across them.

    Parameters
    ----------
    notify:
        Called when something new is durable; must neither block nor raise.
    ready:
        Called once the port is open.
    watch:
        Told of each association that is refused.

    Raises
    ------
    ConfigError
        The address or port cannot be bound.
    """
    offered = offered_contexts(receive.sop_classes, decodable_transfer_syntaxes())
    scp = Scp(node=settings, receive=receive, peers=peers, spool=spool, offered=offered,
              waiting=WaitingRoom(max_associations=receive.max_associations), stop=stop, notify=notify,
              watch=watch)
    threads: set[threading.Thread] = set()
    with _listen(settings, receive) as listener:
        ready()
        while not stop.is_set():
            _accept_one(listener, scp, threads)
    give_up_s = time.monotonic() + LAST_WORDS_S
    for thread in threads:
        thread.join(max(0.0, give_up_s - time.monotonic()))


def _listen(settings: NodeSettings, receive: ReceiveSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.bind else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receive.processes > 1:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((settings.bind, settings.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"[node] bind = {settings.bind!r}, port = {settings.port}: {error.strerror or error}; "
                          "choose an address of this machine and a free port") from error
    listener.settimeout(LOOK_AT_STOP_S)
    return listener


def _accept_one(listener: socket.socket, scp: Scp, threads: set[threading.Thread]) -> None:
    try:
        connection, address = listener.accept()
    except TimeoutError:
        return
    except OSError as error:  # too many open files, or the peer is gone before we looked
        _log.warning("connection_not_accepted", reason=str(error))
        scp.stop.wait(LOOK_AT_STOP_S)
        return
    threads.difference_update([thread for thread in threads if not thread.is_alive()])
    scp.waiting.enter(connection, address[0])
    thread = threading.Thread(target=_converse, args=(scp, connection, address[0]), name="association", daemon=True)
    threads.add(thread)
    thread.start()


def _converse(scp: Scp, connection: socket.socket, address: str) -> None:
    """The event edge: whatever happens in one association ends here and is written down."""
    with connection:
        try:
            wire = Wire(connection, max_pdu_bytes=scp.receive.max_pdu_bytes,
                        silence_s=scp.receive.idle_timeout_s, stop=scp.stop)
            _associate(scp, wire, connection, address)
        except AssociationOver as over:  # before an association: a port scan, a load balancer's probe; after: told
            _log.debug("connection_ended", address=address, reason=str(over))
        except Exception:  # noqa: BLE001  the one place where a connection may end by surprise
            _log.exception("association_failed", address=address)
        finally:
            scp.waiting.leave(connection)


def _associate(scp: Scp, wire: Wire, connection: socket.socket, address: str) -> None:
    calling = ""
    try:
        request = _read_request(wire)
        calling = request.calling
        peer = admit_association(request, address, ae_title=scp.node.ae_title, peers=scp.peers,
                                 unknown_peers=scp.receive.unknown_peers)
        places = _take_places(scp, request.calling)
    except RefusedAssociation as refused:
        _tell_refused(scp, address, calling, str(refused), refused.answer)
        wire.reject(*refused.answer)
    except ProtocolError as error:
        _tell_refused(scp, address, calling, str(error), "abort")
        wire.abort(error.reason)
    else:
        scp.waiting.leave(connection)
        try:
            _serve_association(scp, wire, request, peer=peer, address=address)
        finally:
            _give_back(places)
        scp.waiting.enter(connection, address)
    wire.wait_for_hang_up()


def _tell_refused(scp: Scp, address: str, calling: str, reason: str, answer: object) -> None:
    _log.warning("association_refused", address=address, reason=reason, answer=answer)
    if scp.watch is not None:
        scp.watch.refused(address=address, calling=calling, reason=reason)


def _read_request(wire: Wire) -> Request:
    pdu = wire.associate_request(within_s=ARTIM_S)
    try:
        return read_request(pdu)
    except Exception as error:  # pynetdicom raises whatever its codecs raise: all of it is bad input
        raise ProtocolError(f"A-ASSOCIATE-RQ cannot be read: {error}", INVALID_PARAMETER) from error


def _take_places(scp: Scp, calling: str) -> list[Place]:
    """A place among all associations and one among the peer's; limits hold across processes."""
    places: list[Place] = []
    try:
        for name, limit, key in ((ALL_PEERS, scp.receive.max_associations, "max_associations"),
                                 (calling, scp.receive.max_associations_per_peer, "max_associations_per_peer")):
            places.append(_take_place(scp.spool, name, limit, key))
    except RefusedAssociation:
        _give_back(places)
        raise
    return places


def _take_place(spool: ArrivalSpool, name: str, limit: int, key: str) -> Place:
    try:
        place = spool.take_slot(name, limit)
    except SpoolError as error:
        raise RefusedAssociation(error.reason, LOCAL_LIMIT_EXCEEDED) from error
    if place is None:
        raise RefusedAssociation(f"{key} = {limit} associations of {name!r} are open", LOCAL_LIMIT_EXCEEDED)
    return place


def _give_back(places: list[Place]) -> None:
    for place in places:
        place.release()


def _serve_association(scp: Scp, wire: Wire, request: Request, *, peer: Peer | None, address: str) -> None:
    answer, contexts = accept(request, scp.offered, max_pdu_bytes=scp.receive.max_pdu_bytes)
    wire.peer_max_pdu_bytes = request.max_pdu_bytes
    wire.send(answer)
    association = Association(
        wire, contexts, calling=request.calling, called=request.called, address=address, peer=peer,
        settings=scp.receive, spool=scp.spool, notify=scp.notify)
    reason = "failed"
    try:
        association.serve()
    except Released:
        reason = "released"
        wire.release()
    except ProtocolError as error:
        reason = str(error)
        wire.abort(error.reason)
    except Stopping as over:
        reason = str(over)
        wire.abort(NOT_SPECIFIED)
    except PeerGone as gone:
        reason = str(gone)
        raise
    finally:
        scp.notify()
        _tell_end(association, request, refused_contexts(request, contexts, scp.offered), address, reason)


def _tell_end(association: Association, request: Request, refused: Sequence[str], address: str, reason: str) -> None:
    """One line per association; a peer that could send nothing because of what we refused is a warning."""
    said = [*refused[:MOST_CONTEXTS_SAID]]
    if len(refused) > len(said):
        said.append(f"and {len(refused) - len(said)} more")
    tell = _log.warning if refused and not association.stored else _log.info
    tell("association_ended", calling=request.calling, address=address, stored=association.stored,
         refused=association.refusals.summary(), contexts_refused=said, reason=reason)
