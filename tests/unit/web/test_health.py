"""How the node is judged, and what /health and `status` say of it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from dicomnode.domain.reason import is_about_the_input
from dicomnode.ledger import deliveries
from dicomnode.run.state import Health, look

ROLES = ("receiver", "keeper", "worker", "sender")
UID = "1.2.840.1"


def judged(ward):
    return look(ward.config, ward.ledger, now=ward.now)


def analysed(ward, at, peers=("pacs",)):
    ward.arrive(UID, 3, at)
    ward.close(UID, at)
    ward.job(UID, at)
    ward.complete(ward.claim(at), at, peers=peers)


def test_a_node_with_every_role_and_no_work_is_healthy(ward):
    ward.start(*ROLES)
    answer = ward.get("/health")
    assert answer.status == 200
    found = json.loads(answer.text)
    assert found["health"] == "healthy"
    assert found["problems"] == []
    assert found["roles"] == dict.fromkeys(ROLES, 1)
    assert found["database"] == "answers"


def test_a_node_without_one_role_is_degraded_and_still_200(ward):
    ward.start("receiver", "keeper", "worker")
    answer = ward.get("/health")
    assert (answer.status, json.loads(answer.text)["health"]) == (200, "degraded")


def test_a_node_without_any_role_is_down(ward):
    answer = ward.get("/health")
    assert (answer.status, json.loads(answer.text)["health"]) == (503, "down")


def test_a_node_whose_database_is_away_is_down_and_says_so_first(ward):
    ward.start(*ROLES)
    ward.ledger.dispose()
    (ward.config.node.data_dir / "dicomnode.sqlite").unlink()
    answer = ward.get("/health")
    found = json.loads(answer.text)
    assert answer.status == 503
    assert found["database"] == "away"
    assert found["problems"][0]["what"] == "the database does not answer"


def test_a_node_that_never_started_is_down_without_a_crash(ward, tmp_path):
    ward.ledger.dispose()
    ward.config.node.data_dir.rename(tmp_path / "elsewhere")
    state = judged(ward)
    assert state.health is Health.DOWN
    assert state.spool is None


def test_a_spool_that_cannot_be_read_is_a_problem_not_a_crash(ward):
    ward.start(*ROLES)
    (ward.config.spool_dir / "quarantine").rmdir()
    state = judged(ward)
    assert state.health is Health.DEGRADED
    assert state.problems[0].what == "the spool cannot be read"


def test_a_study_that_cannot_be_analysed_is_a_result_and_needs_nobody(ward):
    ward.start(*ROLES)
    ward.arrive(UID, 3, ward.now)
    ward.close(UID, ward.now)
    ward.job(UID, ward.now)
    ward.fail(ward.claim(ward.now), ward.now, "UndecodablePixels: JPEG 2000 stream ends early")
    assert judged(ward).health is Health.HEALTHY


@pytest.mark.parametrize(("reason", "is_input"), [
    ("MissingSlices: gap of 7 mm", True), ("UnusableInput: no", True), ("ModelProcessDied: signal 11", False),
    ("EncodingError: no", False), ("EXIT_OK: no", False), ("", False), ("canceled by an operator", False),
])
def test_only_reasons_of_the_unusable_input_family_are_about_the_input(reason, is_input):
    assert is_about_the_input(reason) is is_input


def test_a_failed_job_degrades_and_its_advice_is_a_command(ward):
    ward.start(*ROLES)
    ward.arrive(UID, 3, ward.now)
    ward.close(UID, ward.now)
    ward.job(UID, ward.now)
    ward.fail(ward.claim(ward.now), ward.now, "EncodingError: highdicom refused the mask")
    state = judged(ward)
    assert state.health is Health.DEGRADED
    (problem,) = state.problems
    assert problem.text == (
        "1 job of route chest-ct failed: EncodingError: highdicom refused the mask; mend the cause, then "
        "`dicomnode requeue --failed --route chest-ct` (ID 1), or `dicomnode cancel 1` to give it up"
    )


def test_many_failed_jobs_of_one_cause_are_one_problem(ward):
    ward.start(*ROLES)
    for number in range(7):
        uid = f"{UID}.{number}"
        ward.arrive(uid, 1, ward.now)
        ward.close(uid, ward.now)
        ward.job(uid, ward.now)
        ward.fail(ward.claim(ward.now), ward.now, f"ModelTimeout: {number} s")
    problems = judged(ward).problems
    assert [p.what for p in problems] == ["7 jobs of route chest-ct failed"]
    assert "(ID 7, 6, 5, 4, 3 and more)" in problems[0].action


def test_a_job_that_nobody_takes_names_its_model(ward):
    ward.start(*ROLES)
    ward.arrive(UID, 3, ward.ago(minutes=7))
    ward.close(UID, ward.ago(minutes=6))
    ward.job(UID, ward.ago(minutes=6))
    (problem,) = judged(ward).problems
    assert problem.what == "no worker takes the waiting jobs"
    assert problem.why == "1 job, the oldest for 6 min, for model demo_chest"
    assert "dicomnode models verify" in problem.action


def test_a_short_queue_behind_a_busy_worker_is_healthy_and_an_hour_is_not(ward):
    ward.start(*ROLES)
    for number, age_min in enumerate((20, 19)):
        uid = f"{UID}.{number}"
        ward.arrive(uid, 1, ward.ago(minutes=age_min))
        ward.close(uid, ward.ago(minutes=age_min))
        ward.job(uid, ward.ago(minutes=age_min))
    ward.claim(ward.ago(minutes=1))
    assert judged(ward).health is Health.HEALTHY
    ward.clock[0] += timedelta(hours=1)
    assert [p.what for p in judged(ward).problems] == ["the workers do not keep up"]


def test_results_that_wait_for_a_peer_say_why(ward):
    ward.start(*ROLES)
    analysed(ward, ward.ago(minutes=8))
    ward.refuse("pacs", ward.ago(minutes=1), "PeerUnreachable: no answer", again=ward.now + timedelta(minutes=1))
    (problem,) = judged(ward).problems
    assert problem.what == "results wait for pacs"
    assert problem.why == "1 delivery, the oldest for 8 min: PeerUnreachable: no answer"


def test_a_refused_delivery_says_how_to_send_it_again(ward):
    ward.start(*ROLES)
    analysed(ward, ward.now, peers=("archive",))
    ward.refuse("archive", ward.now, "PeerRefused: 0x0122")
    (problem,) = judged(ward).problems
    assert problem.what == "1 delivery to archive failed"
    assert "dicomnode requeue --failed --peer archive" in problem.action


def test_a_peer_may_take_its_time_to_commit_but_not_for_ever(ward):
    ward.start(*ROLES)
    analysed(ward, ward.ago(minutes=30))
    taken = ward.take("pacs", ward.ago(minutes=30))
    with ward.ledger.write() as c:
        for item in taken.items:
            deliveries.mark_sent(c, taken, item.item_id, status=0, now=ward.ago(minutes=30),
                                 sop_instance_uid=item.alternatives[0].sop_instance_uid)
        deliveries.await_commitment(c, taken, transaction_uid="2.25.9", now=ward.ago(minutes=30),
                                    run_after=ward.now + timedelta(hours=5))
    assert judged(ward).health is Health.HEALTHY
    ward.clock[0] += timedelta(hours=2)
    assert [p.what for p in judged(ward).problems] == ["pacs does not commit to what it received"]


def test_quarantine_and_the_disk_floor_are_problems(ward):
    ward.start(*ROLES)
    ward.quarantine("CT_1-1", ward.now)
    ward.config = replace(ward.config, receive=replace(ward.config.receive, min_free_gb=1e9))
    state = judged(ward)
    assert {p.what for p in state.problems} == {"images are being refused with 0xA700", "images in quarantine"}
    assert state.spool is not None
    assert state.spool.quarantined == 1


def test_an_image_that_is_not_indexed_tells_of_the_keeper(ward):
    ward.start(*ROLES)
    with ward.spool.open_association("CT_1-1") as folder:
        folder.put([b"DICM"])
    (arrival,) = ward.spool.arrivals()
    ward.clock[0] = arrival.arrived_at + timedelta(seconds=30)
    assert judged(ward).health is Health.HEALTHY
    ward.clock[0] = arrival.arrived_at + timedelta(seconds=300)
    (problem,) = judged(ward).problems
    assert problem.what == "images wait to be indexed"
    assert problem.why == "1 of them, the oldest for 300 s"
