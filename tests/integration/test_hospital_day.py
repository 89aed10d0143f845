"""The simulation that docs/scale.md quotes: the same seed gives the same day, and more workers shorter queues."""

from __future__ import annotations

import importlib.util
import sys
from random import Random
from types import ModuleType

import pytest

from tests.live import ROOT


@pytest.fixture(scope="module")
def hospital() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hospital_day", ROOT / "benchmarks" / "hospital_day.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    sys.modules["hospital_day"] = made
    spec.loader.exec_module(made)
    return made


def test_a_second_worker_shortens_every_queue_and_nothing_is_done_twice(hospital):
    day = hospital.studies_of(6.0, Random(1))  # noqa: S311  the same seed, the same day
    assert len(day) > 40
    assert day == hospital.studies_of(6.0, Random(1))  # noqa: S311  the same seed, the same day
    alone, together = (hospital.simulate(day, workers=count, seconds=600.0) for count in (1, 2))
    for done in (alone, together):
        assert sum(map(len, done.waits_s.values())) == len(day)
        assert done.busy_s == pytest.approx(sum(600.0 * one.slices / 300 for one in day))
    assert max(together.queue.values()) < max(alone.queue.values())
    assert sum(map(sum, together.waits_s.values())) < sum(map(sum, alone.waits_s.values())) / 4


def test_an_urgent_study_overtakes_the_queue(hospital):
    day = [hospital.Study(number, float(number), 300, urgent=number == 9) for number in range(10)]
    done = hospital.simulate(day, workers=1, seconds=100.0)
    assert done.urgent_s == [pytest.approx(91.0)]
    assert max(done.waits_s[0]) == pytest.approx(892.0)
