"""Which models a worker may claim work for."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dicomnode.infer.pool import Pool
from dicomnode.run.ready import LOOK_AGAIN, ReadyModels
from tests.bundles import model_file, spleen_form

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def bundle(tmp_path):
    return spleen_form(tmp_path / "models" / "small")


@pytest.fixture
def pool(tmp_path):
    with Pool(tmp_path / "models", device="cpu", threads=1) as made:
        yield made


def test_a_bundle_that_is_put_in_place_later_is_found_without_a_restart(pool, bundle, tmp_path):
    model, elsewhere = model_file(bundle), tmp_path / "elsewhere"
    shutil.move(bundle, elsewhere)
    ready = ReadyModels(pool, [model])
    assert ready.digests(NOW) == frozenset()

    shutil.move(elsewhere, bundle)

    assert ready.digests(NOW + LOOK_AGAIN / 2) == frozenset()
    assert ready.digests(NOW + LOOK_AGAIN) == {model.digest}


def test_a_model_that_was_changed_keeps_no_other_from_working(pool, bundle):
    good = model_file(bundle)
    changed = replace(good, name="changed", digest="sha256:" + "0" * 64)

    assert ReadyModels(pool, [changed, good]).digests(NOW) == {good.digest}
