"""The operator's hand at the terminal: the commands run in this process over a real ledger."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dicomnode.cli import cli
from dicomnode.ledger import census, deliveries, jobs
from dicomnode.ledger.engine import Ledger
from dicomnode.ledger.refusals import NotInLedger
from tests.ledger_rows import (
    NOW,
    STUDY,
    a_claimed_delivery,
    a_closed_study,
    a_job,
    a_snapshot,
    after,
    claim_job,
    send_all,
)


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    (tmp_path / "node.toml").write_text('[node]\ndata_dir = "data"\n', encoding="utf-8")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    made = Ledger(f"sqlite:///{tmp_path / 'data' / 'dicomnode.sqlite'}")
    made.upgrade()
    return made


def act(*words: str) -> Result:
    return CliRunner().invoke(cli, ["--config", "node.toml", *words])


def test_a_delivery_that_the_peer_lost_is_sent_once_more(ledger):
    delivery = a_claimed_delivery(ledger)
    send_all(ledger, delivery)
    with ledger.write() as c:
        deliveries.complete(c, delivery, now=NOW)
    done = act("requeue", "1", "--delivery")
    assert (done.exit_code, done.stdout) == (0, "requeued 0 job(s) [], 1 delivery(ies) [1]\n")
    with ledger.read() as c:
        assert [(row["state"], row["sent"]) for row in census.deliveries(c, limit=9)] == [("scheduled", 0)]


def test_a_superseded_job_is_not_requeued_and_the_message_names_the_newer_one(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    with ledger.write() as c:
        jobs.supersede(c, study_uid=STUDY, route="chest", now=after(1))
    a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    refused = act("requeue", "1")
    assert refused.exit_code == 1
    sentence = "job 1 is out of date: job 2 of the same study and route took its place; requeue that one"
    assert refused.stderr == f"Error: not requeued: {sentence}\n"


def test_a_job_that_nobody_knows_is_neither_requeued_nor_analysed_again(ledger):
    assert act("requeue", "999").exit_code == 1
    refused = act("requeue", "999", "--again").exception
    assert isinstance(refused, NotInLedger)
    assert (refused.exit_code, str(refused)) == (1, "job 999 is not known here; `dicomnode jobs` lists those that are")


def test_a_job_that_waits_is_not_requeued_and_the_message_says_what_can_be(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    refused = act("requeue", "1")
    assert refused.exit_code == 1
    assert "job 1 is scheduled; requeue is allowed from canceled or failed" in refused.stderr


def priorities(ledger: Ledger) -> list[int]:
    with ledger.read() as c:
        return [jobs.get(c, job_id).priority for job_id in (1, 2)]


def test_an_urgent_job_is_prioritised_and_the_next_claim_takes_it(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    a_job(ledger, snapshot=a_snapshot(uids=("1.2.3.1.2",)))
    done = act("prioritise", "2", "5")
    assert (done.exit_code, done.stdout) == (0, "job 2 and its deliveries have priority 5\n")
    assert priorities(ledger) == [100, 5]
    assert claim_job(ledger, now=after(9)).job_id == 2


def test_a_job_is_put_back_with_another_priority(ledger):
    a_closed_study(ledger)
    a_job(ledger)
    a_job(ledger, study=STUDY, snapshot=a_snapshot(route="head"))
    act("cancel", "1")
    refused = act("prioritise", "1", "5")
    assert refused.exit_code == 1
    assert "requeue it with --priority" in refused.stderr
    assert act("requeue", "1", "--priority", "7").exit_code == 0
    assert priorities(ledger) == [7, 100]


@pytest.mark.parametrize("words", [("--failed", "--priority", "1"), ("1", "--delivery", "--priority", "1")])
def test_a_priority_is_of_one_job(ledger, words):
    assert act("requeue", *words).exit_code == 2
