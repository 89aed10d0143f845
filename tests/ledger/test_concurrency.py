"""Many claimants at once, in processes of their own: each job exactly once, on both databases."""

from __future__ import annotations

import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from dicomnode.errors import ClaimLost
from dicomnode.ledger import census, deliveries, jobs, studies
from dicomnode.ledger.engine import Ledger
from tests.ledger_rows import (
    BACKOFF,
    DIGESTS,
    NOW,
    STUDY,
    a_closed_study,
    a_job,
    a_result,
    a_snapshot,
    after,
    an_instance,
    claim_job,
    complete_job,
)

CLAIMANTS = 8
JOBS = 320


def work_until_nothing_is_left(url: str, owner: str) -> list[int]:
    """Claim and complete until no job waits; each completion writes a result."""
    ledger = Ledger(url, busy_timeout_s=60)
    done: list[int] = []
    while True:
        with ledger.write() as c:
            job = jobs.claim(c, now=NOW, lease_s=600, owner=owner, digests=DIGESTS)
        if job is None:
            ledger.dispose()
            return done
        with ledger.write() as c:
            jobs.complete(c, job, results=[a_result(job.job_id)], deliveries=[], now=NOW, data={})
        done.append(job.job_id)


@pytest.mark.slow
def test_eight_processes_do_each_job_exactly_once(ledger, ledger_url):
    a_closed_study(ledger)
    with ledger.write() as c:
        ids = [
            jobs.create(c, study_uid=STUDY, kind="analysis", revision=n, snapshot=a_snapshot(), priority=100, now=NOW)
            for n in range(JOBS)]
    ledger.dispose()
    context = multiprocessing.get_context("spawn")
    with context.Pool(CLAIMANTS) as pool:
        done = pool.starmap(work_until_nothing_is_left, [(ledger_url, f"w{n}") for n in range(CLAIMANTS)], chunksize=1)
    assert Counter(job_id for one in done for job_id in one) == Counter(dict.fromkeys(ids, 1))
    with ledger.read() as c:
        assert census.status(c, now=NOW)["jobs"]["completed"] == JOBS
        claimed = Counter(row["job_id"] for row in census.timeline(c, STUDY) if row["kind"] == "job_claimed")
    assert claimed == Counter(dict.fromkeys(ids, 1))


def all_at_once(*acts: Callable[[], object]) -> list[object]:
    """Run each act in a thread of its own, let go together; return results or exceptions."""
    barrier = threading.Barrier(len(acts))
    results: list[object] = [None] * len(acts)

    def run(n: int) -> None:
        barrier.wait()
        try:
            results[n] = acts[n]()
        except ClaimLost as error:
            results[n] = error

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(acts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize("attempt", range(5))
def test_completing_and_canceling_at_once_have_one_winner(ledger, attempt):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    job = claim_job(ledger)

    def complete() -> str:
        with ledger.write() as c:
            jobs.complete(c, job, results=[a_result(1)], deliveries=[], now=after(1), data={})
        return "completed"

    def cancel() -> str:
        with ledger.write() as c:
            jobs.cancel(c, job_id, now=after(1), reason="x")
        return "canceled"

    results = all_at_once(complete, cancel)
    assert [type(one) for one in results].count(ClaimLost) == 1
    with ledger.read() as c:
        assert jobs.get(c, job_id).state in results


def test_several_keepers_rescue_a_dead_workers_job_once(ledger):
    a_closed_study(ledger)
    job_id = a_job(ledger)
    claim_job(ledger)

    def rescue() -> tuple[list[int], list[int]]:
        with ledger.write() as c:
            return jobs.rescue(c, now=after(61), attempts=3, backoff=BACKOFF)

    results = all_at_once(*[rescue] * 4)
    assert sorted(results) == [([], []), ([], []), ([], []), ([job_id], [])]


def test_several_keepers_index_one_image_once(ledger):
    records = [an_instance(n, study=f"1.2.{n % 3}") for n in range(30)]

    def index(part: list) -> list[str]:
        with ledger.write() as c:
            return [one.what for one in studies.record_instances(c, part, now=NOW)]

    results = all_at_once(*[lambda part=part: index(part) for part in (records, records[::-1], records[5:], records)])
    assert Counter(what for one in results for what in one) == Counter(new=30, identical=85)
    with ledger.read() as c:
        assert [study.instances for study in studies.open_studies(c)] == [10, 10, 10]


def test_a_delivery_that_another_sender_is_just_taking_is_passed_over(postgres_url):
    first, second = Ledger(postgres_url), Ledger(postgres_url)
    a_closed_study(first)
    a_job(first)
    complete_job(first, claim_job(first))
    peers = frozenset({"pacs"})
    with first.write() as c, second.write() as other:
        assert deliveries.claim(c, now=NOW, lease_s=60, owner="s1", peers=peers) is not None
        assert deliveries.claim(other, now=NOW, lease_s=60, owner="s2", peers=peers) is None
    first.dispose()
    second.dispose()


def upgrade(url: str) -> str:
    ledger = Ledger(url)
    revision = ledger.upgrade()
    node_id = ledger.node_id()
    ledger.dispose()
    return f"{revision} {node_id}"


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_roles_that_start_at_once_migrate_once(dialect, request, tmp_path: Path):
    if dialect == "sqlite":
        url = f"sqlite:///{tmp_path / 'new' / 'ledger.sqlite'}"
    else:
        url = request.getfixturevalue("postgres_server").create(f"new_{tmp_path.name}")
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(upgrade, [url] * 4, chunksize=1))) == 1
