"""A process that hangs is found: from within when a step is overdue, by its supervisor when it is silent."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest
import structlog.testing

from dicomnode.run import supervisor
from dicomnode.run.bell import Bell
from dicomnode.run.loop import run as loop
from dicomnode.run.pulse import STEP_LIMIT_S, Pulse, _send
from dicomnode.run.supervisor import Role


def test_a_pulse_beats_on_its_pipe_until_it_is_closed():
    ours, theirs = os.pipe()
    pulse = Pulse("worker", pipe=theirs, every_s=0.01)
    assert os.read(ours, 1) == b"."
    pulse.close()
    os.close(theirs)
    while os.read(ours, 4096):
        pass
    os.close(ours)


def test_a_beat_that_nobody_hears_any_more_harms_nothing():
    ours, theirs = os.pipe()
    os.close(ours)
    _send(theirs)
    os.close(theirs)
    _send(theirs)


def test_a_step_that_is_overdue_ends_the_process_and_says_where_it_was():
    ended = threading.Event()
    with structlog.testing.capture_logs() as told:
        pulse = Pulse("worker", every_s=0.01, end=lambda code: ended.set() if code == os.EX_SOFTWARE else None)
        pulse.allow(3600)
        assert not ended.is_set()
        pulse.allow(0)
        assert ended.wait(30)
    pulse.close()
    (event,) = [one for one in told if one["event"] == "step_overdue"]
    assert event["role"] == "worker"
    assert any("test_a_step_that_is_overdue" in one for one in event["at"])


def test_who_waits_between_two_terms_is_not_overdue(tmp_path):
    stop, ended = threading.Event(), threading.Event()
    pulse = Pulse("keeper", every_s=3600, end=lambda _code: ended.set())

    def step(_now: object) -> bool:
        assert pulse._until_s < time.monotonic() + STEP_LIMIT_S + 1, "each step has its time"
        stop.set()
        return True

    with Bell(tmp_path, "keeper") as bell:
        loop(step, stop=stop, bell=bell, role="keeper", pulse=pulse)
    assert pulse._until_s == float("inf")
    assert not ended.is_set()
    pulse.close()


def test_a_process_that_never_returns_to_its_loop_ends_itself_with_the_code_of_an_internal_failure():
    script = ("from dicomnode.run.pulse import Pulse\nimport threading\n"
              "p = Pulse('worker', every_s=0.05); p.allow(0.1); threading.Event().wait()")
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False, capture_output=True)
    assert done.returncode == os.EX_SOFTWARE
    assert b"step_overdue" in done.stdout + done.stderr


@pytest.fixture
def role():
    """A role whose process does nothing, and beats only when the test does."""
    ours, theirs = os.pipe()
    os.set_blocking(ours, False)
    process = subprocess.Popen([sys.executable, "-c", "import threading; threading.Event().wait()"])
    made = Role(name="work", command=("work",), process=process, pulse=ours, started_at_s=time.monotonic())
    yield made, theirs
    process.kill()
    process.wait(30)
    os.close(theirs)


def test_a_role_that_beats_is_left_alone_and_one_that_is_silent_is_killed(role):
    made, theirs = role
    for second in range(30):
        os.write(theirs, b".")
        supervisor._listen(made, float(second), 10)
    assert made.process.poll() is None
    for second in range(30, 42):
        supervisor._listen(made, float(second), 10)
    assert made.process.wait(30) == -9


def test_a_machine_that_stood_still_makes_nobody_silent(role):
    made, _ = role
    supervisor._listen(made, 0.0, 10)
    supervisor._listen(made, 4000.0, 10)
    assert made.process.poll() is None
    assert made.silent_s <= 1.0
