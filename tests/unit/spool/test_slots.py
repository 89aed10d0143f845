from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dicomnode.spool import Spool
from dicomnode.spool.slots import LONGEST_QUEUE, take_turn

HOLD_A_SLOT = """
import sys
from pathlib import Path
from dicomnode.spool import Spool
from dicomnode.spool.slots import LONGEST_QUEUE, take_turn
slot = Spool(Path(sys.argv[1]), min_free_bytes=0).take_slot("SCANNER", 1)
print("held" if slot else "none", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool", min_free_bytes=0)
    made.prepare()
    return made


def test_no_more_than_the_limit_are_given_and_a_released_one_is_given_again(spool: Spool):
    first, second = spool.take_slot("CT", 2), spool.take_slot("CT", 2)
    assert first is not None
    assert second is not None
    assert spool.take_slot("CT", 2) is None
    first.release()
    first.release()
    third = spool.take_slot("CT", 2)
    assert third is not None
    third.release()
    with second:
        assert spool.take_slot("MR", 1) is not None


def test_another_process_counts_and_its_death_gives_the_slot_back(spool: Spool):
    with subprocess.Popen([sys.executable, "-c", HOLD_A_SLOT, str(spool.root)], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert spool.take_slot("SCANNER", 1) is None
        other.kill()
    with spool.take_slot("SCANNER", 1) as slot:
        assert slot is not None


@pytest.mark.parametrize("name", ["../../etc", "..", "A/B", "*", "Ä B"])
def test_any_name_stays_inside_the_slots_folder(spool: Spool, name: str):
    with spool.take_slot(name, 1):
        pass
    (folder,) = (spool.root / "slots").iterdir()
    assert folder.name.startswith("=")


def test_turns_of_one_name_are_an_interval_apart_and_those_of_another_are_its_own(tmp_path: Path):
    turns = [take_turn(tmp_path, "peer ct", 0.5, now_s=now_s) for now_s in (100.0, 100.0, 100.1, 103.0)]
    assert turns == pytest.approx([0.0, 0.5, 0.9, 0.0])
    assert take_turn(tmp_path, "peer mr", 0.5, now_s=100.0) == 0.0


def test_a_clock_that_was_set_back_costs_a_bounded_wait(tmp_path: Path):
    take_turn(tmp_path, "peer ct", 1.0, now_s=1e9)
    assert take_turn(tmp_path, "peer ct", 1.0, now_s=1000.0) == LONGEST_QUEUE


def test_a_damaged_turn_begins_anew(tmp_path: Path):
    take_turn(tmp_path, "peer ct", 1.0, now_s=100.0)
    (place,) = tmp_path.glob("*/turn")
    place.write_bytes(b"xx")
    assert take_turn(tmp_path, "peer ct", 1.0, now_s=100.0) == 0.0
