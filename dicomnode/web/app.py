"""The web role: a status page, the timeline of a study, ``/health`` and ``/metrics``; GET only.

Notes
-----
There is no login: bind it to loopback, or stand it behind a proxy that has one. Nothing here names a patient, so a
page that is seen by the wrong person tells of UIDs and counts.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from datetime import datetime
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from dicomnode import logs
from dicomnode.domain.dicom import uid
from dicomnode.domain.node import NodeConfig
from dicomnode.errors import ConfigError, LedgerUnavailable
from dicomnode.ledger import census
from dicomnode.ledger.engine import Ledger
from dicomnode.run.loop import utc_now
from dicomnode.run.state import Health, NodeState, look
from dicomnode.web import metrics, pages
from dicomnode.web.headers import SafeHeaders

SHOWN: Final = 25
"""Studies and deliveries on the status page."""
READERS: Final = 64
"""Requests answered at one time; more are told 503."""
STOP_S: Final = 3
OK, NOT_FOUND, AWAY = 200, 404, 503

log = logs.get("web")


class Site:
    """The pages of one node.

    Parameters
    ----------
    clock:
        Tells the present moment, aware UTC.
    """

    def __init__(self, config: NodeConfig, ledger: Ledger, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._config = config
        self._ledger = ledger
        self._clock = clock

    def status(self, _request: Request) -> Response:
        """Show what is, what is stuck, why, and what to do; 503 while the database is away."""
        state = self._look()
        if state.work is None:
            return HTMLResponse(pages.status_page(self._config, state, studies=(), deliveries=()), AWAY)
        with self._ledger.read() as connection:
            studies = census.studies(connection, limit=SHOWN)
            deliveries = census.deliveries(connection, limit=SHOWN)
        return HTMLResponse(pages.status_page(self._config, state, studies=studies, deliveries=deliveries))

    def study(self, request: Request) -> Response:
        """Show everything that happened to one study; 404 for one that never came."""
        try:
            study_uid = uid(request.path_params["study_uid"])
        except ValueError:
            return self.unknown(request)
        with self._ledger.read() as connection:
            about = census.study(connection, study_uid)
            timeline = census.timeline(connection, study_uid) if about else []
        if not about:
            return self.unknown(request)
        return HTMLResponse(pages.study_page(self._config, about, timeline, now=self._clock()))

    def health(self, _request: Request) -> Response:
        """Answer 200 while studies can pass, 503 when the node is down."""
        state = self._look()
        return JSONResponse(health_object(state), AWAY if state.health is Health.DOWN else OK)

    def metrics(self, request: Request) -> Response:
        """Expose the figures to Prometheus; 200 also while the database is away, for that is a figure too."""
        state = self._look()
        recent = metrics.Recent()
        if state.work is not None:
            with self._ledger.read() as connection:
                recent = metrics.Recent(
                    studies=census.studies(connection, limit=metrics.RECENT),
                    jobs=census.jobs(connection, limit=metrics.RECENT),
                )
        body, content_type = metrics.expose(self._config, state, recent, accept=request.headers.get("accept", ""))
        return Response(body, media_type=content_type)

    def unknown(self, _request: Request, _error: Exception | None = None) -> Response:
        """Say that there is no such page."""
        text = "There is no such page, or no such study in this node's ledger."
        return HTMLResponse(pages.message_page(self._config, "Not found", text), NOT_FOUND)

    def away(self, _request: Request, error: Exception) -> Response:
        """Say that the database does not answer."""
        reason = error.reason if isinstance(error, LedgerUnavailable) else ""
        return HTMLResponse(pages.message_page(self._config, "Database away", pages.AWAY, reason=reason), AWAY)

    def _look(self) -> NodeState:
        return look(self._config, self._ledger, now=self._clock())


def application(site: Site) -> Starlette:
    """Return the ASGI application of a site."""
    return Starlette(
        routes=[
            Route("/", site.status),
            Route("/study/{study_uid}", site.study),
            Route("/health", site.health),
            Route("/metrics", site.metrics),
        ],
        exception_handlers={NOT_FOUND: site.unknown, LedgerUnavailable: site.away},
        middleware=[Middleware(SafeHeaders)],
    )


def health_object(state: NodeState) -> dict[str, object]:
    """Return the answer of ``/health``.

    Keys: ``health`` (healthy | degraded | down), ``at``, ``database`` (answers | away), ``roles`` (role → living
    processes), ``problems`` (objects of ``what``, ``why``, ``action``).
    """
    return {
        "health": str(state.health),
        "at": state.at.isoformat(timespec="seconds"),
        "database": "away" if state.work is None else "answers",
        "roles": dict(state.roles),
        "problems": [{"what": p.what, "why": p.why, "action": p.action} for p in state.problems],
    }


def run(config: NodeConfig, ledger: Ledger, stop: threading.Event) -> None:
    """Serve until ``stop`` is set.

    Raises
    ------
    ConfigError
        If the port cannot be bound: something else listens there.
    """
    with _listen(config) as listener:
        site = Site(config, ledger)
        settings = uvicorn.Config(
            application(site), log_config=None, access_log=False, server_header=False, lifespan="off",
            limit_concurrency=READERS, timeout_graceful_shutdown=STOP_S,
        )
        server = uvicorn.Server(settings)
        serving = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web", daemon=True)
        serving.start()
        host, port = listener.getsockname()[:2]
        log.info("role_started", role="web", host=host, port=port)
        while not stop.wait(0.5):
            if not serving.is_alive():
                break
        server.should_exit = True
        serving.join(2 * STOP_S)
        log.info("role_stopped", role="web")


def _listen(config: NodeConfig) -> socket.socket:
    address = (config.web.bind, config.web.port)
    family = socket.AF_INET6 if ":" in config.web.bind else socket.AF_INET
    try:
        return socket.create_server(address, family=family)
    except OSError as error:
        raise ConfigError(
            f"{config.path}: [web] bind = {config.web.bind!r}, port = {config.web.port}: {error.strerror or error}; "
            "allowed is an address of this machine and a port on which nothing else listens"
        ) from error
