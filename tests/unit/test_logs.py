"""Logs: one JSON line per event, and nothing of the patient."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys

import pytest

from dicomnode import logs

UNMISTAKABLE = "Zzyzx^Quetzalcoatl"


@pytest.fixture
def lines():
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    logs.configure(stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = before[0], before[1]


def test_an_event_is_one_json_line_with_its_keys(lines):
    logs.get("run").info("job_claimed", job=17)
    (event,) = lines()
    assert (event["event"], event["job"], event["level"]) == ("job_claimed", 17, "info")


def test_a_key_that_names_the_patient_is_removed_and_the_loss_is_seen(lines):
    logs.get("run").warning("odd", PatientName=UNMISTAKABLE, patient_id=UNMISTAKABLE)
    (event,) = lines()
    assert event["PatientName"] == event["patient_id"] == "[removed]"


def test_a_foreign_exception_is_logged_by_class_and_place_without_its_words(lines):
    try:
        int(UNMISTAKABLE)
    except ValueError:
        logs.get("run").exception("step_crashed")
    (event,) = lines()
    assert event["exception"] == "ValueError"
    assert any("test_logs.py" in frame for frame in event["frames"])
    assert UNMISTAKABLE not in json.dumps(event)


def test_what_pydicom_says_of_a_value_reaches_neither_log_nor_terminal():
    script = (
        "from dicomnode import logs; logs.configure()\n"
        "import pydicom, warnings, logging\n"
        f"logging.getLogger('pydicom').warning('value {UNMISTAKABLE}')\n"
        f"warnings.warn('Invalid value for VR PN: {UNMISTAKABLE}')\n"
        "logs.get('run').info('alive')\n")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert "alive" in done.stdout
    assert UNMISTAKABLE not in done.stdout + done.stderr
