"""A PACS that accepts and then says nothing, with a backlog of results: the others get theirs meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from dicomnode.demo.pacs import ReceivingPacs
from dicomnode.ledger import census, outages
from dicomnode.run.loop import utc_now
from dicomnode.run.sender import Sender
from tests.ledger_rows import a_closed_study
from tests.live import until
from tests.scripted_pacs import ScriptedPacs, stalling
from tests.stepped import PATIENCE_S, START, Stepped, a_study, at, peer_toml

pytestmark = pytest.mark.timeout(180)


def states(node: Stepped, peer: str) -> list[str]:
    with node.ledger.read() as c:
        return [str(row["state"]) for row in census.deliveries(c, peer=peer, limit=99)]


def hands(node: Stepped, count: int) -> tuple[list[threading.Thread], Callable[[], None]]:
    """Let so many senders work, each in a thread; return them, and what ends them."""
    over = threading.Event()

    def serve() -> None:
        sender = Sender(node.config, node.ledger, node.spool, node.stop)
        while not over.is_set():
            sender.step(max(utc_now(), START))
            over.wait(0.1)

    threads = [threading.Thread(target=serve) for _ in range(count)]
    for one in threads:
        one.start()
    return threads, over.set


def test_a_pacs_that_stalls_holds_some_senders_and_never_all(sqlite_ledger, tmp_path):
    awake = threading.Event()
    with ScriptedPacs(*[stalling(awake)] * 9) as slow, ReceivingPacs(tmp_path / "pacs", ae_title="WELL") as well:
        toml = f"[delivery]\nprocesses = 3\ntimeout_s = {PATIENCE_S}\n" + peer_toml("slow", "SLOW", slow.port)
        node = Stepped(tmp_path / "node", sqlite_ledger, toml + peer_toml("well", "WELL", well.port))
        for number in range(6):
            a_closed_study(sqlite_ledger, study=f"1.2.{number}")
            node.a_delivery(a_study(tmp_path / f"slow{number}", 2)[1], peer="slow", study=f"1.2.{number}")
        threads, end = hands(node, 3)
        try:
            until(lambda: states(node, "slow").count("in_progress") == 2, "two senders are held")
            for number in range(6, 10):
                a_closed_study(sqlite_ledger, study=f"1.2.{number}")
                node.a_delivery(a_study(tmp_path / f"well{number}", 2)[1], peer="well", study=f"1.2.{number}")
            until(lambda: states(node, "well") == ["completed"] * 4, "the other PACS has everything")
            assert states(node, "slow").count("in_progress") <= 2
        finally:
            end()
            node.stop.set()
            awake.set()
            for one in threads:
                one.join(2 * PATIENCE_S)


def test_a_pacs_that_is_away_is_tried_once_whatever_waits_for_it(sqlite_ledger, tmp_path):
    with ScriptedPacs(listening=False) as away:
        toml = "[delivery]\nbackoff_s = 86400\nbackoff_max_s = 86400\n" + peer_toml("away", "AWAY", away.port)
        node = Stepped(tmp_path / "node", sqlite_ledger, toml)
        for number in range(5):
            a_closed_study(sqlite_ledger, study=f"1.2.{number}")
            node.a_delivery(a_study(tmp_path / f"{number}", 2)[1], peer="away", study=f"1.2.{number}")
        assert node.sender.step(at(1))
        assert not node.sender.step(at(2)), "the others were tried too"
    with sqlite_ledger.read() as c:
        (row,) = [one for one in census.deliveries(c, limit=9) if one["reason"]]
        assert [one.reason for one in outages.outages(c)] == [row["reason"]]
        (peer,) = census.status(c, now=at(3))["peers"]
    assert peer["away_since"] is not None
    assert peer["next_try_at"] > at(3)
