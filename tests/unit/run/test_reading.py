"""A series that several models of a route look at."""

from __future__ import annotations

import numpy as np
import pytest

from dicomnode.domain.model import InputRole, Range
from dicomnode.errors import NoSuitableSeries, UnalignedInputs
from dicomnode.read.series import load
from dicomnode.run.reading import Once, beside
from tests.builders import ct_series, uid_of, write_series

ROLE = InputRole(role="ct")


@pytest.fixture
def paths(tmp_path):
    return write_series(tmp_path, ct_series(np.zeros((4, 8, 8), np.int16)))


def counting(read: list[str]):
    def reader(paths, role, *, charset_fallback=""):
        read.append(role.role)
        return load(paths, role, charset_fallback=charset_fallback)
    return reader


def test_a_series_is_read_for_the_first_model_and_shared_by_the_next(paths):
    read: list[str] = []
    once = Once(counting(read))

    first, second = once(paths, ROLE), once(paths, InputRole(role="image"))

    assert second is first
    assert read == ["ct"]


def test_each_model_still_refuses_what_it_does_not_take(paths):
    once = Once()
    once(paths, ROLE)

    with pytest.raises(NoSuitableSeries, match="4 slices; the model takes at least 5"):
        once(paths, InputRole(role="ct", slices=Range(min=5)))


def test_other_files_and_another_character_set_are_read_by_themselves(paths):
    read: list[str] = []
    once = Once(counting(read))

    once(paths, ROLE)
    once(paths[:3], ROLE)
    once(paths, ROLE, charset_fallback="GB18030")

    assert len(read) == 3


def test_two_models_that_take_different_stacks_of_a_series_each_get_theirs(tmp_path):
    values = [np.full((4, 8, 8), number, np.int16) for number in (10, 20)]
    paths = write_series(tmp_path, [
        image for number, hu in enumerate(values)
        for image in ct_series(hu, AcquisitionNumber=number, SOPInstanceUID=lambda k, n=number: uid_of(n, k))])
    once = Once()
    found = [once(paths, InputRole(role="ct", split_by="AcquisitionNumber", split_take=take)).volume.values_zyx.max()
             for take in ("first", "last", "first")]
    assert found == [10, 20, 10]


def test_one_set_of_results_cannot_show_two_stacks_of_one_series(tmp_path):
    paths = write_series(tmp_path, [
        image for number in (1, 2) for image in ct_series(
            np.zeros((4, 8, 8), np.int16), AcquisitionNumber=number, SOPInstanceUID=lambda k, n=number: uid_of(n, k))])
    first, last = (load(paths, InputRole(role="ct", split_by="AcquisitionNumber", split_take=take))
                   for take in ("first", "last"))
    held = beside({}, first)
    assert beside(held, first) == held
    with pytest.raises(UnalignedInputs, match=r"different stacks of series .* a route of its own"):
        beside(held, last)
