"""What Prometheus reads, and that the documentation names every figure."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from dicomnode.domain.job import ANALYSIS, ModelSnapshot, Snapshot
from dicomnode.ledger import jobs

DOCS = (Path(__file__).parents[3] / "docs" / "monitoring.md").read_text(encoding="utf-8")


def figures(text: str) -> dict[tuple[str, ...], float]:
    """Name and label values → figure; a doubled sample is refused, as Prometheus refuses it."""
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *(value for _, value in sorted(sample.labels.items())))
            assert key not in found, key
            found[key] = sample.value
    return found


def test_the_figures_of_an_evening_are_right(evening):
    answer = evening.get("/metrics")
    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/plain")
    found = figures(answer.text)
    expected = {
        ("dicomnode_database_up",): 1, ("dicomnode_health", "degraded"): 1, ("dicomnode_health", "healthy"): 0,
        ("dicomnode_problems",): 4, ("dicomnode_roles_alive", "worker"): 1,
        ("dicomnode_studies", "open"): 1, ("dicomnode_studies", "closed"): 8,
        ("dicomnode_jobs", "scheduled"): 1, ("dicomnode_jobs", "in_progress"): 1, ("dicomnode_jobs", "completed"): 3,
        ("dicomnode_jobs", "failed"): 1, ("dicomnode_deliveries", "completed"): 1,
        ("dicomnode_oldest_due_age_seconds", "jobs"): 45, ("dicomnode_quarantined_instances",): 1,
        ("dicomnode_arrivals_waiting",): 0, ("dicomnode_spool_min_free_bytes",): 1e6,
        ("dicomnode_model_jobs_waiting", "demo_chest"): 1, ("dicomnode_peer_deliveries", "archive", "failed"): 1,
        ("dicomnode_peer_oldest_age_seconds", "pacs"): 600, ("dicomnode_recent_studies", "not_analysed"): 2,
        ("dicomnode_recent_studies", "undelivered"): 1, ("dicomnode_recent_studies", "not_applicable"): 1,
        ("dicomnode_recent_job_seconds", "max", "run"): 60, ("dicomnode_recent_job_seconds", "median", "wait"): 0,
    }
    assert {key: found[key] for key in expected} == expected
    assert found["dicomnode_spool_free_bytes",] > 0


def test_every_recent_study_is_counted_under_exactly_one_outcome(evening):
    found = figures(evening.get("/metrics").text)
    assert sum(value for key, value in found.items() if key[0] == "dicomnode_recent_studies") == 9


def test_while_the_database_is_away_prometheus_learns_it_and_still_sees_the_disk(evening):
    evening.ledger.dispose()
    for file in evening.config.node.data_dir.glob("dicomnode.sqlite*"):
        file.unlink()
    answer = evening.get("/metrics")
    found = figures(answer.text)
    assert answer.status == 200
    assert found["dicomnode_database_up",] == 0
    assert found["dicomnode_health", "down"] == 1
    assert found["dicomnode_quarantined_instances",] == 1
    assert not any(key[0] == "dicomnode_jobs" for key in found)


def test_two_digests_of_one_model_are_one_figure(ward):
    for number in (1, 2):
        uid = f"1.2.{number}"
        ward.arrive(uid, 1, ward.now)
        ward.close(uid, ward.now)
        model = ModelSnapshot(name="demo_chest", digest=f"sha256:{number}", file_digest="f", toml="")
        with ward.ledger.write() as c:
            jobs.create(c, study_uid=uid, kind=ANALYSIS, revision=0, priority=100, now=ward.now,
                        snapshot=Snapshot(route="r", to=(), models=(model,)))
    assert figures(ward.get("/metrics").text)["dicomnode_model_jobs_waiting", "demo_chest"] == 2


def test_openmetrics_is_spoken_where_it_is_asked_for(ward):
    answer = ward.get("/metrics", accept="application/openmetrics-text; version=1.0.0")
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


def test_every_figure_has_the_prefix_and_stands_in_the_documentation(evening):
    names = re.findall(r"^# TYPE (\S+) gauge$", evening.get("/metrics").text, re.MULTILINE)
    assert len(names) >= 20
    for name in names:
        assert name.startswith("dicomnode_")
        assert f"| `{name}` |" in DOCS, name


def test_every_figure_that_the_documentation_names_exists(evening):
    text = evening.get("/metrics").text
    named = set(re.findall(r"\bdicomnode_[a-z_]+\b", DOCS))
    assert {name for name in named if f"# TYPE {name} gauge" not in text} == set()
