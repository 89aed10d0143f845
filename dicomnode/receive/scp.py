"""The receiver's listening side: accept, negotiate, one thread per association, stop without losing an answer."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pynetdicom.presentation import PresentationContext

from dicomnode import logs
from dicomnode.crowds import Callers
from dicomnode.domain.node import NodeSettings, Peer, ReceiveSettings
from dicomnode.receive.admit import RefusedAssociation, admit_association
from dicomnode.receive.association import Association
from dicomnode.receive.caller import Caller
from dicomnode.receive.doors import LOOK_AT_STOP_S, Doors, let_alert_arrive, shake_hands
from dicomnode.receive.negotiate import Request, accept, offered_contexts, offered_to, read_request, refused_contexts
from dicomnode.receive.over import AssociationOver, PeerGone, ProtocolError, Released, Stopping, Untrusted
from dicomnode.receive.places import give_back, take_places
from dicomnode.receive.reasons import INVALID_PARAMETER, NOT_SPECIFIED
from dicomnode.receive.stores import ArrivalSpool, Watch
from dicomnode.receive.syntaxes import decodable_transfer_syntaxes
from dicomnode.receive.waiting import WaitingRoom
from dicomnode.receive.wire import ARTIM_S, Wire
from dicomnode.tls import Contexts, Identity

LAST_WORDS_S: Final = 15.0
"""On stop, messages under way may take this long to finish (500 MB at 1 Gbit/s take 5 s); then the process ends,
and what was not answered is sent again by its sender."""
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
    refused: Callers = field(default_factory=Callers)


def serve(settings: NodeSettings, receive: ReceiveSettings, peers: Mapping[str, Peer], spool: ArrivalSpool, *,
          stop: threading.Event, notify: Callable[[], None], ready: Callable[[], None],
          watch: Watch | None = None, tls: Contexts | None = None, tls_port: int = 0) -> None:
    """Every image answered with 0x0000 is durable; returns after ``stop`` when no message is under way.

    Several processes may serve one port (``processes`` above 1); limits per peer hold across them.

    Parameters
    ----------
    notify:
        Called when something new is durable; must neither block nor raise.
    ready:
        Called once the ports are open.
    watch:
        Told of each association that is refused.
    tls, tls_port:
        Where the same is served under TLS; 0: nowhere.

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
    with Doors(settings, receive, tls=tls, tls_port=tls_port) as doors:
        ready()
        while not stop.is_set():
            try:
                for connection, address in doors.callers():
                    _receive_caller(connection, address, scp, threads)
            except OSError as error:  # too many open files
                _log.warning("connection_not_accepted", reason=str(error))
                stop.wait(LOOK_AT_STOP_S)
    give_up_s = time.monotonic() + LAST_WORDS_S
    for thread in threads:
        thread.join(max(0.0, give_up_s - time.monotonic()))
    for address, words in scp.refused.untold():
        _log.warning("association_refused", address=address, reason=words)


def _receive_caller(connection: socket.socket, address: str, scp: Scp, threads: set[threading.Thread]) -> None:
    threads.difference_update([thread for thread in threads if not thread.is_alive()])
    scp.waiting.enter(connection, address)
    thread = threading.Thread(target=_converse, args=(scp, connection, address), name="association", daemon=True)
    threads.add(thread)
    thread.start()


def _converse(scp: Scp, connection: socket.socket, address: str) -> None:
    """The event edge: whatever happens in one association ends here and is written down."""
    with connection:
        try:
            caller = Caller(address, _certificate(scp, connection))
            wire = Wire(connection, max_pdu_bytes=scp.receive.max_pdu_bytes,
                        silence_s=scp.receive.idle_timeout_s, stop=scp.stop)
            _associate(scp, wire, connection, caller)
        except Untrusted as over:
            _tell_refused(scp, address, "", f"TLS: {over}", "TLS alert")
            let_alert_arrive(connection)
        except AssociationOver as over:  # before an association: a port scan, a load balancer's probe; after: told
            _log.debug("connection_ended", address=address, reason=str(over))
        except Exception:  # noqa: BLE001  the one place where a connection may end by surprise
            _log.exception("association_failed", address=address)
        finally:
            scp.waiting.leave(connection)


def _certificate(scp: Scp, connection: socket.socket) -> Identity | None:
    return shake_hands(connection, stop=scp.stop) if isinstance(connection, ssl.SSLSocket) else None


def _associate(scp: Scp, wire: Wire, connection: socket.socket, caller: Caller) -> None:
    calling = ""
    try:
        request = _read_request(wire)
        calling = request.calling
        peer = admit_association(request, caller, ae_title=scp.node.ae_title, peers=scp.peers,
                                 unknown_peers=scp.receive.unknown_peers)
        places = take_places(scp.spool, scp.receive, peer, caller.address)
    except RefusedAssociation as refused:
        _tell_refused(scp, caller.address, calling, str(refused), refused.answer)
        wire.reject(*refused.answer)
    except ProtocolError as error:
        _tell_refused(scp, caller.address, calling, str(error), "abort")
        wire.abort(error.reason)
    else:
        scp.waiting.leave(connection)
        try:
            _serve_association(scp, wire, request, peer=peer, address=caller.address)
        finally:
            give_back(places)
        scp.waiting.enter(connection, caller.address)
    wire.wait_for_hang_up()


def _tell_refused(scp: Scp, address: str, calling: str, reason: str, answer: object) -> None:
    words = scp.refused.hear(address, reason, time.monotonic())
    if words is not None:
        _log.warning("association_refused", address=address, reason=words, answer=answer)
    if scp.watch is not None:
        scp.watch.refused(address=address, calling=calling, reason=reason)


def _read_request(wire: Wire) -> Request:
    pdu = wire.associate_request(within_s=ARTIM_S)
    try:
        return read_request(pdu)
    except Exception as error:  # pynetdicom raises whatever its codecs raise: all of it is bad input
        raise ProtocolError(f"A-ASSOCIATE-RQ cannot be read: {error}", INVALID_PARAMETER) from error


def _serve_association(scp: Scp, wire: Wire, request: Request, *, peer: Peer | None, address: str) -> None:
    answer, contexts = accept(request, offered_to(peer, scp.offered), max_pdu_bytes=scp.receive.max_pdu_bytes)
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
        _tell_end(association, request, refused_contexts(request, contexts, scp.offered, peer), address, reason)


def _tell_end(association: Association, request: Request, refused: Sequence[str], address: str, reason: str) -> None:
    """One line per association; a peer that could send nothing because of what we refused is a warning."""
    said = [*refused[:MOST_CONTEXTS_SAID]]
    if len(refused) > len(said):
        said.append(f"and {len(refused) - len(said)} more")
    tell = _log.warning if refused and not association.stored else _log.info
    tell("association_ended", calling=request.calling, address=address, stored=association.stored,
         refused=association.refusals.summary(), contexts_refused=said, reason=reason)
