"""The role itself: a real socket on loopback."""

from __future__ import annotations

import queue
import socket
import threading
import urllib.request
from dataclasses import replace

import pytest

from dicomnode.domain.node import WebSettings
from dicomnode.errors import ConfigError
from dicomnode.web import app


class _Log:
    """Hands what the role says to the test."""

    def __init__(self) -> None:
        self.said: queue.Queue[tuple[str, dict]] = queue.Queue()

    def info(self, event: str, **values: object) -> None:
        self.said.put((event, values))


def test_the_role_serves_until_it_is_told_to_stop(evening, monkeypatch):
    log, stop = _Log(), threading.Event()
    monkeypatch.setattr(app, "log", log)
    role = threading.Thread(target=app.run, args=(evening.config, evening.ledger, stop))
    role.start()
    try:
        event, values = log.said.get(timeout=30)
        assert event == "role_started"
        with urllib.request.urlopen(f"http://127.0.0.1:{values['port']}/", timeout=30) as answer:
            assert answer.status == 200
            assert "server" not in {key.lower() for key in answer.headers}
            assert b"Latest studies" in answer.read()
    finally:
        stop.set()
        role.join(30)
    assert not role.is_alive()
    assert log.said.get(timeout=30)[0] == "role_stopped"
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", values["port"]), timeout=5):
        pass


def test_a_port_that_is_taken_is_a_config_error_that_names_the_key(ward):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = replace(ward.config, web=WebSettings(port=port))
        with pytest.raises(ConfigError, match=rf"\[web\] bind = '127.0.0.1', port = {port}"):
            app.run(config, ward.ledger, threading.Event())
