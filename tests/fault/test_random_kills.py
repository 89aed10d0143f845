"""Hundreds of kills by a seed: ``DICOMNODE_SOAK_SEED=N`` repeats those of a run that failed, ``make soak`` goes on."""

from __future__ import annotations

import os
import random

import pytest

from tests.crash.house import House
from tests.crash.soak import Soak

KILLS, SECONDS = 200, 110.0
SEED = int(os.environ.get("DICOMNODE_SOAK_SEED") or random.SystemRandom().randrange(10**6))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_kill_at_any_moment_loses_doubles_or_strands_anything(tmp_path):
    with House(tmp_path) as house:
        soak = Soak(house, SEED)
        verdict = soak.run(kills=KILLS, seconds=SECONDS)
    told = "\n".join([f"repeat with DICOMNODE_SOAK_SEED={SEED}", *soak.lines(), *verdict.lines()])
    print(told)  # noqa: T201  the figures stand in the log of the tests
    assert not verdict.problems, told
    assert verdict.found == verdict.acknowledged > 0, told
