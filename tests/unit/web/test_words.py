"""How ages and states read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicomnode.domain.work import State
from dicomnode.web import metrics, words

NOW = datetime(2026, 3, 14, 12, tzinfo=UTC)


@pytest.mark.parametrize(("seconds", "text"), [
    (None, "–"), (-3, "0 s"), (0.9, "0 s"), (59.9, "59 s"), (60, "1 min"), (67, "1 min 7 s"), (601, "10 min"),
    (3599, "59 min"), (3600, "1 h"), (3660, "1 h 1 min"), (86399, "23 h 59 min"), (86400, "1 d"),
    (90000, "1 d 1 h"),
])
def test_an_age_has_at_most_two_units(seconds, text):
    assert words.age(seconds) == text


def test_what_is_due_now_is_not_told_in_seconds():
    assert words.ahead(NOW, NOW) == "now"
    assert words.ahead(NOW + timedelta(minutes=30), NOW) == "in 30 min"
    assert words.since(None, NOW) == "–"


def test_every_state_and_every_outcome_has_its_tone():
    for word in (*(state.value for state in State), *metrics.OUTCOMES, "not analysed: MissingSlices: 3"):
        assert words.plain(word).partition(":")[0] in words.TONES


def test_backticks_become_code_and_everything_else_is_escaped():
    assert words.marked("run `a & b` <now>") == "run <code>a &amp; b</code> &lt;now&gt;"
