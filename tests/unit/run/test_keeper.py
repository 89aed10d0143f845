"""The keeper over a real spool and ledger: what one study does never stops another."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from dicomnode.config import load
from dicomnode.domain.node import CompletionSettings, Route
from dicomnode.ledger import census
from dicomnode.run.keeper import Keeper
from dicomnode.run.matching import Matcher
from dicomnode.spool import Spool
from tests.builders import ct_series, write_file

NOW = datetime.now(UTC) + timedelta(hours=1)


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "node.toml"
    path.write_text('[node]\ndata_dir = "data"\n')
    return load(path, environ={})


@pytest.fixture
def spool(config):
    made = Spool(config.spool_dir, min_free_bytes=0)
    made.prepare()
    return made


@pytest.fixture
def keeper(config, spool, sqlite_ledger):
    return Keeper(config, sqlite_ledger, spool, {})


def arrive(spool) -> str:
    images = ct_series(np.zeros((3, 8, 8), np.int16))
    with spool.open_association("a1") as folder:
        for image in images:
            scratch = write_file(spool.root / "tmp" / "scratch.dcm", image)
            folder.put([scratch.read_bytes()])
            scratch.unlink()
    return str(images[0].StudyInstanceUID)


def run_to_rest(keeper: Keeper, now: datetime) -> None:
    while keeper.step(now):
        pass


def told(ledger, uid: str) -> list[str]:
    with ledger.read() as connection:
        return [row["kind"] for row in census.timeline(connection, uid)]


def test_a_quiet_study_is_closed_and_says_that_no_route_wanted_it(keeper, spool, sqlite_ledger):
    uid = arrive(spool)
    run_to_rest(keeper, NOW)
    with sqlite_ledger.read() as connection:
        assert census.study(connection, uid)["outcome"] == "not applicable"


def test_a_study_whose_matching_fails_is_told_once_and_tried_again_later(
    keeper, config, spool, sqlite_ledger, monkeypatch,
):
    uid = arrive(spool)
    route = Route(name="r", model=("absent",))
    broken = Matcher(config, sqlite_ledger, {})
    monkeypatch.setattr(broken, "match", lambda _record: (_ for _ in ()).throw(RuntimeError(route.name)))
    good, keeper.matcher = keeper.matcher, broken
    run_to_rest(keeper, NOW)
    run_to_rest(keeper, NOW + timedelta(seconds=1))
    assert told(sqlite_ledger, uid).count("study_not_matched") == 1
    keeper.matcher = good
    run_to_rest(keeper, NOW + timedelta(minutes=2))
    with sqlite_ledger.read() as connection:
        assert census.study(connection, uid)["outcome"] == "not applicable"


def test_a_file_that_the_disk_does_not_give_is_told_and_keeps_no_other_from_being_indexed(
    keeper, spool, sqlite_ledger,
):
    uid = arrive(spool)
    unreadable = next(iter(spool.arrivals())).path
    unreadable.unlink()
    unreadable.mkdir()
    run_to_rest(keeper, NOW)
    with sqlite_ledger.read() as connection:
        assert census.study(connection, uid)["instances"] == 2


def test_a_restarted_keeper_still_waits_for_the_association_that_feeds_a_study(config, spool, sqlite_ledger):
    quiet_s, images = config.completion.quiet_s, ct_series(np.zeros((3, 8, 8), np.int16))
    with spool.open_association("a1") as folder:
        for image in images:
            folder.put([write_file(spool.root / "tmp" / "scratch.dcm", image).read_bytes()])
        arrived = datetime.now(UTC)
        run_to_rest(Keeper(config, sqlite_ledger, spool, {}), arrived)
        restarted, uid = Keeper(config, sqlite_ledger, spool, {}), str(images[0].StudyInstanceUID)

        run_to_rest(restarted, arrived + timedelta(seconds=2 * quiet_s))
        assert "study_closed" not in told(sqlite_ledger, uid)
    run_to_rest(restarted, arrived + timedelta(seconds=2 * quiet_s))
    assert "study_closed" in told(sqlite_ledger, uid)


def test_what_a_closed_association_fed_is_forgotten_with_its_folder(spool, keeper):
    arrive(spool)
    run_to_rest(keeper, datetime.now(UTC))
    spool.sweep_arrivals()

    assert not list((spool.root / "arrivals").iterdir())


def test_a_study_that_grows_for_an_hour_is_closed_at_the_cap_and_again_at_the_next(config, spool, sqlite_ledger):
    began, every = NOW - timedelta(hours=1), timedelta(seconds=60)
    images = ct_series(np.zeros((60, 8, 8), np.int16), seed="growing")
    config = replace(config, completion=CompletionSettings(quiet_s=120.0, max_wait_s=1800.0))
    keeper, closed = Keeper(config, sqlite_ledger, spool, {}), []
    with spool.open_association("a1") as folder:
        for number, image in enumerate(images):
            now = began + number * every
            arrival = folder.put([write_file(spool.root / "tmp" / "scratch.dcm", image).read_bytes()])
            os.utime(arrival, (now.timestamp(), now.timestamp()))
            run_to_rest(keeper, now)
            if told(sqlite_ledger, str(image.StudyInstanceUID)).count("study_closed") > len(closed):
                closed.append(number * every)
    assert closed == [timedelta(seconds=1800)], "at the cap, though images kept coming and the association is open"
    run_to_rest(keeper, NOW + timedelta(seconds=60))
    assert told(sqlite_ledger, str(images[0].StudyInstanceUID)).count("study_closed") == 2
    with sqlite_ledger.read() as connection:
        assert census.study(connection, str(images[0].StudyInstanceUID))["instances"] == len(images)
