from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest

from dicomnode.route.complete import judge

START = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Facts:
    first_arrival_at: datetime
    last_arrival_at: datetime
    instances: int


def verdict(*, first_s=0.0, last_s=0.0, now_s, feeding_open=False, backlog_older=False, expected=None):
    study = Facts(START + timedelta(seconds=first_s), START + timedelta(seconds=last_s), 100)
    return judge(study, quiet_s=30, max_wait_s=1800, feeding_open=feeding_open, backlog_older=backlog_older,
                 expected=expected, now=START + timedelta(seconds=now_s))


def test_a_study_is_complete_after_its_quiet_period():
    assert verdict(now_s=30).complete
    waiting = verdict(now_s=18)
    assert not waiting.complete
    assert waiting.next_check_s == pytest.approx(12)
    assert "18.0 s ago" in waiting.because


def test_quiet_counts_from_the_last_image():
    assert not verdict(last_s=100, now_s=129).complete
    assert verdict(last_s=100, now_s=130).complete


def test_older_arrivals_that_are_not_indexed_hold_it_back():
    waiting = verdict(now_s=60, backlog_older=True)
    assert not waiting.complete
    assert "not indexed" in waiting.because


def test_an_open_association_holds_it_back_for_five_quiet_periods_and_no_longer():
    assert not verdict(now_s=149, feeding_open=True).complete
    assert verdict(now_s=150, feeding_open=True).complete


def test_the_expected_count_ends_the_wait_at_once():
    assert verdict(now_s=1, expected=100, feeding_open=True).complete
    assert not verdict(now_s=1, expected=101).complete


def test_the_hard_cap_ends_every_wait():
    capped = verdict(last_s=1799, now_s=1800, feeding_open=True, backlog_older=True)
    assert capped.complete
    assert "hard cap" in capped.because


def test_the_next_check_never_lies_beyond_the_hard_cap():
    assert verdict(last_s=1795, now_s=1797).next_check_s == pytest.approx(3)


def test_a_clock_that_runs_behind_only_waits():
    assert not verdict(last_s=10, now_s=5).complete
