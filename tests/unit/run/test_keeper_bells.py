"""The keeper's timers: a busy machine rings late, and late is not never."""

from __future__ import annotations

import queue
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from dicomnode.run.keeper import _bells


@pytest.fixture
def bells():
    due: queue.SimpleQueue[Any] = queue.SimpleQueue()
    nothing = cast("Any", None)
    scheduler = _bells(nothing, nothing, nothing, nothing, due)
    yield scheduler, due
    scheduler.shutdown(wait=False)


def test_every_chore_is_due_at_the_start(bells: tuple[BackgroundScheduler, queue.SimpleQueue[Any]]) -> None:
    scheduler, due = bells
    assert due.qsize() == len(scheduler.get_jobs()) >= 3


def test_a_bell_that_rings_an_hour_late_still_rings_once(
    bells: tuple[BackgroundScheduler, queue.SimpleQueue[Any]]
) -> None:
    scheduler, due = bells
    while not due.empty():
        due.get()
    late = datetime.now(UTC) - timedelta(hours=1, seconds=3)
    for job in scheduler.get_jobs():
        job.modify(next_run_time=late)
    rung = {due.get(timeout=30) for _ in scheduler.get_jobs()}
    assert len(rung) == len(scheduler.get_jobs())
