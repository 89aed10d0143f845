"""The next study is read while the present one is computed; nothing of it is claimed."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from dicomnode.domain.job import ModelSnapshot
from dicomnode.domain.model import InputRole, Label, ModelFile, Range, Runtime
from dicomnode.domain.work import State
from dicomnode.errors import DicomNodeError, NoSuitableSeries
from dicomnode.ledger import jobs
from dicomnode.read.header import record, store_path
from dicomnode.read.series import load
from dicomnode.run.inputs import Inputs
from dicomnode.run.prefetch import ReadAhead, _Reading
from dicomnode.spool import Spool
from tests.builders import ct_series, write_file
from tests.bundles import LUNG, ORGAN
from tests.ledger_rows import DIGEST, DIGESTS, a_job, a_snapshot, after, claim_job, index
from tests.model_files import model_toml

MODEL = ModelFile(
    name="model0", task="segmentation", bundle="b", digest=DIGEST, intended_use="Tests only.",
    inputs=(InputRole(role="ct"),), runtime=Runtime(),
    labels=(Label(value=1, name="Lung", category=ORGAN, type=LUNG, colour_rgb=(1, 2, 3)),))
DECODED_BYTES = 4 * 8 * 8 * 2


@pytest.fixture
def spool(tmp_path):
    made = Spool(tmp_path / "spool", min_free_bytes=0)
    made.prepare()
    return made


@pytest.fixture
def ahead(sqlite_ledger, spool):
    made = reader(sqlite_ledger, spool)
    yield made
    made.close()


def reader(ledger, spool, most_bytes=1 << 30) -> ReadAhead:
    return ReadAhead(ledger, Inputs(ledger, spool, {}), lambda _now: DIGESTS, most_bytes=most_bytes,
                     most_decoded_bytes=10**9)


def a_study(ledger, spool, tmp_path, name: str, *, broken: bool = False, models: tuple[ModelFile, ...] = (MODEL,),
            **job: object) -> tuple[int, list]:
    """Store a small study and make its job; return the job and its files in the job's order."""
    rng = np.random.default_rng(len(name))
    images = ct_series(rng.integers(0, 100, (4, 8, 8)).astype(np.int16), seed=name)
    records, paths = [], []
    (tmp_path / name).mkdir()
    for number, image in enumerate(images):
        made = record(write_file(tmp_path / name / f"{number}.dcm", image))
        place = store_path(made)
        records.append(replace(made, path=place))
        target = spool.store_path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        content = (tmp_path / name / f"{number}.dcm").read_bytes()
        target.write_bytes(content[: len(content) // 2] if broken else content)
        paths.append(target)
    index(ledger, *records)
    texts = tuple(ModelSnapshot(name=model.name, digest=DIGEST, file_digest="f" * 64, toml=model_toml(model))
                  for model in models)
    snapshot = replace(a_snapshot(uids=[one.sop_instance_uid for one in records], models=[DIGEST] * len(models)),
                       models=texts)
    return a_job(ledger, study=records[0].study_uid, snapshot=snapshot, **job), paths


def settled(ahead: ReadAhead) -> object:
    """Wait for the look that is under way; return what it found."""
    return ahead._next.series.exception(60) or ahead._next.series.result(60)


def state(ledger, job_id: int) -> tuple[State, int]:
    with ledger.read() as connection:
        row = jobs.get(connection, job_id)
    return row.state, row.attempt


def test_what_was_read_ahead_is_what_reading_gives_and_the_job_stays_free(ahead, sqlite_ledger, spool, tmp_path):
    a_study(sqlite_ledger, spool, tmp_path, "first")
    claim_job(sqlite_ledger)
    second, paths = a_study(sqlite_ledger, spool, tmp_path, "second")
    ahead.look(after(1), attempt=1)
    settled(ahead)
    assert state(sqlite_ledger, second) == (State.SCHEDULED, 0)
    assert claim_job(sqlite_ledger, now=after(2)).job_id == second
    ahead.claimed(second)
    for path in paths:
        path.unlink()
    given = ahead.load(paths, InputRole(role="ct"))
    assert given.volume.values_zyx.shape == (4, 8, 8)
    assert len(given.sources) == 4


def test_reading_ahead_changes_nothing_of_what_is_read(ahead, sqlite_ledger, spool, tmp_path):
    job_id, paths = a_study(sqlite_ledger, spool, tmp_path, "study")
    ahead.look(after(1), attempt=1)
    settled(ahead)
    ahead.claimed(job_id)
    given, fresh = ahead.load(paths, InputRole(role="ct")), load(paths, InputRole(role="ct"))
    np.testing.assert_array_equal(given.volume.values_zyx, fresh.volume.values_zyx)
    assert given.volume.stack == fresh.volume.stack or \
        np.array_equal(given.volume.stack.affine_lps_mm, fresh.volume.stack.affine_lps_mm)
    assert given.sources == fresh.sources


def test_what_was_read_serves_once_and_only_the_same_files_and_character_set_and_a_role_that_takes_it(
    ahead, sqlite_ledger, spool, tmp_path,
):
    job_id, paths = a_study(sqlite_ledger, spool, tmp_path, "study")
    ahead.look(after(1), attempt=1)
    held = settled(ahead)
    ahead.claimed(job_id)
    ((key, kept),) = held.items()
    assert ahead.load(paths, InputRole(role="ct"), charset_fallback="GB18030") is not kept
    assert ahead.load(paths[::-1], InputRole(role="ct")) is not kept
    assert ahead.load(paths, InputRole(role="ct", split_by="AcquisitionNumber")) is not kept
    assert ahead.load(paths, InputRole(role="ct")) is kept
    assert ahead.load(paths, InputRole(role="ct")) is not kept
    held[key] = kept
    with pytest.raises(NoSuitableSeries, match="5"):
        ahead.load(paths, InputRole(role="ct", slices=Range(min=5)))


def test_what_another_worker_claimed_meanwhile_is_dropped(ahead, sqlite_ledger, spool, tmp_path):
    a_study(sqlite_ledger, spool, tmp_path, "next")
    ahead.look(after(1), attempt=1)
    settled(ahead)
    dropped = ahead._next.dropped
    claim_job(sqlite_ledger, now=after(2), owner="another")
    third, paths = a_study(sqlite_ledger, spool, tmp_path, "third")
    ahead.claimed(third)
    assert dropped.is_set()
    assert ahead.load(paths, InputRole(role="ct")).volume.values_zyx.shape == (4, 8, 8)


def test_nothing_is_held_where_no_job_waits(ahead, sqlite_ledger, spool, tmp_path):
    a_study(sqlite_ledger, spool, tmp_path, "next")
    ahead.look(after(1), attempt=1)
    settled(ahead)
    dropped = ahead._next.dropped
    ahead.forget()
    assert dropped.is_set()
    assert ahead._next is None
    assert ahead._held() == {}


def test_a_broken_image_is_no_error_until_its_own_job_meets_it(ahead, sqlite_ledger, spool, tmp_path):
    job_id, paths = a_study(sqlite_ledger, spool, tmp_path, "broken", broken=True)
    ahead.look(after(1), attempt=1)
    assert isinstance(settled(ahead), DicomNodeError)
    ahead.claimed(job_id)
    with pytest.raises(DicomNodeError):
        ahead.load(paths, InputRole(role="ct"))


def test_nothing_is_read_beside_a_job_that_is_tried_again_nor_for_one(ahead, sqlite_ledger, spool, tmp_path):
    job_id, _ = a_study(sqlite_ledger, spool, tmp_path, "study")
    ahead.look(after(1), attempt=2)
    assert ahead._next is None
    job = claim_job(sqlite_ledger)
    with sqlite_ledger.write() as connection:
        jobs.retry(connection, job, now=after(1), run_after=after(2), reason="once more", spend=True)
    ahead.look(after(3), attempt=1)
    assert settled(ahead) == {}
    assert state(sqlite_ledger, job_id) == (State.SCHEDULED, 1)


class Until(threading.Event):
    """Set from the given look at it on."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.looks = looks

    def is_set(self) -> bool:
        self.looks -= 1
        return self.looks < 0


def test_reading_that_nobody_waits_for_any_more_stops_at_the_next_file(ahead, sqlite_ledger, spool, tmp_path):
    _, paths = a_study(sqlite_ledger, spool, tmp_path, "study")
    before_parsing, before_the_second_file = 1, 1
    paths[1].write_bytes(b"whoever reads this raises")
    reading = _Reading(dropped=Until(before_parsing + before_the_second_file))
    assert ahead._read(reading, after(1), DIGESTS) == {}
    assert reading.dropped.looks < 0


def test_to_give_everything_back_stops_the_present_jobs_reading_too(ahead):
    ahead._present, ahead._next = _Reading(), _Reading()
    dropped = [ahead._present.dropped, ahead._next.dropped]
    ahead.close()
    assert all(one.is_set() for one in dropped)


def test_a_study_larger_than_the_limit_is_left_for_its_claim(sqlite_ledger, spool, tmp_path):
    a_study(sqlite_ledger, spool, tmp_path, "study")
    for most, held in ((DECODED_BYTES, 1), (DECODED_BYTES - 1, 0)):
        ahead = reader(sqlite_ledger, spool, most_bytes=most)
        ahead.look(after(1), attempt=1)
        assert len(settled(ahead)) == held
        ahead.close()
    nothing = reader(sqlite_ledger, spool, most_bytes=0)
    nothing.look(after(1), attempt=1)
    assert nothing._next is None
    nothing.close()


def test_a_series_that_two_models_read_is_read_and_counted_once(sqlite_ledger, spool, tmp_path):
    other = replace(MODEL, name="model1", inputs=(InputRole(role="ct", orientation="axial"),))
    a_study(sqlite_ledger, spool, tmp_path, "study", models=(MODEL, other))
    for most, held in ((DECODED_BYTES, 1), (DECODED_BYTES - 1, 0)):
        ahead = reader(sqlite_ledger, spool, most_bytes=most)
        ahead.look(after(1), attempt=1)
        assert len(settled(ahead)) == held
        ahead.close()


def test_where_nothing_waits_it_is_looked_again_later(ahead, sqlite_ledger, spool, tmp_path):
    ahead.look(after(1), attempt=1)
    assert settled(ahead) == {}
    a_study(sqlite_ledger, spool, tmp_path, "late")
    ahead._look_at_s = 0.0
    ahead.look(after(2), attempt=1)
    assert len(settled(ahead)) == 1
    found = ahead._next
    ahead._look_at_s = 0.0
    ahead.look(after(3), attempt=1)
    assert ahead._next is found
