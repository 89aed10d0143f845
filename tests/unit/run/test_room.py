"""What status says of the disk and of promises, over a real spool and a real ledger."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dicomnode.config import load
from dicomnode.ledger import deliveries, retention
from dicomnode.run import retaining, room
from dicomnode.run.auditing import Auditor
from dicomnode.run.commitment_advice import advice
from dicomnode.spool import Spool
from tests.ledger_rows import (
    NOW,
    a_claimed_delivery,
    a_closed_study,
    a_job,
    after,
    claim_delivery,
    complete_job,
    index,
    send_all,
)
from tests.ledger_rows import an_instance as made_instance
from tests.ledger_rows import claim_job as claimed

MUCH_GB = 1e6


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('[node]\ndata_dir = "data"\n[receive]\nmin_free_gb = 0.0\n[retention]\nfree_gb_wanted = 0.001\n')
    return load(path, environ={})


@pytest.fixture
def spool(config):
    made = Spool(config.spool_dir, min_free_bytes=0)
    made.prepare()
    return made


def wanting(config, **retention_keys: float):
    return replace(config, retention=replace(config.retention, **retention_keys))


LATER = after(1000)


def looked(config, ledger, now=LATER):
    problems = []
    return room.look(config, ledger, now=now, problems=problems), [problem.text for problem in problems]


def files_of(spool, study="1.2.3"):
    folder = spool.store_path(f"ab/{study}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "image.dcm").write_bytes(b"x" * 5000)
    return folder


def test_a_full_disk_says_what_holds_it_and_what_to_do(config, spool, sqlite_ledger):
    a_claimed_delivery(sqlite_ledger)
    index(sqlite_ledger, made_instance(1, study="1.2.9"))
    a_closed_study(sqlite_ledger, study="1.2.10")
    seen, problems = looked(wanting(config, free_gb_wanted=MUCH_GB), sqlite_ledger)
    assert {why: count for why, (count, _) in seen.held.items()} == {
        "waiting for delivery": 1, "still receiving": 1, "finished": 1}
    (problem,) = problems
    assert "are missing to [retention] free_gb_wanted = 1e+06; held: " in problem
    assert "1 studies waiting for delivery (0.0 GB)" in problem
    assert looked(config, sqlite_ledger)[1] == []


def test_failed_work_is_named_as_what_holds_the_disk(config, spool, sqlite_ledger):
    delivery = a_claimed_delivery(sqlite_ledger)
    with sqlite_ledger.write() as c:
        deliveries.fail(c, delivery, now=NOW, reason="PeerRefused: x")
        assert list(retention.held(c)) == ["failed, waiting for an operator"]


def test_deletions_say_why_in_the_timeline_and_how_much_in_status(config, spool, sqlite_ledger):
    folder = files_of(spool)
    a_closed_study(sqlite_ledger)
    short = wanting(config, free_gb_wanted=MUCH_GB)
    assert retaining.relieve(short, sqlite_ledger, spool, Auditor(config), after(60)) == 1
    assert not folder.exists()
    seen, _ = looked(config, sqlite_ledger, now=after(3600))
    assert (seen.deleted, seen.freed_bytes) == (1, 1_060_000)
    assert looked(config, sqlite_ledger, now=after(90_000))[0].deleted == 0


def test_age_deletes_what_is_finished_and_neither_what_waits_nor_what_failed(config, spool, sqlite_ledger):
    keeping = wanting(config, keep_days=1.0)
    delivery = a_claimed_delivery(sqlite_ledger)
    files_of(spool)
    old = after(10 * 86400)
    assert retaining.retain(keeping, sqlite_ledger, spool, Auditor(config), old) == 0
    with sqlite_ledger.write() as c:
        deliveries.fail(c, delivery, now=NOW, reason="PeerRefused: x")
    assert retaining.retain(keeping, sqlite_ledger, spool, Auditor(config), old) == 0
    with sqlite_ledger.write() as c:
        deliveries.requeue(c, delivery.delivery_id, now=NOW)
    again = claim_delivery(sqlite_ledger)
    send_all(sqlite_ledger, again)
    with sqlite_ledger.write() as c:
        deliveries.await_commitment(c, again, transaction_uid="2.25.1", run_after=after(300), now=after(1))
    assert retaining.retain(keeping, sqlite_ledger, spool, Auditor(config), old) == 0, "not while commitment is awaited"
    with sqlite_ledger.write() as c:
        deliveries.prove(c, "2.25.1", {"2.25.1", "2.25.2"}, {}, now=after(2))
    assert retaining.retain(keeping, sqlite_ledger, spool, Auditor(config), old) == 1


def test_a_deletion_that_was_killed_is_completed_and_spares_what_came_again(config, spool, sqlite_ledger, monkeypatch):
    folder = files_of(spool)
    a_closed_study(sqlite_ledger)
    keeping = wanting(config, keep_days=1.0)
    old = after(10 * 86400)
    with monkeypatch.context() as crash:
        crash.setattr(Spool, "remove_study", killed)
        with pytest.raises(SystemExit):
            retaining.retain(keeping, sqlite_ledger, spool, Auditor(config), old)
    assert folder.exists()
    assert retaining.retain(keeping, sqlite_ledger, spool, Auditor(config), old + timedelta(minutes=10)) == 1
    assert not folder.exists()
    files_of(spool)
    index(sqlite_ledger, made_instance(1, at=old), now=old)
    assert retaining.finish_deleting(sqlite_ledger, spool, Auditor(config), old) == 0
    assert folder.exists()


def killed(*_: object) -> None:
    raise SystemExit(137)


def test_a_study_that_an_operator_revived_meanwhile_is_not_forgotten(config, spool, sqlite_ledger):
    a_closed_study(sqlite_ledger)
    with sqlite_ledger.read() as c:
        (seen,) = retention.finished_studies(c, before=after(100))
    a_job(sqlite_ledger)
    with sqlite_ledger.write() as c:
        assert not retention.forget_files(c, seen, now=after(100), because="age")
    complete_job(sqlite_ledger, claimed(sqlite_ledger))


def test_a_sender_that_does_not_hear_our_answer_shows_in_status_after_a_while(config, spool, sqlite_ledger):
    spool.put_event("request", json.dumps({
        "transaction_uid": "2.25.1", "peer": "ct", "refs": [["1.2", "1.2.3.4"]], "judged": True, "attempt": 3,
        "reason": "PeerUnreachable: ct: no connection"}).encode())
    now = datetime.now(UTC)
    assert looked(config, sqlite_ledger, now=now) == (room.Room(unanswered=1), [])
    _, (problem,) = looked(config, sqlite_ledger, now=now + timedelta(minutes=20))
    assert "ct does not hear what the node commits to: 1 answers wait" in problem
    assert "PeerUnreachable: ct: no connection" in problem


def test_check_warns_where_commitment_is_on_and_images_are_kept_for_a_short_time(config):
    assert list(advice(config)) == []
    offering = replace(config, receive=replace(config.receive, storage_commitment=True))
    (only,) = advice(offering)
    assert "no archive" in only
    (short,) = advice(wanting(offering, keep_days=2.0))
    assert "keep_days = 2" in short
