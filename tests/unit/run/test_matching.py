"""What late images do to the work that the study had caused without them."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dicomnode.config import load, load_model
from dicomnode.ledger import census, jobs
from dicomnode.run.keeper import Keeper
from dicomnode.run.matching import notice_after_failure
from dicomnode.spool import Spool
from tests.builders import ct_series, write_file
from tests.ledger_rows import NOW, a_closed_study, a_job, a_snapshot, claim_job

MODELS = Path(__file__).parents[3] / "config" / "models"
NODE = """
[node]
data_dir = "data"
[peers.pacs]
ae_title = "PACS"
host = "127.0.0.1"
port = 4242
[[routes]]
name = "chest-ct"
model = ["demo_chest"]
to = ["pacs"]
report_not_analysed = {report}
"""


@pytest.fixture
def keeper_that(tmp_path, sqlite_ledger):
    def made(*, reports: bool) -> tuple[Keeper, Spool]:
        (tmp_path / "node.toml").write_text(NODE.format(report=str(reports).lower()))
        (tmp_path / "models").mkdir()
        shutil.copy(MODELS / "demo_chest.toml", tmp_path / "models")
        config = load(tmp_path / "node.toml", environ={})
        spool = Spool(config.spool_dir, min_free_bytes=0)
        spool.prepare()
        text = (tmp_path / "models" / "demo_chest.toml").read_text()
        return Keeper(config, sqlite_ledger, spool, {"demo_chest": (load_model("demo_chest", config), text)}), spool
    return made


def arrive(spool: Spool, images) -> None:
    with spool.open_association(f"a{len(images)}-{images[0].InstanceNumber}") as folder:
        for image in images:
            folder.put([write_file(spool.root / "tmp" / "scratch.dcm", image).read_bytes()])


def run_to_rest(keeper: Keeper, now: datetime) -> None:
    while keeper.step(now):
        pass


def work(ledger) -> list[tuple[str, str]]:
    with ledger.read() as connection:
        return [(row["kind"], row["state"]) for row in census.jobs(connection, limit=9)]


def chest(hu: int):
    return ct_series(np.full((20, 16, 16), hu, np.int16), BodyPartExamined="CHEST", PatientAge="060Y")


@pytest.mark.parametrize(("reports", "left"), [
    (False, [("analysis", "canceled")]),
    (True, [("analysis", "canceled"), ("notice", "scheduled")]),
])
def test_a_study_whose_images_came_again_with_other_pixels_ends_the_work_that_waited(
    keeper_that, sqlite_ledger, reports, left,
):
    keeper, spool = keeper_that(reports=reports)
    now = datetime.now(UTC)
    arrive(spool, chest(0))
    run_to_rest(keeper, now + timedelta(hours=1))
    assert work(sqlite_ledger) == [("analysis", "scheduled")]

    arrive(spool, chest(7)[:3])
    run_to_rest(keeper, now + timedelta(hours=2))

    assert sorted(work(sqlite_ledger)) == left


def test_the_notice_of_an_analysis_that_failed_names_what_the_analysis_would_have_superseded(sqlite_ledger):
    a_closed_study(sqlite_ledger)
    earlier = ("1.2.840.10008.5.1.4.1.1.88.33:2.25.9",)
    a_job(sqlite_ledger, snapshot=a_snapshot(report_not_analysed=True, predecessors=earlier))
    job = claim_job(sqlite_ledger)
    with sqlite_ledger.write() as c:
        jobs.fail(c, job, now=NOW, reason="ModelFailed: x")
        notice_after_failure(c, jobs.get(c, job.job_id), reason="ModelFailed", text="x", now=NOW)
    notice = claim_job(sqlite_ledger)
    assert (notice.kind, notice.snapshot.reason) == ("notice", "ModelFailed")
    assert notice.snapshot.predecessors == earlier
