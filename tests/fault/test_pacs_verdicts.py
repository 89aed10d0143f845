"""PACSs that misbehave, over real sockets: each ends in the right state with a sentence, and nothing is lost."""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from dicomnode.deliver.commit import report_commitment
from dicomnode.domain.dicom import InstanceRef
from dicomnode.domain.node import Peer
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import STUDY, a_closed_study
from tests.receiving import Receiver
from tests.scripted_pacs import Asked, Script, ScriptedPacs, aborting, promising, report_here, stalling, taking
from tests.stepped import PATIENCE_S, Stepped, a_study, at, peer_toml

DELIVERY = "[delivery]\nbackoff_s = 15.0\nbackoff_max_s = 900.0\ntimeout_s = {timeout_s}\n"


class Clock:
    """The hour that the sender believes in."""

    def __init__(self) -> None:
        self.now = at(0)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    for module in ("sender", "asking"):
        monkeypatch.setattr(f"dicomnode.run.{module}.utc_now", made)
    return made


@pytest.fixture
def asked() -> queue.SimpleQueue[Asked]:
    return queue.SimpleQueue()


class Trial:
    """A node with one delivery of two objects, and the PACS that it goes to."""

    def __init__(self, folder: Path, ledger: Ledger, clock: Clock, pacs: ScriptedPacs, *, commits: bool,
                 timeout_s: float) -> None:
        toml = DELIVERY.format(timeout_s=timeout_s) + peer_toml(
            "pacs", "PACS", pacs.port, storage_commitment=commits)
        self.node = Stepped(folder / "node", ledger, toml)
        self.pacs = pacs
        self.clock = clock
        a_closed_study(ledger, study=STUDY)
        self.node.a_delivery(a_study(folder / "results", 2)[1], study=STUDY)

    def deliver(self, seconds: float) -> dict[str, Any]:
        """Let the sender work at that moment; return how the delivery stands."""
        self.clock.now = at(seconds)
        while self.node.sender.step(at(seconds)):
            pass
        return self.node.delivery()

    def keep(self, seconds: float) -> dict[str, Any]:
        """Let the keeper apply what the receiver has; return how the delivery stands."""
        self.node.keep(at(seconds))
        return self.node.delivery()


@pytest.fixture
def trial(tmp_path: Path, sqlite_ledger: Ledger, clock: Clock) -> Iterator[Callable[..., Trial]]:
    opened: list[ScriptedPacs] = []

    def make(*scripts: Script, commits: bool = False, timeout_s: float = PATIENCE_S, listening: bool = True) -> Trial:
        pacs = ScriptedPacs(*scripts, listening=listening)
        opened.append(pacs.__enter__())
        return Trial(tmp_path, sqlite_ledger, clock, pacs, commits=commits, timeout_s=timeout_s)
    yield make
    for pacs in opened:
        pacs.__exit__()


def report(receiver: Receiver, asked: Asked, failed: Sequence[tuple[InstanceRef, int]] = (), *,
           transaction_uid: str = "") -> None:
    """Let the PACS report on an association of its own, to the receiver."""
    lost = {ref for ref, _ in failed}
    us = Peer(name="node", ae_title="DICOMNODE", host="127.0.0.1", port=receiver.port)
    report_commitment(
        node_ae_title="PACS", peer=us, transaction_uid=transaction_uid or asked.transaction_uid,
        committed=[ref for ref in asked.refs if ref not in lost], failed=failed, timeout_s=PATIENCE_S)


def test_a_pacs_that_is_away_for_an_hour_gets_everything_when_it_is_back(trial):
    made = trial(taking(0x0000, 0x0000), listening=False)
    attempts = []
    for minute in range(60):
        found = made.deliver(60 * minute)
        assert (found["state"], found["sent"]) == ("scheduled", 0)
        assert "no connection: Connection refused" in found["reason"]
        attempts.append(found["attempt"])
    assert 4 <= attempts[-1] <= 12, "fifteen seconds at first, fifteen minutes at last"
    made.pacs.appear()
    found = made.deliver(3600 + 901)
    assert (found["state"], found["sent"], found["reason"]) == ("completed", 2, "")


def test_a_pacs_that_is_away_beyond_the_limit_of_age_fails_the_delivery_with_its_reason(trial):
    made = trial(listening=False)
    made.deliver(0)
    found = made.deliver(73 * 3600)
    assert found["state"] == "failed"
    assert found["reason"].startswith("PeerUnreachable: pacs (PACS at 127.0.0.1:")


@pytest.mark.parametrize(("status", "state", "words"), [
    (0xA700, "scheduled", "PeerBusy: .*0xA700.*out of resources"),
    (0x0122, "failed", "PeerRefused: .*0x0122, SOP class not supported"),
    (0xC000, "failed", "PeerRefused: .*0xC000, cannot understand"),
])
def test_a_pacs_that_answers_with_a_failure(trial, status, state, words):
    second = () if status == 0xA700 else (0x0000,)
    made = trial(taking(status, *second), taking(*[0x0000] * (2 - len(second))))
    found = made.deliver(0)
    assert (found["state"], found["sent"]) == (state, len(second))
    assert re.match(words, found["reason"]), found["reason"]
    if state == "scheduled":
        assert found["attempt"] == 0, "back-pressure spends nothing"
        found = made.deliver(1000)
        assert (found["state"], found["sent"]) == ("completed", 2)


