"""SIGKILL at every step of the straight line, each proven to be hit; afterwards a restart is all that is needed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from pydicom import Dataset

from tests.crash.house import House
from tests.crash.points import POINTS, Point
from tests.crash.scanner import FRAGMENT_BYTES, a_study, send_whole
from tests.crash.verdict import check, orphans, settle
from tests.live import until
from tests.upper_layer import COMMAND, CT, EXPLICIT, LAST, data_set, pdu, pdv, scripted_peer, store_command

pytestmark = pytest.mark.timeout(280)
WITHOUT_INFERENCE = ("receive", "keep", "notify", "deliver")
OF_INFERENCE = ("inferred, nothing measured", "mid-encode")


@pytest.fixture(scope="module")
def house(tmp_path_factory) -> Iterator[House]:
    with House(tmp_path_factory.mktemp("house"), roles=WITHOUT_INFERENCE) as built:
        yield built


@pytest.fixture
def study(request) -> list[Dataset]:
    return a_study(request.node.name, part="KNEE")


def sending(house: House, images: Sequence[Dataset], calling: str = "SCANNER1") -> threading.Thread:
    """Send in the background until all is answered: a receiver that dies is started again by the test."""
    thread = threading.Thread(target=send_whole, args=[house.port, images, house.sent],
                              kwargs={"calling": calling}, daemon=True)
    thread.start()
    return thread


def assert_that_nothing_was_lost(
    house: House, threads: Sequence[threading.Thread], images: Sequence[Dataset],
) -> None:
    until(lambda: house.start_all() or not any(one.is_alive() for one in threads), "every image is answered")
    for _ in ("after the kills", "after a power cut on top"):
        settle(house)
        verdict = check(house)
        assert not verdict.problems, "\n".join(verdict.lines())
        house.cut_power()
    assert {image.SOPInstanceUID for image in images} <= set(house.sent.acknowledged)
    assert house.sent.refused == []


def steps(role: str) -> list[Point]:
    return [one for one in POINTS if one.role == role and one.step not in OF_INFERENCE]


@pytest.mark.parametrize("role", ["receive", "keep", "work", "deliver"])
def test_a_kill_at_each_step_of_a_role_loses_and_doubles_nothing(house, role):
    """One study for each step; what a report without analysis goes through too is tried with one, no model loaded."""
    house.start_all()
    threads, images = [], []
    for point in steps(role):
        name = "notify" if role == "work" else role
        house.kill(name)
        life = house.start(name, point)
        study = a_study(f"{role} {point.step}", part="KNEE")
        threads.append(sending(house, study))
        images += study
        house.died_there(life)
        house.start(name)
    assert_that_nothing_was_lost(house, threads, images)


@pytest.mark.parametrize("role", ["receive", "keep", "work"])
def test_a_power_cut_at_each_step_of_a_role_takes_nothing_that_was_acknowledged(house, role):
    house.start_all()
    threads, images = [], []
    for point in steps(role):
        name = "notify" if role == "work" else role
        house.kill(name)
        life = house.start(name, point)
        study = a_study(f"power {role} {point.step}", part="KNEE")
        threads.append(sending(house, study))
        images += study
        house.died_there(life)
        house.cut_power()
        house.start_all()
    assert_that_nothing_was_lost(house, threads, images)


def test_a_folder_that_a_dead_keeper_made_is_durable_before_its_successor_puts_images_there(house, study):
    house.start_all()
    house.kill("keep")
    life = house.start("keep", next(one for one in POINTS if one.step == "a study's folder made, not durable"))
    thread = sending(house, study)
    house.died_there(life)
    assert_that_nothing_was_lost(house, [thread], study)


def test_a_receiver_that_did_not_fsync_would_be_found_out_by_the_power_cut(house, study):
    house.start_all()
    house.kill("keep", "receive")
    house.start("receive", Point("no fsync", "receive", "os:fsync", "never", "Incoming.commit"))
    sending(house, study).join(60)
    house.cut_power()
    house.start_all()
    problems = check(house).problems
    lost = [house.sent.acknowledged.pop(str(image.SOPInstanceUID), None) for image in study]
    house.sent.studies.pop(str(study[0].StudyInstanceUID))
    assert None not in lost, "every image was answered with success"
    assert f"{study[0].SOPInstanceUID} was acknowledged and is not in the store" in problems


def test_a_worker_killed_in_mid_analysis_leaves_no_process_and_no_half_result(house):
    images = a_study("mid-analysis")
    house.start_all()
    threads = [sending(house, images)]
    for step in OF_INFERENCE:
        house.died_there(house.start("work", next(one for one in POINTS if one.step == step)))
    house.start("work")
    assert_that_nothing_was_lost(house, threads, images)
    until(lambda: not orphans(house), "the dead workers' inference processes are gone too")
    house.kill("work")


def test_a_receiver_killed_in_the_middle_of_a_pdu_keeps_what_it_answered_and_nothing_of_the_rest(house, study):
    house.start_all()
    until(house.listens, "the receiver listens")
    with scripted_peer(house.port) as peer:
        peer.associate((CT, EXPLICIT), calling="SCANNER1")
        assert peer.store(study[0]).Status == 0
        house.sent.note(study[0])
        whole = pdu(pdv(data_set(study[1]), LAST))
        peer.say(pdu(pdv(store_command(study[1], MessageID=2), COMMAND | LAST)), whole[:FRAGMENT_BYTES])
        until(lambda: list((house.spool / "arrivals").rglob("*.part")), "the receiver has begun to write the image")
        house.kill("receive")
    house.start_all()
    assert_that_nothing_was_lost(house, [sending(house, study[1:])], study)


def test_a_worker_stopped_past_its_lease_cannot_commit_when_it_wakes(house, study):
    point = replace(next(one for one in POINTS if one.step == "results stored, not committed"), by="Worker._do",
                    target="dicomnode.run.worker:deliveries_for", signal=signal.SIGSTOP)
    house.start_all()
    house.kill("notify")
    stopped = house.start("notify", point)
    thread = sending(house, study)
    until(stopped.reached, "the worker has stored its results and is stopped before it commits them")
    assert "claim_lost" not in house.log("notify")
    house.start("notify2")
    thread.join(60)
    until(lambda: str(study[0].StudyInstanceUID) in house.log("notify2") and "job_completed" in house.log("notify2"),
          "another worker has taken the job over")
    house.signal("notify", signal.SIGCONT)
    until(lambda: "claim_lost" in house.log("notify"), "the late completion is refused")
    assert_that_nothing_was_lost(house, [thread], study)
    house.kill("notify2")


def test_everything_killed_at_once_again_and_again_loses_and_doubles_nothing(house, study):
    house.start_all()
    thread = sending(house, study)
    for answered in range(5, len(study), 5):
        until(lambda most=answered: len(house.sent.acknowledged.keys() & {i.SOPInstanceUID for i in study}) >= most,
              f"{answered} images are answered")
        house.kill(*house.living)
        house.start_all()
    assert_that_nothing_was_lost(house, [thread], study)
