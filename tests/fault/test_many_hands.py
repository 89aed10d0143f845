"""Many hands on one ledger, some killed on the way: each piece of work is done exactly once and none is lost."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta

import pytest
from sqlalchemy import func, select

from dicomnode.domain.work import State
from dicomnode.ledger import deliveries, events, jobs, tables
from dicomnode.ledger.engine import Ledger
from dicomnode.run.loop import utc_now
from tests.hands import DELIVERED, SOON, Hands
from tests.ledger_rows import STUDY, a_closed_study, a_snapshot
from tests.live import until

WORKERS, SENDERS = 8, 2

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def order(ledger: Ledger, count: int) -> None:
    """Make so many jobs, of eight senders in turn."""
    a_closed_study(ledger)
    with ledger.write() as c:
        for n in range(count):
            snapshot = a_snapshot(uids=[f"1.2.{n}"], source_ae_titles=(f"CT{n % 8}",))
            jobs.create(c, study_uid=STUDY, kind="analysis", revision=0, snapshot=snapshot, priority=100,
                        now=utc_now() - timedelta(seconds=1))


def completed(ledger: Ledger, table: object = tables.jobs) -> int:
    t = tables.jobs if table is tables.jobs else tables.deliveries
    with ledger.read() as c:
        return int(c.execute(select(func.count()).where(t.c.state == State.COMPLETED)).scalar_one())


def keep(url: str, stop: threading.Event) -> None:
    """Rescue what the dead still hold, as a keeper does; two of these run at once."""
    ledger = Ledger(url, busy_timeout_s=60)
    while not stop.wait(0.5):
        with ledger.write() as c:
            jobs.rescue(c, now=utc_now(), attempts=1000, backoff=SOON)
            deliveries.rescue(c, now=utc_now(), max_age=timedelta(days=1), backoff=SOON)
    ledger.dispose()


def told(ledger: Ledger, kind: str, by: str) -> Counter[int]:
    column = tables.events.c[by]
    with ledger.read() as c:
        return Counter(c.execute(select(column).where(tables.events.c.kind == kind)).scalars())


@pytest.mark.parametrize(("dialect", "count", "kills"), [("postgresql", 2000, 20), ("sqlite", 300, 6)])
def test_eight_workers_do_every_job_exactly_once_though_some_are_killed(dialect, count, kills, request):
    url = request.getfixturevalue("postgres_url" if dialect == "postgresql" else "sqlite_url")
    ledger = Ledger(url, busy_timeout_s=60)
    order(ledger, count)
    stop = threading.Event()
    keepers = [threading.Thread(target=keep, args=(url, stop)) for _ in range(2)]
    for one in keepers:
        one.start()
    hands = Hands(url, workers=WORKERS, senders=SENDERS, seed=7)
    try:
        for n in range(kills):
            until(lambda n=n: completed(ledger) > n * (count * 0.9) // kills, f"the {n}th share is done", 300)
            hands.kill_one()
        hands.wait(300)
    finally:
        hands.close()
        stop.set()
        for one in keepers:
            one.join()
    assert hands.killed == kills
    assert completed(ledger) == count
    once = Counter(dict.fromkeys(range(1, count + 1), 1))
    assert told(ledger, "job_completed", "job_id") == once
    with ledger.read() as c:
        assert Counter(c.execute(select(tables.results.c.job_id)).scalars()) == once
    sent = told(ledger, events.ITEM_SENT, "delivery_id")
    assert len(sent) == count // DELIVERED == completed(ledger, tables.deliveries)
    assert set(sent.values()) == {1}
    assert told(ledger, "delivery_completed", "delivery_id") == sent
    ledger.dispose()