def test_a_warning_is_a_success_that_the_timeline_keeps(trial):
    made = trial(taking(0xB000, 0x0000))
    assert made.deliver(0)["state"] == "completed"
    assert any("status 0xB000" in line for line in made.node.story(STUDY))


def test_a_pacs_that_aborts_in_mid_object_gets_the_rest_later_and_nothing_twice(trial):
    def one_and_abort(talk: Any) -> None:
        talk.accept()
        talk.store(0x0000)
        talk.read_pdu()
        talk.socket.sendall(bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, 0)))
    made = trial(aborting, one_and_abort, taking(0x0000))
    found = made.deliver(0)
    assert (found["state"], found["sent"]) == ("scheduled", 0)
    found = made.deliver(1000)
    assert (found["state"], found["sent"]) == ("scheduled", 1)
    assert "PeerUnreachable" in found["reason"]
    found = made.deliver(3000)
    assert (found["state"], found["sent"]) == ("completed", 2)


def test_a_pacs_that_stalls_holds_nobody_longer_than_the_time_limit(trial):
    over = threading.Event()
    made = trial(stalling(over), taking(0x0000, 0x0000), timeout_s=0.5)
    found = made.deliver(0)
    over.set()
    assert found["state"] == "scheduled"
    assert "silent for 0.5 s" in found["reason"]
    assert made.deliver(1000)["state"] == "completed"


def test_a_delivery_is_done_when_it_is_committed_and_not_before(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked), commits=True)
    found = made.deliver(0)
    assert (found["state"], found["phase"], found["sent"], found["committed"]) == ("scheduled", "commit", 2, 0)
    with made.node.receiving() as receiver:
        one = asked.get(timeout=PATIENCE_S)
        report(receiver, one)
        report(receiver, one)
    found = made.keep(10)
    assert (found["state"], found["committed"], found["reason"]) == ("completed", 2, "")
    assert sum("delivery_proved" in line for line in made.node.story(STUDY)) == 1, "said twice, applied once"


def test_an_answer_on_the_association_that_asked_counts_as_well(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked, then=report_here), commits=True)
    made.deliver(0)
    found = made.keep(1)
    assert (found["state"], found["committed"]) == ("completed", 2)


def test_a_pacs_that_says_success_and_then_does_not_commit_gets_that_object_again(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked), taking(0x0000), promising(asked), commits=True)
    made.deliver(0)
    with made.node.receiving() as receiver:
        first = asked.get(timeout=PATIENCE_S)
        report(receiver, first, [(first.refs[1], 0x0112)])
        found = made.keep(10)
        assert (found["state"], found["phase"], found["committed"]) == ("scheduled", "store", 1)
        assert "1 object(s) sent and not committed, Failure Reason 0x0112 no such object instance" in found["reason"]
        made.deliver(2000)
        second = asked.get(timeout=PATIENCE_S)
        assert second.uids == first.uids[1:]
        report(receiver, second)
    found = made.keep(2010)
    assert (found["state"], found["committed"]) == ("completed", 2)


def test_no_answer_in_time_is_asked_again_under_a_new_transaction_and_a_late_answer_still_counts(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked), promising(asked), commits=True)
    made.deliver(0)
    first = asked.get(timeout=PATIENCE_S)
    made.deliver(301)
    second = asked.get(timeout=PATIENCE_S)
    assert second.transaction_uid != first.transaction_uid
    assert second.uids == first.uids
    with made.node.receiving() as receiver:
        report(receiver, first)
    assert made.keep(310)["state"] == "completed"


def test_a_late_failure_says_nothing_of_what_was_asked_again(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked), promising(asked), commits=True)
    made.deliver(0)
    first = asked.get(timeout=PATIENCE_S)
    made.deliver(301)
    with made.node.receiving() as receiver:
        report(receiver, first, [(ref, 0x0110) for ref in first.refs])
        assert made.keep(310)["phase"] == "commit"
        report(receiver, asked.get(timeout=PATIENCE_S))
    assert made.keep(320)["state"] == "completed"


def test_an_answer_to_what_nobody_asked_changes_nothing_and_is_noted(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked), commits=True)
    made.deliver(0)
    with made.node.receiving() as receiver:
        report(receiver, asked.get(timeout=PATIENCE_S), transaction_uid="2.25.404")
    found = made.keep(10)
    assert (found["state"], found["phase"], found["committed"]) == ("scheduled", "commit", 0)


def test_a_pacs_that_never_commits_fails_the_delivery_at_the_limit_of_age_with_a_sentence(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked), promising(asked), commits=True)
    made.deliver(0)
    made.deliver(301)
    found = made.deliver(73 * 3600)
    assert found["state"] == "failed"
    assert "pacs took the objects and has not committed them within 72 h" in found["reason"]


def test_a_pacs_that_refuses_the_question_is_asked_again_and_its_words_stand_in_the_timeline(trial, asked):
    made = trial(taking(0x0000, 0x0000), promising(asked, status=0x0110), promising(asked), commits=True)
    assert made.deliver(0)["phase"] == "commit"
    assert any("pacs could not be asked to commit: PeerRefused" in line and "0x0110" in line
               for line in made.node.story(STUDY))
    made.deliver(301)
    asked.get(timeout=PATIENCE_S)
    with made.node.receiving() as receiver:
        report(receiver, asked.get(timeout=PATIENCE_S))
    assert made.keep(310)["state"] == "completed"
